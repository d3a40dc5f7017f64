import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { repository } from '../platform/settings.ts';
import { signal } from '../support/process.ts';
import type { WorkerOrder, WorkerReport, WorkerStart } from './worker.ts';

type Order = WorkerOrder extends infer Each ? (Each extends { id: number } ? Omit<Each, 'id'> : never) : never;

/** The Worker in workerd, with local queues, that can be killed and started again at the same address. */
export type WorkerProcess = {
  url: string;
  readonly running: boolean;
  start: () => Promise<void>;
  /** SIGKILL to it and to workerd: what its queues held in memory is lost. */
  kill: () => Promise<void>;
  /** Fires a cron as if at this time (ms). Rejects if a job of it failed, or if the Worker died. */
  cron: (expression: string, at: number) => Promise<void>;
  /** Puts messages into a queue, by its binding. */
  enqueue: (binding: string, messages: unknown[]) => Promise<void>;
};

/** A Worker that is not started yet. Its log goes to `log`, a JSON object a line. */
export function workerProcess(settings: WorkerStart, log: Writable): WorkerProcess {
  let child: ChildProcess | undefined;
  let count = 0;
  const waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();

  const send = (order: Order): Promise<void> =>
    new Promise((resolve, reject) => {
      if (!child?.connected) {
        reject(new Error('the Worker is not running'));
        return;
      }
      const id = ++count;
      waiting.set(id, { resolve, reject });
      child.send({ ...order, id }, (error) => error && waiting.delete(id) && reject(error));
    });

  return {
    url: `http://127.0.0.1:${settings.port}`,
    get running() {
      return child !== undefined;
    },
    async start() {
      const mine = spawn(process.execPath, [`${import.meta.dirname}/worker.ts`], {
        cwd: repository,
        detached: true, // a group of its own: killed as a whole, and not by a Ctrl-C that is ours
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' },
      });
      child = mine;
      mine.stdout?.pipe(log, { end: false });
      mine.stderr?.pipe(log, { end: false });
      mine.on('message', ({ id, error }: WorkerReport) => {
        const its = waiting.get(id);
        waiting.delete(id);
        if (error === undefined) its?.resolve();
        else its?.reject(new Error(error));
      });
      mine.on('exit', () => {
        if (child === mine) child = undefined;
        for (const { reject } of waiting.values()) reject(new Error('the Worker died'));
        waiting.clear();
      });
      try {
        await send({ kind: 'start', start: settings });
      } catch (error) {
        if (mine.pid !== undefined) signal(-mine.pid, 'SIGKILL');
        throw error;
      }
    },
    async kill() {
      const mine = child;
      if (mine?.pid === undefined) return;
      const gone = once(mine, 'exit');
      signal(-mine.pid, 'SIGKILL');
      await gone;
    },
    cron: (expression, at) => send({ kind: 'cron', expression, at }),
    enqueue: (binding, messages) => send({ kind: 'queue', binding, messages }),
  };
}
