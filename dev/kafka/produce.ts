import { KafkaError } from './error.ts';
import { isAbsent, isCount, isObject } from './json.ts';
import type { Header, LogRecord, PartitionLog } from './log.ts';
import { partitionForKey } from './murmur2.ts';
import type { Topics } from './topics.ts';

/** The largest record (key, value and headers) in bytes: the service's documented limit of 1 MB. */
export const MAX_RECORD_BYTES = 1024 * 1024;

export interface Metadata {
  topic: string;
  partition: number;
  offset: number;
  timestamp: number;
}

export interface RecordError {
  error: string;
  status: number;
}

/** A record and the partition log that it belongs to. */
interface RoutedRecord {
  log: PartitionLog;
  record: LogRecord;
}

/** The records of one partition, with their indexes in the request. */
interface PartitionBatch {
  indexes: number[];
  records: LogRecord[];
}

/**
 * Appends the messages, in order and with one write per partition. Returns one result per message, in order. An invalid
 * message does not affect the others: 404 unknown topic, 400 malformed message or unknown partition, 413 too large, 500
 * write error.
 */
export function produce(
  topics: Topics,
  messages: readonly unknown[],
  options: { topic?: string | undefined; injectedErrors?: ReadonlyMap<number, RecordError>; now: () => number },
): (Metadata | RecordError)[] {
  const results: (Metadata | RecordError)[] = [];
  const batches = new Map<PartitionLog, PartitionBatch>();
  const keylessPartitions = new Map<string, number>();
  messages.forEach((message, index) => {
    try {
      const injected = options.injectedErrors?.get(index);
      if (injected !== undefined) throw new KafkaError(injected.status, injected.error);
      const { log, record } = routeMessage(topics, message, options.topic, keylessPartitions, options.now);
      const batch = batches.get(log) ?? { indexes: [], records: [] };
      batch.indexes.push(index);
      batch.records.push(record);
      batches.set(log, batch);
    } catch (error) {
      results[index] = toRecordError(error);
    }
  });
  for (const [log, batch] of batches) appendBatch(log, batch, results);
  if (batches.size > 0) topics.wake();
  return results;
}

function appendBatch(log: PartitionLog, batch: PartitionBatch, results: (Metadata | RecordError)[]): void {
  const { topic, partition } = log;
  try {
    const base = log.append(batch.records);
    batch.records.forEach(({ timestamp }, i) => {
      results[batch.indexes[i] ?? -1] = { topic, partition, offset: base + i, timestamp };
    });
  } catch (error) {
    for (const index of batch.indexes) results[index] = toRecordError(error);
  }
}

function routeMessage(
  topics: Topics,
  message: unknown,
  pathTopic: string | undefined,
  keylessPartitions: Map<string, number>,
  now: () => number,
): RoutedRecord {
  if (!isObject(message)) throw new KafkaError(400, 'A message must be a JSON object');
  const topic = pathTopic ?? message.topic;
  const { key, value, partition, timestamp } = message;
  if (typeof topic !== 'string' || topic === '')
    throw new KafkaError(400, "A message's topic must be a non-empty string");
  if (typeof value !== 'string') throw new KafkaError(400, "A message's value must be a string");
  if (!isAbsent(key) && typeof key !== 'string') throw new KafkaError(400, "A message's key must be a string");
  if (!isAbsent(partition) && !isCount(partition))
    throw new KafkaError(400, "A message's partition must be an integer from 0");
  if (!isAbsent(timestamp) && !isCount(timestamp))
    throw new KafkaError(400, "A message's timestamp must be an integer of milliseconds");
  const headers = headersOf(message.headers);
  rejectTooLarge(value, key ?? '', headers);
  const chosen = partition ?? choosePartition(topics, topic, key ?? undefined, keylessPartitions);
  return {
    log: topics.logOf(topic, chosen),
    record: { timestamp: timestamp ?? now(), key: key ?? '', value, headers },
  };
}

/** Chooses by the key's hash, as Kafka clients do. Keyless messages of a request share a partition, in rotation. */
function choosePartition(
  topics: Topics,
  topic: string,
  key: string | undefined,
  keylessPartitions: Map<string, number>,
): number {
  if (key !== undefined) return partitionForKey(key, topics.logsOf(topic).length);
  const chosen = keylessPartitions.get(topic) ?? topics.nextPartition(topic);
  keylessPartitions.set(topic, chosen);
  return chosen;
}

function headersOf(headers: unknown): Header[] {
  if (isAbsent(headers)) return [];
  if (!Array.isArray(headers)) throw new KafkaError(400, "A message's headers must be an array");
  return headers.map((header: unknown) => {
    if (!isObject(header) || typeof header.key !== 'string' || typeof header.value !== 'string') {
      throw new KafkaError(400, 'A header must be {key, value}, both strings');
    }
    return { key: header.key, value: header.value };
  });
}

function rejectTooLarge(value: string, key: string, headers: readonly Header[]): void {
  const texts = [value, key, ...headers.flatMap((header) => [header.key, header.value])];
  // A UTF-16 code unit takes at most three bytes in UTF-8, so most messages need no exact count.
  if (texts.reduce((sum, text) => sum + text.length, 0) * 3 <= MAX_RECORD_BYTES) return;
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes <= MAX_RECORD_BYTES) return;
  throw new KafkaError(413, `The message has ${bytes} bytes. The limit is ${MAX_RECORD_BYTES} bytes`);
}

/** Converts an error to the protocol's format. An error other than KafkaError gets status 500. */
export function toRecordError(error: unknown): RecordError {
  if (error instanceof KafkaError) return { error: error.message, status: error.status };
  return { error: `Internal error: ${error instanceof Error ? error.message : String(error)}`, status: 500 };
}
