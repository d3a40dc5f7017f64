import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** The user that a child process runs as. Empty: the current user. */
export type Identity = { uid?: number; gid?: number };

/** Runs a command and resolves with its exit code and all its output. Never rejects. */
export function run(
  command: string,
  args: string[],
  options: { identity?: Identity; env?: NodeJS.ProcessEnv } = {},
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // a Ctrl-C goes to the terminal's whole process group; the caller decides how to handle it
      ...(options.env === undefined ? {} : { env: options.env }),
      ...options.identity,
    });
    let output = '';
    const collect = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.on('error', (error) => resolve({ code: null, output: error.message }));
    child.on('close', (code) => resolve({ code, output }));
  });
}

/** The parent and command line of a process, or null if it does not run (a zombie does not). */
export async function describeProcess(pid: number): Promise<{ parent: number; command: string } | null> {
  if (!Number.isInteger(pid) || pid <= 1) return null;
  if (process.platform !== 'linux') {
    const { code, output } = await run('ps', ['-o', 'ppid=,command=', '-p', String(pid)]);
    const match = /^\s*(\d+)\s+(.*)$/m.exec(output);
    return code === 0 && match ? { parent: Number(match[1]), command: match[2] ?? '' } : null;
  }
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may contain spaces and parentheses.
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') return null;
    const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
    return { parent: Number(parent), command };
  } catch {
    return null;
  }
}

/** Sends a signal to a process, or to a process group if `pid` is negative. It is no error if it has exited. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    // macOS returns EPERM for a group whose members have all exited.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ESRCH' && !(code === 'EPERM' && pid < 0)) throw error;
  }
}

/** Waits until a process has exited. Resolves with false if it still runs after this time. */
export async function isGoneWithin(pid: number, milliseconds: number): Promise<boolean> {
  for (const end = Date.now() + milliseconds; ; await sleep(20)) {
    if ((await describeProcess(pid)) === null) return true;
    if (Date.now() > end) return false;
  }
}

/** Finds a TCP port of 127.0.0.1 that is free now. */
export function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/**
 * Sends SIGINT to a process (a process group if `pid` is negative) when this process dies, even by SIGKILL: a shell
 * reads from a pipe that the kernel closes at that moment. The returned function cancels this.
 */
export function interruptWhenWeDie(pid: number, identity: Identity): () => void {
  const watchdog: ChildProcess = spawn('/bin/sh', ['-c', 'read _; kill -s INT -- "$1"', 'watchdog', String(pid)], {
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    ...identity,
  });
  watchdog.on('error', () => undefined);
  watchdog.unref();
  (watchdog.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  return () => {
    watchdog.kill('SIGKILL');
  };
}
