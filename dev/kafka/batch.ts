import { KafkaError } from './error.ts';
import { type HttpRequest, type HttpResponse, jsonResponse } from './http.ts';
import { isAbsent, listOf, parseJson } from './json.ts';
import { produce, type RecordError } from './produce.ts';
import type { Topics } from './topics.ts';

/** The messages that a request produces, and the form of its response. */
export interface Batch {
  messages: readonly unknown[];
  /** The topic in the path. It applies to all messages. */
  topic: string | undefined;
  form: 'value' | 'message' | 'array';
}

/** Headers of HTTP and of proxies. They are not part of the event that a webhook sends. */
const HTTP_HEADERS =
  /^(?:accept|access-control|cache|cf|content|if|proxy|sec|x-forwarded)-|^(?:accept|authorization|connection|cookie|date|dnt|expect|forwarded|from|host|keep-alive|origin|pragma|range|referer|te|trailer|transfer-encoding|upgrade|user-agent|via|x-real-ip)$/;

/**
 * Reads the batch of `/produce/TOPIC/VALUE?key=`, or of `/produce/TOPIC` and `/produce`, whose body is a message or an
 * array of messages.
 */
export function produceBatch(request: HttpRequest): Batch {
  const [, topic, value] = request.path;
  if (value !== undefined) {
    return { messages: [{ value, key: request.query.get('key') }], topic, form: 'value' };
  }
  const body = parseJson(request.body);
  if (isAbsent(body)) throw new KafkaError(400, 'The body is missing: expected a message or an array of messages');
  return { messages: listOf(body), topic, form: Array.isArray(body) ? 'array' : 'message' };
}

/** Reads the batch of `/webhook?topic=`. The body is the value. The sender's own headers become record headers. */
export function webhookBatch(request: HttpRequest): Batch {
  const topic = request.query.get('topic');
  if (topic === null) throw new KafkaError(400, 'The query parameter topic is missing');
  const headers = Object.entries(request.headers).flatMap(([key, value]) =>
    typeof value === 'string' && !HTTP_HEADERS.test(key) ? [{ key, value }] : [],
  );
  return { messages: [{ value: request.body, headers }], topic, form: 'message' };
}

/**
 * Produces a batch. For an array, responds 200 with metadata or `{error, status}` for each message, in order. For a
 * single message, responds with the status of its error. 404 if the topic in the path does not exist.
 */
export function handleBatch(
  topics: Topics,
  batch: Batch,
  options: { injectedErrors: ReadonlyMap<number, RecordError>; now: () => number },
): HttpResponse {
  if (batch.topic !== undefined) topics.logsOf(batch.topic);
  const results = produce(topics, batch.messages, { topic: batch.topic, ...options });
  if (batch.form === 'array') return jsonResponse(results);
  const [result] = results;
  if (result !== undefined && 'error' in result) return jsonResponse(result, result.status);
  return jsonResponse(batch.form === 'value' ? result : results);
}
