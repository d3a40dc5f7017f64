import { answerBatch, type Batch, produceBatch, webhookBatch } from './batch.ts';
import { KafkaError } from './error.ts';
import { fetchMessages } from './fetch.ts';
import type { Groups } from './groups.ts';
import { type Answer, type Call, jsonAnswer } from './http.ts';
import { parseJson } from './json.ts';
import type { Refusal } from './produce.ts';
import { consumeRequestOf, fetchRequestOf, offsetsOf, partitionsOf, timestampOf } from './requests.ts';
import type { Topics } from './topics.ts';

export interface Parts {
  topics: Topics;
  groups: Groups;
  now: () => number;
}

/** A request that was understood and is still to be carried out. */
export interface Work {
  /** The messages of a request that produces. */
  records?: readonly unknown[];
  run: (parts: Parts, refused: ReadonlyMap<number, Refusal>) => Answer | Promise<Answer>;
}

interface Route {
  methods: readonly string[];
  /** How many segments may follow the route's name in the path. */
  segments: readonly number[];
  understand: (call: Call) => Work;
}

const DONE = jsonAnswer({ result: 'Success', status: 200 });
const ANY = ['GET', 'POST'];

/** The API's calls by the first segment of their path, as the service's documentation has them. */
const ROUTES: Record<string, Route> = {
  produce: { methods: ANY, segments: [0, 1, 2], understand: producing(produceBatch) },
  webhook: { methods: ANY, segments: [0], understand: producing(webhookBatch) },
  fetch: { methods: ANY, segments: [0], understand: answering(answerFetch) },
  consume: { methods: ANY, segments: [2, 3], understand: answering(answerConsume) },
  commit: { methods: ANY, segments: [2], understand: answering(answerCommit) },
  committed: { methods: ANY, segments: [2], understand: answering(answerCommitted) },
  offsets: { methods: ANY, segments: [1], understand: answering(answerOffsets) },
  topics: { methods: ['GET'], segments: [0], understand: answering(answerTopics) },
  consumers: { methods: ['GET'], segments: [0], understand: answering(answerConsumers) },
  'delete-consumer': { methods: ['POST', 'DELETE'], segments: [2], understand: answering(answerDelete) },
};

/**
 * Understands a call. 404 for a path that the API does not have, 405 for a method that the path does not take,
 * 400 for messages to produce that are not JSON.
 */
export function workOf(call: Call): Work {
  const [name = '', ...rest] = call.path;
  const route = Object.hasOwn(ROUTES, name) ? ROUTES[name] : undefined;
  if (route === undefined || !route.segments.includes(rest.length)) {
    throw new KafkaError(404, `There is no API at /${call.path.join('/')}`);
  }
  if (!route.methods.includes(call.method)) throw new KafkaError(405, `/${name} takes ${route.methods.join(' or ')}`);
  return route.understand(call);
}

function producing(read: (call: Call) => Batch): (call: Call) => Work {
  return (call) => {
    const batch = read(call);
    const run: Work['run'] = ({ topics, now }, refused) => answerBatch(topics, batch, { refused, now });
    return { records: batch.messages, run };
  };
}

function answering(answer: (parts: Parts, call: Call) => Answer | Promise<Answer>): (call: Call) => Work {
  return (call) => ({ run: (parts) => answer(parts, call) });
}

async function answerFetch({ topics }: Parts, call: Call): Promise<Answer> {
  return messagesAnswer(await fetchMessages(topics, fetchRequestOf(topics, call), call.signal));
}

async function answerConsume({ topics, groups }: Parts, call: Call): Promise<Answer> {
  return messagesAnswer(await groups.consume(consumeRequestOf(topics, call), call.signal));
}

function answerCommit({ topics, groups }: Parts, call: Call): Answer {
  const [, group = '', instance = ''] = call.path;
  groups.commit(group, instance, offsetsOf(topics, parseJson(call.body)));
  return DONE;
}

function answerCommitted({ topics, groups }: Parts, call: Call): Answer {
  const [, group = ''] = call.path;
  const logs = partitionsOf(topics, parseJson(call.body));
  return jsonAnswer(
    logs.map((log) => ({ topic: log.topic, partition: log.partition, offset: groups.committed(group, log) })),
  );
}

/** Answers -1, Kafka's sign for none, where no record is as late as the timestamp. */
function answerOffsets({ topics }: Parts, call: Call): Answer {
  const timestamp = timestampOf(call.path[1] ?? '');
  const logs = partitionsOf(topics, parseJson(call.body));
  return jsonAnswer(
    logs.map((log) => {
      log.expire();
      const bounds = { earliest: log.start, latest: log.end };
      const offset = typeof timestamp === 'number' ? (log.offsetAt(timestamp) ?? -1) : bounds[timestamp];
      return { topic: log.topic, partition: log.partition, offset };
    }),
  );
}

function answerTopics({ topics }: Parts): Answer {
  return jsonAnswer(topics.list());
}

function answerConsumers({ groups }: Parts): Answer {
  return jsonAnswer(groups.list());
}

function answerDelete({ groups }: Parts, call: Call): Answer {
  const [, group = '', instance = ''] = call.path;
  groups.remove(group, instance);
  return DONE;
}

/** The records are stored as they are answered, so they are joined and not parsed. */
function messagesAnswer(messages: readonly Buffer[]): Answer {
  const parts = messages.flatMap((json, i) => (i === 0 ? [json] : [Buffer.from(','), json]));
  return { status: 200, body: Buffer.concat([Buffer.from('['), ...parts, Buffer.from(']')]) };
}
