import type { Delivery, Leased } from '../../../db/platform/outbox.ts';
import { type KafkaRecord, KafkaUnavailable, type Published, type Publisher } from './publisher.ts';

/** What our events name as their source. */
export const ownSource = '/fusioncommerce';

/** CloudEvents 1.0 in Kafka's binary mode: the payload is the value, the attributes are headers. */
const toRecord = (event: Leased): KafkaRecord => ({
  topic: event.topic,
  key: event.key,
  value: JSON.stringify(event.payload),
  headers: {
    ce_specversion: '1.0',
    ce_id: event.id,
    ce_type: event.topic,
    ce_source: ownSource,
    ce_time: event.time,
    ce_tenantid: event.tenant,
    ...(event.traceparent === null ? {} : { ce_traceparent: event.traceparent }),
    'content-type': 'application/json',
  },
});

/**
 * Splits events, in order, so that no part has two of one key: a broker may refuse one record of a request and take the
 * others, and then the later one of a key must not have been among them.
 */
export function inRounds<T extends { key: string }>(events: T[]): T[][] {
  const waves: T[][] = [];
  const depth = new Map<string, number>();
  for (const event of events) {
    const wave = depth.get(event.key) ?? 0;
    depth.set(event.key, wave + 1);
    const members = waves[wave];
    if (members) members.push(event);
    else waves[wave] = [event];
  }
  return waves;
}

/**
 * Publishes events in order for each key, until the time `until` (milliseconds since 1970). A record that is refused
 * for now keeps those of its key behind it; one that is refused for good is dead, and its key goes on without it.
 */
export async function deliverToKafka(publisher: Publisher, events: Leased[], until: number): Promise<Delivery> {
  const delivery: Delivery = { delivered: [], failed: [], returned: [] };
  const stopped = new Set<string>();
  for (const wave of inRounds(events)) {
    const free = wave.filter((event) => !stopped.has(event.key));
    let answers: Published[] | undefined;
    if (delivery.paused === undefined && Date.now() < until && free.length > 0) {
      try {
        answers = await publisher.publish(free.map(toRecord));
      } catch (error) {
        if (!(error instanceof KafkaUnavailable)) throw error;
        delivery.paused = error.message;
      }
    }
    if (!answers) {
      delivery.returned.push(...free.map((event) => event.seq));
      continue;
    }
    for (const [index, event] of free.entries()) {
      const answer = answers[index] ?? { ok: false, permanent: false, reason: 'no answer for this record' };
      if (answer.ok) delivery.delivered.push(event.seq);
      else {
        if (!answer.permanent) stopped.add(event.key);
        delivery.failed.push({ seq: event.seq, error: answer.reason, dead: answer.permanent });
      }
    }
  }
  return delivery;
}
