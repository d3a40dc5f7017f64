import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { repository } from '../platform/settings.ts';
import { signal } from '../support/process.ts';
import type { WorkerCommand, WorkerResult, WorkerStart } from './worker.ts';

type Command = WorkerCommand extends infer Each ? (Each extends { id: number } ? Omit<Each, 'id'> : never) : never;

/** The Worker in workerd with local queues. It can be killed and restarted at the same address. */
export type WorkerProcess = {
  url: string;
  readonly running: boolean;
  start: () => Promise<void>;
  /** Kills it and workerd (SIGKILL). The messages in its queues are lost. */
  kill: () => Promise<void>;
  /** Fires a cron with this time (ms). Rejects if one of its jobs fails or the Worker dies. */
  cron: (expression: string, at: number) => Promise<void>;
  /** Sends messages to the queue with this binding. */
  enqueue: (binding: string, messages: unknown[]) => Promise<void>;
};

/** Creates a Worker without starting it. It writes its log to `log`, one JSON object per line. */
export function workerProcess(settings: WorkerStart, log: Writable): WorkerProcess {
  let child: ChildProcess | undefined;
  let count = 0;
  const pending = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();

  const send = (command: Command): Promise<void> =>
    new Promise((resolve, reject) => {
      if (!child?.connected) {
        reject(new Error('the Worker is not running'));
        return;
      }
      const id = ++count;
      pending.set(id, { resolve, reject });
      child.send({ ...command, id }, (error) => error && pending.delete(id) && reject(error));
    });

  return {
    url: `http://127.0.0.1:${settings.port}`,
    get running() {
      return child !== undefined;
    },
    async start() {
      const spawned = spawn(process.execPath, [`${import.meta.dirname}/worker.ts`], {
        cwd: repository,
        detached: true, // its own process group: can be killed as a whole, and does not get our Ctrl-C
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' },
      });
      child = spawned;
      spawned.stdout?.pipe(log, { end: false });
      spawned.stderr?.pipe(log, { end: false });
      spawned.on('message', ({ id, error }: WorkerResult) => {
        const caller = pending.get(id);
        pending.delete(id);
        if (error === undefined) caller?.resolve();
        else caller?.reject(new Error(error));
      });
      spawned.on('exit', () => {
        if (child === spawned) child = undefined;
        for (const { reject } of pending.values()) reject(new Error('the Worker died'));
        pending.clear();
      });
      try {
        await send({ kind: 'start', start: settings });
      } catch (error) {
        if (spawned.pid !== undefined) signal(-spawned.pid, 'SIGKILL');
        throw error;
      }
    },
    async kill() {
      const spawned = child;
      if (spawned?.pid === undefined) return;
      const gone = once(spawned, 'exit');
      signal(-spawned.pid, 'SIGKILL');
      await gone;
    },
    cron: (expression, at) => send({ kind: 'cron', expression, at }),
    enqueue: (binding, messages) => send({ kind: 'queue', binding, messages }),
  };
}
