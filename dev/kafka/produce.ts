import { KafkaError } from './error.ts';
import { isAbsent, isCount, isObject } from './json.ts';
import type { Header, LogRecord, PartitionLog } from './log.ts';
import { partitionForKey } from './murmur2.ts';
import type { Topics } from './topics.ts';

/** Key, value and headers of one record, in bytes; the service's documented limit of 1 MB. */
export const MAX_RECORD_BYTES = 1024 * 1024;

export interface Metadata {
  topic: string;
  partition: number;
  offset: number;
  timestamp: number;
}

export interface Refusal {
  error: string;
  status: number;
}

interface Placed {
  log: PartitionLog;
  record: LogRecord;
}

interface Share {
  indexes: number[];
  records: LogRecord[];
}

/**
 * Appends the messages, those of one partition in one write and in their order, and answers for each in its place.
 * A message that cannot be taken is refused alone: 404 unknown topic, 400 not a message or no such partition,
 * 413 too large, 500 not written.
 */
export function produce(
  topics: Topics,
  messages: readonly unknown[],
  options: { topic?: string | undefined; refused?: ReadonlyMap<number, Refusal>; now: () => number },
): (Metadata | Refusal)[] {
  const results: (Metadata | Refusal)[] = [];
  const shares = new Map<PartitionLog, Share>();
  const keyless = new Map<string, number>();
  messages.forEach((message, index) => {
    try {
      const refusal = options.refused?.get(index);
      if (refusal !== undefined) throw new KafkaError(refusal.status, refusal.error);
      const { log, record } = place(topics, message, options.topic, keyless, options.now);
      const share = shares.get(log) ?? { indexes: [], records: [] };
      share.indexes.push(index);
      share.records.push(record);
      shares.set(log, share);
    } catch (error) {
      results[index] = refusalOf(error);
    }
  });
  for (const [log, share] of shares) appendShare(log, share, results);
  if (shares.size > 0) topics.wake();
  return results;
}

function appendShare(log: PartitionLog, share: Share, results: (Metadata | Refusal)[]): void {
  const { topic, partition } = log;
  try {
    const base = log.append(share.records);
    share.records.forEach(({ timestamp }, i) => {
      results[share.indexes[i] ?? -1] = { topic, partition, offset: base + i, timestamp };
    });
  } catch (error) {
    for (const index of share.indexes) results[index] = refusalOf(error);
  }
}

function place(
  topics: Topics,
  message: unknown,
  pathTopic: string | undefined,
  keyless: Map<string, number>,
  now: () => number,
): Placed {
  if (!isObject(message)) throw new KafkaError(400, 'A message is a JSON object');
  const topic = pathTopic ?? message.topic;
  const { key, value, partition, timestamp } = message;
  if (typeof topic !== 'string' || topic === '') throw new KafkaError(400, "A message's topic is a string");
  if (typeof value !== 'string') throw new KafkaError(400, "A message's value is a string");
  if (!isAbsent(key) && typeof key !== 'string') throw new KafkaError(400, "A message's key is a string");
  if (!isAbsent(partition) && !isCount(partition))
    throw new KafkaError(400, "A message's partition is a number from 0");
  if (!isAbsent(timestamp) && !isCount(timestamp))
    throw new KafkaError(400, "A message's timestamp is in milliseconds");
  const headers = headersOf(message.headers);
  refuseTooLarge(value, key ?? '', headers);
  const chosen = partition ?? choosePartition(topics, topic, key ?? undefined, keyless);
  return {
    log: topics.logOf(topic, chosen),
    record: { timestamp: timestamp ?? now(), key: key ?? '', value, headers },
  };
}

/** By the key, as every Kafka client; without one, the messages of a request stay together and requests take turns. */
function choosePartition(topics: Topics, topic: string, key: string | undefined, keyless: Map<string, number>): number {
  if (key !== undefined) return partitionForKey(key, topics.logsOf(topic).length);
  const chosen = keyless.get(topic) ?? topics.nextPartition(topic);
  keyless.set(topic, chosen);
  return chosen;
}

function headersOf(headers: unknown): Header[] {
  if (isAbsent(headers)) return [];
  if (!Array.isArray(headers)) throw new KafkaError(400, "A message's headers are an array");
  return headers.map((header: unknown) => {
    if (!isObject(header) || typeof header.key !== 'string' || typeof header.value !== 'string') {
      throw new KafkaError(400, 'A header is {key, value}, both strings');
    }
    return { key: header.key, value: header.value };
  });
}

function refuseTooLarge(value: string, key: string, headers: readonly Header[]): void {
  const texts = [value, key, ...headers.flatMap((header) => [header.key, header.value])];
  // UTF-8 takes at most three bytes for a unit of a string: most messages need no exact count.
  if (texts.reduce((sum, text) => sum + text.length, 0) * 3 <= MAX_RECORD_BYTES) return;
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes <= MAX_RECORD_BYTES) return;
  throw new KafkaError(413, `The message is ${bytes} bytes, more than the ${MAX_RECORD_BYTES} that are allowed`);
}

/** What is answered for a failure: its own status and text, or 500. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof KafkaError) return { error: error.message, status: error.status };
  return { error: `Internal error: ${error instanceof Error ? error.message : String(error)}`, status: 500 };
}
