import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka } from '@upstash/kafka';
import { onTestFinished } from 'vitest';
import { type KafkaOptions, startKafka } from '../../../dev/kafka/server.ts';

export const WEEK = 7 * 24 * 3600 * 1000;
export const TOPICS = [
  { name: 'cities', partitions: 4, retentionMs: WEEK },
  { name: 'greetings', partitions: 1, retentionMs: WEEK },
];

/** Creates a folder that is deleted after the test. */
export async function temporaryDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'kafka-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Starts the emulator for one test, and returns clients for it. It is closed after the test. */
export async function startKafkaFixture(options: Partial<KafkaOptions> = {}) {
  const dir = options.dir ?? (await temporaryDir());
  const server = await startKafka({ port: 0, username: 'dev', password: 'dev', topics: TOPICS, ...options, dir });
  onTestFinished(() => server.close());
  const client = new Kafka({ url: server.url, username: 'dev', password: 'dev' });
  const call = async (path: string, init: RequestInit = {}) => {
    const headers = { authorization: basic('dev', 'dev'), ...init.headers };
    const response = await fetch(server.url + path, { ...init, headers });
    return { status: response.status, body: (await response.json()) as unknown };
  };
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    call(path, { method: 'POST', body: JSON.stringify(body), headers });
  return { server, dir, call, post, producer: client.producer(), consumer: client.consumer(), admin: client.admin() };
}

export function basic(username: string, password: string): string {
  return `Basic ${btoa(`${username}:${password}`)}`;
}

/** A clock that only moves when a test calls `move`. */
export function manualClock(start = Date.UTC(2026, 0, 1)) {
  let time = start;
  return {
    now: () => time,
    move: (ms: number) => {
      time += ms;
    },
  };
}
