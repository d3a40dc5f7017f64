import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { KafkaError } from './error.ts';
import { type ChooseFault, DroppedConnection, failAfter, failBefore, injectedRecordErrors } from './faults.ts';
import { Groups } from './groups.ts';
import {
  credentialsCheck,
  type HttpRequest,
  type HttpResponse,
  jsonResponse,
  readRequest,
  sendResponse,
} from './http.ts';
import type { Message } from './log.ts';
import { CommittedOffsets } from './offsets.ts';
import { toRecordError } from './produce.ts';
import { type Broker, parseOperation } from './routes.ts';
import { type TopicOptions, Topics } from './topics.ts';

export interface KafkaOptions {
  /** 0 uses any free port. */
  port: number;
  /** The folder for records and committed offsets. Created if missing. Only one server can use it at a time. */
  dir: string;
  username: string;
  password: string;
  topics: readonly TopicOptions[];
  /** Create an unknown topic (one partition, 7 days) when a request names it. Default: reject the request. */
  autoCreate?: boolean;
  /** The clock: milliseconds since 1970. */
  now?: () => number;
  /** Chooses the fault of each request, for tests. */
  fault?: ChooseFault;
  /** The size in bytes at which a log starts a new file. */
  segmentBytes?: number;
}

export interface Kafka {
  url: string;
  port: number;
  /** Every unexpired record of a topic, ordered by partition and offset. */
  read(topic: string): Generator<Message>;
  /** Ends waiting requests, runs the pending auto-commits and closes the files. */
  close(): Promise<void>;
}

const ABOUT = 'local emulator of the Upstash Kafka REST protocol';
const HOST = '127.0.0.1';
const READ_RECORDS = 1000;

/**
 * Starts a local emulator of the Upstash Kafka REST protocol. It has no Kafka broker and supports no other protocol.
 * Acknowledged records are written to the operating system, so killing the process loses none of them.
 * Rejects with `EADDRINUSE` before it touches the folder, or with an error if a log is damaged.
 */
export async function startKafka(options: KafkaOptions): Promise<Kafka> {
  const server = createServer({ keepAliveTimeout: 65_000 });
  server.listen(options.port, HOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const now = options.now ?? Date.now;
  let broker: ReturnType<typeof openBroker>;
  try {
    broker = openBroker(options, now);
  } catch (error) {
    server.close();
    throw error;
  }
  const { topics, groups, offsets } = broker;
  const isAllowed = credentialsCheck(options.username, options.password);
  server.on('request', (request, response) => {
    void respond(request, response, (httpRequest) => handle(broker, httpRequest, { ...options, isAllowed }));
  });
  const timers = [setInterval(() => groups.removeTimedOut(), 1000), setInterval(() => topics.expire(), 60_000)];
  for (const timer of timers) timer.unref();
  const shutDown = async () => {
    timers.forEach(clearInterval);
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
    groups.close();
    offsets.close();
    topics.close();
  };
  let closing: Promise<void> | undefined;
  return {
    url: `http://${HOST}:${port}`,
    port,
    read: (topic) => readTopic(topics, topic),
    close() {
      closing ??= shutDown();
      return closing;
    },
  };
}

function openBroker(options: KafkaOptions, now: () => number): Broker & { offsets: CommittedOffsets } {
  mkdirSync(options.dir, { recursive: true });
  const topics = new Topics({ ...options, dir: join(options.dir, 'topics'), now });
  const offsets = new CommittedOffsets(join(options.dir, 'offsets.ndjson'));
  return { topics, offsets, groups: new Groups(topics, offsets, now), now };
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  handler: (request: HttpRequest) => Promise<HttpResponse>,
): Promise<void> {
  const disconnected = new AbortController();
  response.once('close', () => disconnected.abort());
  try {
    const result = await handler(await readRequest(request, disconnected.signal));
    if (!disconnected.signal.aborted) sendResponse(response, result);
  } catch (error) {
    if (disconnected.signal.aborted) return;
    if (error instanceof DroppedConnection) request.socket.destroy();
    else sendResponse(response, errorResponse(error));
  }
}

async function handle(
  broker: Broker,
  request: HttpRequest,
  options: { isAllowed: (request: HttpRequest) => boolean; fault?: ChooseFault },
): Promise<HttpResponse> {
  if (request.path.length === 0) return jsonResponse({ name: ABOUT });
  if (!options.isAllowed(request)) throw new KafkaError(401, 'Unauthorized: wrong username or password');
  const operation = parseOperation(request);
  const records = operation.records === undefined ? {} : { records: operation.records };
  const fault = await options.fault?.({ method: request.method, path: `/${request.path.join('/')}`, ...records });
  await failBefore(fault, request.signal);
  const response = await operation.run(broker, injectedRecordErrors(fault));
  await failAfter(fault, request.signal);
  return response;
}

function errorResponse(error: unknown): HttpResponse {
  const body = toRecordError(error);
  return jsonResponse(body, body.status);
}

function* readTopic(topics: Topics, topic: string): Generator<Message> {
  for (const log of topics.logsOf(topic)) {
    log.expire();
    for (let offset = log.start; offset < log.end; ) {
      const { json, next } = log.read(offset, READ_RECORDS, Number.POSITIVE_INFINITY);
      yield* JSON.parse(`[${json}]`) as Message[];
      offset = next;
    }
  }
}
