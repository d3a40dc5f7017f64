import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { interruptWhenWeDie, isGoneWithin, signal } from '../../dev/support/process.ts';
import { readProcesses, sumTree } from '../fixture/cpu.ts';

export type ProgramOptions = { cwd: string; env?: Record<string, string> };

export type Program = {
  pid: number;
  /** Its last lines, both streams. */
  said: () => string;
  /** Resolves with its exit code; null: a signal ended it. */
  exited: Promise<number | null>;
  /** CPU of it and all its descendants since their start, in ms. */
  cpu: () => Promise<number>;
  /** Ends it and all its descendants. */
  stop: () => Promise<void>;
};

/** What npm says of itself to the scripts that it runs would mislead an npm that installs elsewhere. */
function environment(): NodeJS.ProcessEnv {
  const kept = /^npm_config_(registry|cache|userconfig|.*proxy|.*cafile)$/i;
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) || kept.test(name)),
  ) as NodeJS.ProcessEnv;
}

/** Starts a program of the peers in a process group of its own, which ends when we do, however we end. */
export function startProgram(command: string, args: string[], options: ProgramOptions): Program {
  const child: ChildProcess = spawn(command, args, {
    cwd: options.cwd,
    env: { ...environment(), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${command} could not be started`);
  const callOff = interruptWhenWeDie(-pid, {});
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-4_000);
    });
  }
  const exited = new Promise<number | null>((resolve) => {
    child.on('error', () => resolve(null));
    child.on('exit', (code) => {
      callOff();
      resolve(code);
    });
  });
  return {
    pid,
    said: () => said.trim(),
    exited,
    cpu: async () => sumTree(await readProcesses(), pid),
    async stop() {
      signal(-pid, 'SIGTERM');
      if (!(await isGoneWithin(pid, 3_000))) signal(-pid, 'SIGKILL');
      await isGoneWithin(pid, 3_000);
      signal(-pid, 'SIGKILL'); // what it has left behind
    },
  };
}

/** Runs a program to its end. @throws Error with what it said last, if it does not end well */
export async function runProgram(
  command: string,
  args: string[],
  options: ProgramOptions & { started?: (program: Program) => void },
): Promise<void> {
  const program = startProgram(command, args, options);
  options.started?.(program);
  const code = await program.exited;
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code ?? 'a signal'}:\n${program.said()}`);
}

/** Waits until a server answers as it should. @throws Error with what it said, if it ends or takes longer than 3 minutes */
export async function waitUntilReady(program: Program, ready: () => Promise<boolean>): Promise<void> {
  let ended: string | undefined;
  void program.exited.then((code) => {
    ended = `it ended with ${code ?? 'a signal'}`;
  });
  for (const end = Date.now() + 180_000; ; await sleep(100)) {
    if (await ready().catch(() => false)) return;
    if (Date.now() > end) ended = 'it did not answer for 3 minutes';
    if (ended !== undefined) throw new Error(`${ended}:\n${program.said()}`);
  }
}
