import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { KafkaError } from './error.ts';
import { type ChooseFault, DroppedConnection, failAfter, failBefore, refusedRecords } from './faults.ts';
import { Groups } from './groups.ts';
import { type Answer, type Call, credentialsCheck, jsonAnswer, readCall, sendAnswer } from './http.ts';
import type { Message } from './log.ts';
import { CommittedOffsets } from './offsets.ts';
import { refusalOf } from './produce.ts';
import { type Parts, workOf } from './routes.ts';
import { type TopicOptions, Topics } from './topics.ts';

export interface KafkaOptions {
  /** 0 takes any free port. */
  port: number;
  /** Where records and committed offsets are kept; made if need be. One server at a time. */
  dir: string;
  username: string;
  password: string;
  topics: readonly TopicOptions[];
  /** Make an unknown topic, of one partition kept for 7 days, when it is first named. Default: refuse it. */
  autoCreate?: boolean;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** What is to go wrong, for tests. */
  fault?: ChooseFault;
  /** The size in bytes at which a log begins a new file. */
  segmentBytes?: number;
}

export interface Kafka {
  url: string;
  port: number;
  /** Every record of a topic that retention has left, by partition and offset. */
  read(topic: string): Generator<Message>;
  /** Ends every request that waits, commits what auto-commit still would, and leaves the folder complete. */
  close(): Promise<void>;
}

const ABOUT = 'local emulator of the Upstash Kafka REST protocol';
const HOST = '127.0.0.1';
const READ_RECORDS = 1000;

/**
 * Starts a local emulator of the Upstash Kafka REST protocol: no Kafka is behind it, and no client other than one of
 * that protocol can use it. What it answers was handed to the operating system: a killed process loses none of it.
 * Rejects with the error of the socket (`EADDRINUSE`) before it touches the folder, or for a damaged log.
 */
export async function startKafka(options: KafkaOptions): Promise<Kafka> {
  const server = createServer({ keepAliveTimeout: 65_000 });
  server.listen(options.port, HOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const now = options.now ?? Date.now;
  let opened: ReturnType<typeof openParts>;
  try {
    opened = openParts(options, now);
  } catch (error) {
    server.close();
    throw error;
  }
  const { topics, groups, offsets } = opened;
  const allowed = credentialsCheck(options.username, options.password);
  server.on('request', (request, response) => {
    void respond(request, response, (call) => answer(opened, call, { ...options, allowed }));
  });
  const timers = [setInterval(() => groups.dropSilent(), 1000), setInterval(() => topics.expire(), 60_000)];
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

function openParts(options: KafkaOptions, now: () => number): Parts & { offsets: CommittedOffsets } {
  mkdirSync(options.dir, { recursive: true });
  const topics = new Topics({ ...options, dir: join(options.dir, 'topics'), now });
  const offsets = new CommittedOffsets(join(options.dir, 'offsets.ndjson'));
  return { topics, offsets, groups: new Groups(topics, offsets, now), now };
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  handle: (call: Call) => Promise<Answer>,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  try {
    const answered = await handle(await readCall(request, gone.signal));
    if (!gone.signal.aborted) sendAnswer(response, answered);
  } catch (error) {
    if (gone.signal.aborted) return;
    if (error instanceof DroppedConnection) request.socket.destroy();
    else sendAnswer(response, errorAnswer(error));
  }
}

async function answer(
  parts: Parts,
  call: Call,
  options: { allowed: (call: Call) => boolean; fault?: ChooseFault },
): Promise<Answer> {
  if (call.path.length === 0) return jsonAnswer({ name: ABOUT });
  if (!options.allowed(call)) throw new KafkaError(401, 'Unauthorized: wrong username or password');
  const work = workOf(call);
  const records = work.records === undefined ? {} : { records: work.records };
  const fault = await options.fault?.({ method: call.method, path: `/${call.path.join('/')}`, ...records });
  await failBefore(fault, call.signal);
  const answered = await work.run(parts, refusedRecords(fault));
  await failAfter(fault, call.signal);
  return answered;
}

function errorAnswer(error: unknown): Answer {
  const refusal = refusalOf(error);
  return jsonAnswer(refusal, refusal.status);
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
