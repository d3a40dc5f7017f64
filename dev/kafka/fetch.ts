import { performance } from 'node:perf_hooks';
import { KafkaError } from './error.ts';
import { PARTITION_BYTES, POLL_RECORDS } from './groups.ts';
import type { PartitionLog } from './log.ts';
import type { Topics } from './topics.ts';

export interface FetchRequest {
  /** The partitions to read, each with the first offset. */
  positions: readonly (readonly [PartitionLog, number])[];
  /** How long to wait for a record if there is none, in milliseconds. */
  timeoutMs: number;
}

/**
 * Reads the records from the given offsets on, as JSON objects. Returns an empty array if none arrives before the
 * timeout. 400 for an offset that retention has removed or that is greater than the next record's.
 */
export async function fetchMessages(topics: Topics, request: FetchRequest, signal: AbortSignal): Promise<Buffer[]> {
  const deadline = performance.now() + request.timeoutMs;
  while (!signal.aborted) {
    const found = poll(request.positions);
    const remainingMs = deadline - performance.now();
    if (found.length > 0 || remainingMs <= 0) return found;
    await topics.wait(remainingMs, signal);
  }
  return [];
}

function poll(positions: FetchRequest['positions']): Buffer[] {
  const found: Buffer[] = [];
  let capacity = POLL_RECORDS;
  for (const [log, position] of positions) {
    log.expire();
    if (position < log.start || position > log.end) {
      throw new KafkaError(
        400,
        `Offset ${position} of ${log.topic}-${log.partition} is not in ${log.start}..${log.end}`,
      );
    }
    const { json, next } = log.read(position, capacity, PARTITION_BYTES);
    if (next > position) found.push(json);
    capacity -= next - position;
  }
  return found;
}
