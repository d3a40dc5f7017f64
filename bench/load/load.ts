import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';

/**
 * A process of its own for what makes the load, so that its event loop is nobody else's. `run` gives it one job at a time
 * and resolves with what it measured.
 */
export type Loader<Job, Result> = { run: (job: Job) => Promise<Result>; stop: () => void };

/** `file`, relative to this one, answers each message by {loaded} or {failed}. It ends when we do. */
export function startLoader<Job extends object, Result>(file: string): Loader<Job, Result> {
  const child: ChildProcess = fork(join(import.meta.dirname, file), { execArgv: ['--no-warnings'] });
  child.on('error', () => undefined); // whoever waits is told by `exit`
  let gone = false;
  child.once('exit', () => {
    gone = true;
  });
  return {
    run: (job) =>
      new Promise((resolve, reject) => {
        if (gone || !child.connected) {
          reject(new Error(`${file} has ended`));
          return;
        }
        const onExit = (code: number | null): void => reject(new Error(`${file} has ended (${code})`));
        child.once('exit', onExit);
        child.once('message', (message: { loaded: Result } | { failed: string }) => {
          child.off('exit', onExit);
          if ('failed' in message) reject(new Error(message.failed));
          else resolve(message.loaded);
        });
        child.send(job);
      }),
    stop: () => {
      if (child.connected) child.disconnect();
    },
  };
}
