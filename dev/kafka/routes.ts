import { type Batch, handleBatch, produceBatch, webhookBatch } from './batch.ts';
import { KafkaError } from './error.ts';
import { fetchMessages } from './fetch.ts';
import type { Groups } from './groups.ts';
import { type HttpRequest, type HttpResponse, jsonResponse } from './http.ts';
import { parseJson } from './json.ts';
import type { RecordError } from './produce.ts';
import { consumeRequestOf, fetchRequestOf, offsetsOf, partitionsOf, timestampOf } from './requests.ts';
import type { Topics } from './topics.ts';

/** The state of the emulator. */
export interface Broker {
  topics: Topics;
  groups: Groups;
  now: () => number;
}

/** A parsed request that has not run yet. */
export interface Operation {
  /** The messages of a produce request. */
  records?: readonly unknown[];
  run: (broker: Broker, injectedErrors: ReadonlyMap<number, RecordError>) => HttpResponse | Promise<HttpResponse>;
}

interface Route {
  methods: readonly string[];
  /** The possible numbers of path segments after the route's name. */
  segments: readonly number[];
  parse: (request: HttpRequest) => Operation;
}

const SUCCESS = jsonResponse({ result: 'Success', status: 200 });
const ANY = ['GET', 'POST'];

/** The API's routes by the first path segment, as in the service's documentation. */
const ROUTES: Record<string, Route> = {
  produce: { methods: ANY, segments: [0, 1, 2], parse: produceWith(produceBatch) },
  webhook: { methods: ANY, segments: [0], parse: produceWith(webhookBatch) },
  fetch: { methods: ANY, segments: [0], parse: runWith(handleFetch) },
  consume: { methods: ANY, segments: [2, 3], parse: runWith(handleConsume) },
  commit: { methods: ANY, segments: [2], parse: runWith(handleCommit) },
  committed: { methods: ANY, segments: [2], parse: runWith(handleCommitted) },
  offsets: { methods: ANY, segments: [1], parse: runWith(handleOffsets) },
  topics: { methods: ['GET'], segments: [0], parse: runWith(handleTopics) },
  consumers: { methods: ['GET'], segments: [0], parse: runWith(handleConsumers) },
  'delete-consumer': { methods: ['POST', 'DELETE'], segments: [2], parse: runWith(handleDelete) },
};

/**
 * Parses a request. 404 for an unknown path, 405 for a method that the path does not support, 400 for a produce request
 * whose body is not JSON.
 */
export function parseOperation(request: HttpRequest): Operation {
  const [name = '', ...rest] = request.path;
  const route = Object.hasOwn(ROUTES, name) ? ROUTES[name] : undefined;
  if (route === undefined || !route.segments.includes(rest.length)) {
    throw new KafkaError(404, `There is no API at /${request.path.join('/')}`);
  }
  if (!route.methods.includes(request.method))
    throw new KafkaError(405, `/${name} supports only ${route.methods.join(' and ')}`);
  return route.parse(request);
}

function produceWith(read: (request: HttpRequest) => Batch): (request: HttpRequest) => Operation {
  return (request) => {
    const batch = read(request);
    const run: Operation['run'] = ({ topics, now }, injectedErrors) =>
      handleBatch(topics, batch, { injectedErrors, now });
    return { records: batch.messages, run };
  };
}

function runWith(
  handle: (broker: Broker, request: HttpRequest) => HttpResponse | Promise<HttpResponse>,
): (request: HttpRequest) => Operation {
  return (request) => ({ run: (broker) => handle(broker, request) });
}

async function handleFetch({ topics }: Broker, request: HttpRequest): Promise<HttpResponse> {
  return messagesResponse(await fetchMessages(topics, fetchRequestOf(topics, request), request.signal));
}

async function handleConsume({ topics, groups }: Broker, request: HttpRequest): Promise<HttpResponse> {
  return messagesResponse(await groups.consume(consumeRequestOf(topics, request), request.signal));
}

function handleCommit({ topics, groups }: Broker, request: HttpRequest): HttpResponse {
  const [, group = '', instance = ''] = request.path;
  groups.commit(group, instance, offsetsOf(topics, parseJson(request.body)));
  return SUCCESS;
}

function handleCommitted({ topics, groups }: Broker, request: HttpRequest): HttpResponse {
  const [, group = ''] = request.path;
  const logs = partitionsOf(topics, parseJson(request.body));
  return jsonResponse(
    logs.map((log) => ({ topic: log.topic, partition: log.partition, offset: groups.committed(group, log) })),
  );
}

/** Responds with offset -1, as Kafka does, if no record has the timestamp or a later one. */
function handleOffsets({ topics }: Broker, request: HttpRequest): HttpResponse {
  const timestamp = timestampOf(request.path[1] ?? '');
  const logs = partitionsOf(topics, parseJson(request.body));
  return jsonResponse(
    logs.map((log) => {
      log.expire();
      const bounds = { earliest: log.start, latest: log.end };
      const offset = typeof timestamp === 'number' ? (log.offsetAt(timestamp) ?? -1) : bounds[timestamp];
      return { topic: log.topic, partition: log.partition, offset };
    }),
  );
}

function handleTopics({ topics }: Broker): HttpResponse {
  return jsonResponse(topics.list());
}

function handleConsumers({ groups }: Broker): HttpResponse {
  return jsonResponse(groups.list());
}

function handleDelete({ groups }: Broker, request: HttpRequest): HttpResponse {
  const [, group = '', instance = ''] = request.path;
  groups.remove(group, instance);
  return SUCCESS;
}

/** Joins the records without parsing them: they are stored in the format of the response. */
function messagesResponse(messages: readonly Buffer[]): HttpResponse {
  const parts = messages.flatMap((json, i) => (i === 0 ? [json] : [Buffer.from(','), json]));
  return { status: 200, body: Buffer.concat([Buffer.from('['), ...parts, Buffer.from(']')]) };
}
