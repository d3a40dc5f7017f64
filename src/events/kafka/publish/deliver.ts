import { defaultCell } from '../../../base/cells.ts';
import type { DeliveryReport, LeasedEvent } from '../../../db/platform/outbox.ts';
import { type KafkaRecord, KafkaUnavailable, type Published, type Publisher } from './publisher.ts';

/** The `source` of our events. */
export const ownSource = '/fusioncommerce';

/** CloudEvents 1.0 in Kafka's binary mode: the payload is the value, and the attributes are headers. */
const toRecord = (event: LeasedEvent): KafkaRecord => ({
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
    ...(event.cell === defaultCell ? {} : { ce_cell: event.cell }),
    ...(event.traceparent === null ? {} : { ce_traceparent: event.traceparent }),
    'content-type': 'application/json',
  },
});

/**
 * Splits events, in order, so that no round has two events of one key. A broker may reject one record of a request and
 * accept the others, and then a later event of the same key must not be among the accepted ones.
 */
export function inRounds<T extends { key: string }>(events: T[]): T[][] {
  const rounds: T[][] = [];
  const roundByKey = new Map<string, number>();
  for (const event of events) {
    const round = roundByKey.get(event.key) ?? 0;
    roundByKey.set(event.key, round + 1);
    const roundEvents = rounds[round];
    if (roundEvents) roundEvents.push(event);
    else rounds[round] = [event];
  }
  return rounds;
}

/**
 * Publishes events in order for each key, until the time `until` (milliseconds since 1970). A record that is rejected
 * temporarily blocks the later ones of its key. One that is rejected permanently is dead, and its key continues without
 * it.
 */
export async function deliverToKafka(
  publisher: Publisher,
  events: LeasedEvent[],
  until: number,
): Promise<DeliveryReport> {
  const delivery: DeliveryReport = { delivered: [], failed: [], returned: [] };
  const blockedKeys = new Set<string>();
  for (const round of inRounds(events)) {
    const unblocked = round.filter((event) => !blockedKeys.has(event.key));
    let results: Published[] | undefined;
    if (delivery.paused === undefined && Date.now() < until && unblocked.length > 0) {
      try {
        results = await publisher.publish(unblocked.map(toRecord));
      } catch (error) {
        if (!(error instanceof KafkaUnavailable)) throw error;
        delivery.paused = error.message;
      }
    }
    if (!results) {
      delivery.returned.push(...unblocked.map((event) => event.seq));
      continue;
    }
    for (const [index, event] of unblocked.entries()) {
      const result = results[index] ?? { ok: false, permanent: false, reason: 'no result for this record' };
      if (result.ok) delivery.delivered.push(event.seq);
      else {
        if (!result.permanent) blockedKeys.add(event.key);
        delivery.failed.push({ seq: event.seq, error: result.reason, dead: result.permanent });
      }
    }
  }
  return delivery;
}
