import { performance } from 'node:perf_hooks';
import { KafkaError } from './error.ts';
import { PARTITION_BYTES, POLL_RECORDS } from './groups.ts';
import type { PartitionLog } from './log.ts';
import type { Topics } from './topics.ts';

export interface FetchRequest {
  /** The partitions to read, each with the offset to begin at. */
  positions: readonly (readonly [PartitionLog, number])[];
  /** How long to wait for a first record, in milliseconds. */
  timeoutMs: number;
}

/**
 * The records from the given offsets on, as JSON objects; none when there were none until the timeout.
 * 400 for an offset that retention has removed or that is beyond the next record's.
 */
export async function fetchMessages(topics: Topics, request: FetchRequest, signal: AbortSignal): Promise<Buffer[]> {
  const deadline = performance.now() + request.timeoutMs;
  while (!signal.aborted) {
    const found = poll(request.positions);
    const left = deadline - performance.now();
    if (found.length > 0 || left <= 0) return found;
    await topics.wait(left, signal);
  }
  return [];
}

function poll(positions: FetchRequest['positions']): Buffer[] {
  const found: Buffer[] = [];
  let room = POLL_RECORDS;
  for (const [log, position] of positions) {
    log.expire();
    if (position < log.start || position > log.end) {
      throw new KafkaError(
        400,
        `Offset ${position} of ${log.topic}-${log.partition} is not in ${log.start}..${log.end}`,
      );
    }
    const { json, next } = log.read(position, room, PARTITION_BYTES);
    if (next > position) found.push(json);
    room -= next - position;
  }
  return found;
}
