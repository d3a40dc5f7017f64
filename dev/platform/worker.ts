import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { interruptWhenWeDie, isGoneWithin, signal } from '../support/process.ts';
import { repository } from './settings.ts';

export type WorkerOptions = {
  port: number;
  /** Passed in a file that only this user can read, since every user can read a command line. */
  variables: Record<string, string>;
  /** Folder for the file of variables and for wrangler's state. */
  dir: string;
  logFile: string;
  log: (line: string) => void;
};

export type Worker = {
  url: string;
  pid: number | undefined;
  /** Resolves once /healthz returns 200. Rejects with wrangler's last lines if it cannot start. */
  ready: Promise<void>;
  /** Resolves with the reason when wrangler has exited or its runtime has crashed. */
  exited: Promise<string>;
  /** Fires a cron as Cloudflare would. */
  fire: (cron: string, time: Date) => Promise<void>;
  stop: () => Promise<void>;
};

/** Starts `wrangler dev` in local mode. Returns at once, so that it can be stopped before it is ready. */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const variablesFile = join(options.dir, 'variables.env');
  const text = Object.entries(options.variables).map(([name, value]) => `${name}=${quote(value)}\n`);
  await writeFile(variablesFile, text.join(''), { mode: 0o600 });
  await chmod(variablesFile, 0o600);
  const url = `http://127.0.0.1:${options.port}`;
  const addressFlags = ['--ip', '127.0.0.1', '--port', String(options.port), '--inspector-port', '0'];
  const fileFlags = ['--env-file', variablesFile, '--persist-to', join(options.dir, 'state')];
  const child = spawn(
    process.execPath,
    [
      ...['--no-warnings', fileURLToPath(import.meta.resolve('wrangler')), 'dev', '--local'],
      ...[...addressFlags, ...fileFlags, '--show-interactive-dev-session=false'],
    ],
    {
      cwd: repository,
      env: {
        ...process.env,
        WRANGLER_SEND_METRICS: 'false',
        CLOUDFLARE_CF_FETCH_ENABLED: 'false',
        NO_COLOR: '1',
        WRANGLER_LOG_PATH: dirname(options.logFile),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // its own process group, so that workerd and esbuild end with it
    },
  );
  const { pid } = child;
  const cancelWatchdog = pid === undefined ? () => undefined : interruptWhenWeDie(-pid, {});
  const file = createWriteStream(options.logFile, { flags: 'a' });
  const recentLines: string[] = [];
  const listening = Promise.withResolvers<void>();
  const exited = Promise.withResolvers<string>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (raw) => {
      const line = stripVTControlCharacters(raw);
      file.write(`${line}\n`);
      options.log(line);
      if (recentLines.push(line) > 40) recentLines.shift();
      if (line.includes('Ready on http')) listening.resolve();
      else if (line.includes('[ERROR]')) setTimeout(() => listening.reject(new Error(recentLines.join('\n'))), 200);
      // wrangler restarts the runtime, but the messages in its queues are lost.
      else if (line.includes('runtime crashed unexpectedly')) exited.resolve('its runtime, workerd, crashed');
    });
  }
  child.on('error', (error) => exited.resolve(error.message));
  child.on('exit', (code, name) => {
    cancelWatchdog();
    if (pid !== undefined) signal(-pid, 'SIGKILL'); // the children of a killed wrangler
    exited.resolve(`ended with ${name ?? `code ${code}`}`);
  });
  child.on('close', () => file.end());
  void exited.promise.then((reason) => listening.reject(new Error(`${reason}\n${recentLines.join('\n')}`)));
  const ready = listening.promise.then(() => waitForHealth(`${url}/healthz`));
  ready.catch(() => undefined); // a caller that stops it early does not await this

  return {
    url,
    pid,
    ready,
    exited: exited.promise,
    fire: async (cron, time) => {
      const query = new URLSearchParams({ cron, time: String(time.getTime()) });
      const response = await fetch(`${url}/cdn-cgi/handler/scheduled?${query}`);
      const text = await response.text();
      if (!response.ok || text !== 'ok') throw new Error(`status ${response.status}, ${text.slice(0, 100)}`);
    },
    stop: async () => {
      if (pid === undefined) return;
      if (child.exitCode === null && child.signalCode === null) signal(pid, 'SIGINT');
      await isGoneWithin(pid, 5_000);
      signal(-pid, 'SIGKILL');
      await isGoneWithin(pid, 5_000);
    },
  };
}

async function waitForHealth(url: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const status = await fetch(url, { signal: AbortSignal.timeout(5_000) }).then(
      (response) => response.status,
      (error: Error) => error.message,
    );
    if (status === 200) return;
    if (attempt === 20) throw new Error(`GET ${url} did not return 200 within 20 attempts, last: ${status}`);
    await sleep(250);
  }
}

/** Quotes a value for wrangler's file of variables (read by dotenv and dotenv-expand). */
function quote(value: string): string {
  const mark = ["'", '`', '"'].find((candidate) => !value.includes(candidate));
  if (mark === undefined)
    throw new Error(
      'a variable of the Worker contains all three quotation marks (\' " `): remove one of them, since its file cannot hold it',
    );
  return mark + value.replaceAll('$', '\\$') + mark;
}
