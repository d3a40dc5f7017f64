import { KafkaError } from './error.ts';
import type { FetchRequest } from './fetch.ts';
import type { ConsumeRequest } from './groups.ts';
import type { HttpRequest } from './http.ts';
import { isAbsent, isCount, isObject, listOf, parseJson } from './json.ts';
import type { PartitionLog } from './log.ts';
import type { Topics } from './topics.ts';

/** The API's documented defaults, in milliseconds. */
const TIMEOUT_MS = 1000;
const AUTO_COMMIT_INTERVAL_MS = 5000;
const SESSION_TIMEOUT_MS = 120_000;
/** The longest delay of a timer in Node. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Reads `{topic, partition}` or an array of them. 400 if there is none. */
export function partitionsOf(topics: Topics, body: unknown): PartitionLog[] {
  const items = listOf(body);
  if (items.length === 0) throw new KafkaError(400, 'The body must be {topic, partition} or an array of them');
  return items.map((item) => partitionOf(topics, fieldsOf(item)));
}

/** Reads `{topic, partition, offset}` or an array of them. Returns an empty array for an empty body. */
export function offsetsOf(topics: Topics, body: unknown): [PartitionLog, number][] {
  return listOf(body).map((item) => {
    const fields = fieldsOf(item);
    if (!isCount(fields.offset)) throw new KafkaError(400, 'An offset must be an integer from 0');
    return [partitionOf(topics, fields), fields.offset];
  });
}

/** Reads the timestamp of `/offsets/TIMESTAMP`: milliseconds, `earliest` or `latest`. */
export function timestampOf(text: string): number | 'earliest' | 'latest' {
  if (text === 'earliest' || text === 'latest') return text;
  if (!/^\d{1,15}$/.test(text))
    throw new KafkaError(400, `The timestamp '${text}' must be milliseconds, earliest or latest`);
  return Number(text);
}

/** Reads a `FetchRequest`. A missing partition or offset is 0, as in the client's documentation. */
export function fetchRequestOf(topics: Topics, request: HttpRequest): FetchRequest {
  const body = fieldsOf(parseJson(request.body));
  const single = isAbsent(body.topic) ? [] : [body];
  const all = [...single, ...listOf(body.topicPartitionOffsets)].map((item) => {
    const fields = fieldsOf(item);
    return { ...fields, partition: fields.partition ?? 0, offset: fields.offset ?? 0 };
  });
  if (all.length === 0) throw new KafkaError(400, 'The body must have a topic, partition and offset');
  return { positions: offsetsOf(topics, all), timeoutMs: timeoutOf(body.timeout) };
}

/** Reads a `ConsumeRequest` from the path `/consume/GROUP/INSTANCE[/TOPIC]`, the query, the body and the headers. */
export function consumeRequestOf(topics: Topics, request: HttpRequest): ConsumeRequest {
  const [, group = '', instance = '', pathTopic] = request.path;
  const body = fieldsOf(parseJson(request.body) ?? {});
  const named = [pathTopic ?? body.topic, ...listOf(body.topics)].filter((topic) => !isAbsent(topic));
  const topicNames = new Set(named.map(topicName));
  if (topicNames.size === 0) throw new KafkaError(400, 'The request has no topic');
  for (const topic of topicNames) topics.logsOf(topic);
  return {
    group,
    instance,
    topics: topicNames,
    timeoutMs: timeoutOf(body.timeout ?? request.query.get('timeout')),
    autoCommit: oneOf(request, 'kafka-enable-auto-commit', ['true', 'false']) === 'true',
    autoCommitIntervalMs: milliseconds(request, 'kafka-auto-commit-interval', AUTO_COMMIT_INTERVAL_MS),
    offsetReset: oneOf(request, 'kafka-auto-offset-reset', ['latest', 'earliest', 'none']),
    sessionTimeoutMs: milliseconds(request, 'kafka-session-timeout-ms', SESSION_TIMEOUT_MS),
  };
}

function partitionOf(topics: Topics, fields: Record<string, unknown>): PartitionLog {
  const { topic, partition } = fields;
  if (!isCount(partition)) throw new KafkaError(400, 'A partition must be an integer from 0');
  return topics.logOf(topicName(topic), partition);
}

function topicName(topic: unknown): string {
  if (typeof topic === 'string' && topic !== '') return topic;
  throw new KafkaError(400, 'A topic must be a non-empty string');
}

function fieldsOf(body: unknown): Record<string, unknown> {
  if (isObject(body)) return body;
  throw new KafkaError(400, 'Expected a JSON object in the body');
}

function timeoutOf(timeout: unknown): number {
  if (isAbsent(timeout)) return TIMEOUT_MS;
  const ms = typeof timeout === 'string' && /^\d{1,15}$/.test(timeout) ? Number(timeout) : timeout;
  if (!isCount(ms)) throw new KafkaError(400, 'A timeout must be a number of milliseconds');
  return Math.min(ms, MAX_TIMEOUT_MS);
}

function milliseconds(request: HttpRequest, header: string, fallback: number): number {
  const text = request.headers[header];
  if (text === undefined) return fallback;
  if (typeof text === 'string' && /^\d{1,15}$/.test(text)) return Number(text);
  throw new KafkaError(400, `The header ${header} must be a number of milliseconds`);
}

/** Reads a header whose value is one of `words`. If it is missing, returns the first word. */
function oneOf<const T extends string>(request: HttpRequest, header: string, words: readonly [T, ...T[]]): T {
  const text = request.headers[header];
  const word = text === undefined ? words[0] : words.find((candidate) => candidate === text);
  if (word === undefined) throw new KafkaError(400, `The header ${header} must be one of ${words.join(', ')}`);
  return word;
}
