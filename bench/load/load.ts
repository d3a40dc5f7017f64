import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';

/**
 * A load generator in its own process, so that nothing else delays its event loop. `run` sends it one job at a time and
 * resolves with the measurements.
 */
export type Loader<Job, Result> = { run: (job: Job) => Promise<Result>; stop: () => void };

/**
 * Starts `file`, a path relative to this folder. It replies to each job with {loaded} or {failed}, and ends with this
 * process.
 */
export function startLoader<Job extends object, Result>(file: string): Loader<Job, Result> {
  const child: ChildProcess = fork(join(import.meta.dirname, file), { execArgv: ['--no-warnings'] });
  child.on('error', () => undefined); // `exit` rejects the running job
  let exited = false;
  child.once('exit', () => {
    exited = true;
  });
  return {
    run: (job) =>
      new Promise((resolve, reject) => {
        if (exited || !child.connected) {
          reject(new Error(`the load generator ${file} has ended`));
          return;
        }
        const onExit = (code: number | null): void =>
          reject(new Error(`the load generator ${file} ended with code ${code}`));
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
