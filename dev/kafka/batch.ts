import { KafkaError } from './error.ts';
import { type Answer, type Call, jsonAnswer } from './http.ts';
import { isAbsent, listOf, parseJson } from './json.ts';
import { produce, type Refusal } from './produce.ts';
import type { Topics } from './topics.ts';

/** What a request asks to produce, and in which form it is to be answered. */
export interface Batch {
  messages: readonly unknown[];
  /** The topic that the path names, for all of the messages. */
  topic: string | undefined;
  form: 'value' | 'message' | 'array';
}

/** Headers of HTTP itself and of proxies: they say nothing of the event that a webhook brings. */
const HTTP_HEADERS =
  /^(?:accept|access-control|cache|cf|content|if|proxy|sec|x-forwarded)-|^(?:accept|authorization|connection|cookie|date|dnt|expect|forwarded|from|host|keep-alive|origin|pragma|range|referer|te|trailer|transfer-encoding|upgrade|user-agent|via|x-real-ip)$/;

/**
 * The batch of `/produce/TOPIC/VALUE?key=`, or of `/produce/TOPIC` and `/produce`, whose body is a message or an array
 * of messages.
 */
export function produceBatch(call: Call): Batch {
  const [, topic, value] = call.path;
  if (value !== undefined) {
    return { messages: [{ value, key: call.query.get('key') }], topic, form: 'value' };
  }
  const body = parseJson(call.body);
  if (isAbsent(body)) throw new KafkaError(400, 'The body is a message or an array of messages');
  return { messages: listOf(body), topic, form: Array.isArray(body) ? 'array' : 'message' };
}

/** The batch of `/webhook?topic=`: the body is the value, and what the sender set in the headers become the record's. */
export function webhookBatch(call: Call): Batch {
  const topic = call.query.get('topic');
  if (topic === null) throw new KafkaError(400, 'The query names no topic');
  const headers = Object.entries(call.headers).flatMap(([key, value]) =>
    typeof value === 'string' && !HTTP_HEADERS.test(key) ? [{ key, value }] : [],
  );
  return { messages: [{ value: call.body, headers }], topic, form: 'message' };
}

/**
 * Produces a batch. An array is answered 200 with the metadata or the `{error, status}` of each message in its place;
 * for one message alone a refusal is the answer, with its status. 404 if the path's topic does not exist.
 */
export function answerBatch(
  topics: Topics,
  batch: Batch,
  options: { refused: ReadonlyMap<number, Refusal>; now: () => number },
): Answer {
  if (batch.topic !== undefined) topics.logsOf(batch.topic);
  const results = produce(topics, batch.messages, { topic: batch.topic, ...options });
  if (batch.form === 'array') return jsonAnswer(results);
  const [result] = results;
  if (result !== undefined && 'error' in result) return jsonAnswer(result, result.status);
  return jsonAnswer(batch.form === 'value' ? result : results);
}
