import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ReplayOptions } from '../../bench/replay/options.ts';
import { replay } from '../../bench/replay/run.ts';
import type { Store } from './harness.ts';

export type Outcome = { code: number | null; text: string };

export type Fixture = {
  write: (content: string) => Promise<string>;
  /** Runs the replay in this process. */
  run: (file: string, overrides?: Partial<ReplayOptions>, signal?: AbortSignal) => Promise<Outcome>;
  /** Runs `bench/replay/main.ts` in another process, which a test can kill. */
  start: (file: string, ...flags: string[]) => { child: ChildProcess; outcome: Promise<Outcome> };
  close: () => Promise<void>;
};

const program = join(import.meta.dirname, '..', '..', 'bench', 'replay', 'main.ts');

/** Creates a folder for replay files, and functions that replay them against the store. */
export async function createReplayFixture(store: Store): Promise<Fixture> {
  const dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-replay-'));
  let files = 0;
  return {
    async write(content) {
      const path = join(dir, `${++files}.csv`);
      await writeFile(path, content);
      return path;
    },
    async run(file, overrides = {}, signal = new AbortController().signal) {
      let text = '';
      const options = {
        file,
        url: store.url,
        key: store.key,
        databaseUrl: store.database.url,
        kafka: { url: store.kafka.url, username: 'dev', password: 'dev' },
        concurrency: 4,
        limit: Number.POSITIVE_INFINITY,
        ...overrides,
      };
      const write = (part: string): void => {
        text += part;
      };
      return { code: await replay(options, { write, rewrites: false }, signal), text };
    },
    start(file, ...flags) {
      const connection = ['--url', store.url, '--key', store.key, '--database-url', store.database.url];
      const args = [program, file, ...connection, '--kafka-url', store.kafka.url, ...flags];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      const { promise, resolve } = Promise.withResolvers<Outcome>();
      let text = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (part) => {
          text += part;
        });
      }
      child.on('close', (code) => resolve({ code, text }));
      return { child, outcome: promise };
    },
    close: () => rm(dir, { recursive: true, force: true }),
  };
}

/** A random generator with the same numbers in every run (Marsaglia's xorshift). */
export function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
