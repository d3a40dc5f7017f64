import { KafkaError } from './error.ts';
import type { FetchRequest } from './fetch.ts';
import type { ConsumeRequest } from './groups.ts';
import type { Call } from './http.ts';
import { isAbsent, isCount, isObject, listOf, parseJson } from './json.ts';
import type { PartitionLog } from './log.ts';
import type { Topics } from './topics.ts';

/** The API's documented defaults, in milliseconds. */
const TIMEOUT = 1000;
const AUTO_COMMIT_INTERVAL = 5000;
const SESSION_TIMEOUT = 120_000;
/** What a timer of Node can hold. */
const LONGEST = 2 ** 31 - 1;

/** `{topic, partition}` or an array of them; 400 for none. */
export function partitionsOf(topics: Topics, body: unknown): PartitionLog[] {
  const items = listOf(body);
  if (items.length === 0) throw new KafkaError(400, 'The body is {topic, partition} or an array of them');
  return items.map((item) => partitionOf(topics, fieldsOf(item)));
}

/** `{topic, partition, offset}` or an array of them; none is none. */
export function offsetsOf(topics: Topics, body: unknown): [PartitionLog, number][] {
  return listOf(body).map((item) => {
    const fields = fieldsOf(item);
    if (!isCount(fields.offset)) throw new KafkaError(400, 'An offset is a number from 0');
    return [partitionOf(topics, fields), fields.offset];
  });
}

/** The timestamp of `/offsets/TIMESTAMP`: milliseconds, `earliest` or `latest`. */
export function timestampOf(text: string): number | 'earliest' | 'latest' {
  if (text === 'earliest' || text === 'latest') return text;
  if (!/^\d{1,15}$/.test(text))
    throw new KafkaError(400, `'${text}' is no timestamp: milliseconds, earliest or latest`);
  return Number(text);
}

/** A `FetchRequest`; a partition or offset that is left out is 0, as in the client's own example. */
export function fetchRequestOf(topics: Topics, call: Call): FetchRequest {
  const body = fieldsOf(parseJson(call.body));
  const single = isAbsent(body.topic) ? [] : [body];
  const all = [...single, ...listOf(body.topicPartitionOffsets)].map((item) => {
    const fields = fieldsOf(item);
    return { ...fields, partition: fields.partition ?? 0, offset: fields.offset ?? 0 };
  });
  if (all.length === 0) throw new KafkaError(400, 'The body names no topic, partition and offset');
  return { positions: offsetsOf(topics, all), timeoutMs: timeoutOf(body.timeout) };
}

/** A `ConsumeRequest`, from the path `/consume/GROUP/INSTANCE[/TOPIC]`, the query, the body and the headers. */
export function consumeRequestOf(topics: Topics, call: Call): ConsumeRequest {
  const [, group = '', instance = '', pathTopic] = call.path;
  const body = fieldsOf(parseJson(call.body) ?? {});
  const named = [pathTopic ?? body.topic, ...listOf(body.topics)].filter((topic) => !isAbsent(topic));
  const wanted = new Set(named.map(topicName));
  if (wanted.size === 0) throw new KafkaError(400, 'The request names no topic');
  for (const topic of wanted) topics.logsOf(topic);
  return {
    group,
    instance,
    topics: wanted,
    timeoutMs: timeoutOf(body.timeout ?? call.query.get('timeout')),
    autoCommit: oneOf(call, 'kafka-enable-auto-commit', ['true', 'false']) === 'true',
    autoCommitIntervalMs: milliseconds(call, 'kafka-auto-commit-interval', AUTO_COMMIT_INTERVAL),
    offsetReset: oneOf(call, 'kafka-auto-offset-reset', ['latest', 'earliest', 'none']),
    sessionTimeoutMs: milliseconds(call, 'kafka-session-timeout-ms', SESSION_TIMEOUT),
  };
}

function partitionOf(topics: Topics, fields: Record<string, unknown>): PartitionLog {
  const { topic, partition } = fields;
  if (!isCount(partition)) throw new KafkaError(400, 'A partition is a number from 0');
  return topics.logOf(topicName(topic), partition);
}

function topicName(topic: unknown): string {
  if (typeof topic === 'string' && topic !== '') return topic;
  throw new KafkaError(400, 'A topic is a string');
}

function fieldsOf(body: unknown): Record<string, unknown> {
  if (isObject(body)) return body;
  throw new KafkaError(400, 'The body is not the JSON object that was expected');
}

function timeoutOf(timeout: unknown): number {
  if (isAbsent(timeout)) return TIMEOUT;
  const ms = typeof timeout === 'string' && /^\d{1,15}$/.test(timeout) ? Number(timeout) : timeout;
  if (!isCount(ms)) throw new KafkaError(400, 'A timeout is a number of milliseconds');
  return Math.min(ms, LONGEST);
}

function milliseconds(call: Call, header: string, fallback: number): number {
  const text = call.headers[header];
  if (text === undefined) return fallback;
  if (typeof text === 'string' && /^\d{1,15}$/.test(text)) return Number(text);
  throw new KafkaError(400, `The header ${header} is a number of milliseconds`);
}

/** A header that is one of a few words, the first of them when it is missing. */
function oneOf<const T extends string>(call: Call, header: string, words: readonly [T, ...T[]]): T {
  const text = call.headers[header];
  const word = text === undefined ? words[0] : words.find((candidate) => candidate === text);
  if (word === undefined) throw new KafkaError(400, `The header ${header} is one of ${words.join(', ')}`);
  return word;
}
