/**
 * A record for Kafka: its value is the payload alone, the rest of the event is in its headers (CloudEvents, binary).
 */
export type KafkaRecord = { topic: string; key: string; value: string; headers: Record<string, string> };

/** What became of one record. `permanent`: no repetition will help (no such topic, too large). */
export type Published = { ok: true } | { ok: false; permanent: boolean; reason: string };

/** Kafka as a whole did not answer, or answered that it cannot now: nothing is known of the records. */
export class KafkaUnavailable extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'KafkaUnavailable';
  }
}

/**
 * Publishes records over some broker's HTTP interface. The answers are in the records' order. At least once: after
 * KafkaUnavailable, or after a lost answer, records may have been accepted nevertheless.
 */
export interface Publisher {
  publish(records: KafkaRecord[]): Promise<Published[]>;
}
