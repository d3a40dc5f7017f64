/**
 * A record for Kafka. The value is the payload alone; the event's attributes are headers (CloudEvents, binary mode).
 */
export type KafkaRecord = { topic: string; key: string; value: string; headers: Record<string, string> };

/** The result of one record. `permanent`: no retry can succeed (unknown topic, too large). */
export type Published = { ok: true } | { ok: false; permanent: boolean; reason: string };

/** Kafka as a whole did not respond, or cannot process requests now. Records may or may not have been accepted. */
export class KafkaUnavailable extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'KafkaUnavailable';
  }
}

/**
 * Publishes records over a broker's HTTP interface. The results are in the records' order. At least once: after
 * KafkaUnavailable or a lost response, records may have been accepted.
 */
export interface Publisher {
  publish(records: KafkaRecord[]): Promise<Published[]>;
}
