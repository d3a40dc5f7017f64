import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { interruptWhenWeDie, isGoneWithin, signal } from '../../dev/support/process.ts';
import { readProcesses, sumTree } from '../fixture/cpu.ts';

export type ProgramOptions = { cwd: string; env?: Record<string, string> };

export type Program = {
  pid: number;
  /** The last lines that it printed, from both streams. */
  lastOutput: () => string;
  /** Resolves with the exit code. Null: a signal ended it. */
  exited: Promise<number | null>;
  /** CPU time of the process and all its descendants since their start, in ms. */
  cpu: () => Promise<number>;
  /** Ends the process and all its descendants. */
  stop: () => Promise<void>;
};

/**
 * Our environment without most variables that npm sets for its scripts. They would misdirect an npm in another folder.
 */
function environment(): NodeJS.ProcessEnv {
  const kept = /^npm_config_(registry|cache|userconfig|.*proxy|.*cafile)$/i;
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) || kept.test(name)),
  ) as NodeJS.ProcessEnv;
}

/** Starts a program of a peer in its own process group. The group ends when this process ends, even by SIGKILL. */
export function startProgram(command: string, args: string[], options: ProgramOptions): Program {
  const child: ChildProcess = spawn(command, args, {
    cwd: options.cwd,
    env: { ...environment(), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${command} could not be started`);
  const cancelInterrupt = interruptWhenWeDie(-pid, {});
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4_000);
    });
  }
  const exited = new Promise<number | null>((resolve) => {
    child.on('error', () => resolve(null));
    child.on('exit', (code) => {
      cancelInterrupt();
      resolve(code);
    });
  });
  return {
    pid,
    lastOutput: () => output.trim(),
    exited,
    cpu: async () => sumTree(await readProcesses(), pid),
    async stop() {
      signal(-pid, 'SIGTERM');
      if (!(await isGoneWithin(pid, 3_000))) signal(-pid, 'SIGKILL');
      await isGoneWithin(pid, 3_000);
      signal(-pid, 'SIGKILL'); // descendants that are still running
    },
  };
}

/** Runs a program to its end. @throws Error with its last output if its exit code is not 0 */
export async function runProgram(
  command: string,
  args: string[],
  options: ProgramOptions & { started?: (program: Program) => void },
): Promise<void> {
  const program = startProgram(command, args, options);
  options.started?.(program);
  const code = await program.exited;
  if (code !== 0)
    throw new Error(
      `${command} ${args.join(' ')} ended with ${code === null ? 'a signal' : `code ${code}`}:\n${program.lastOutput()}`,
    );
}

/**
 * Waits until `ready` resolves with true.
 * @throws Error with the server's last output if it ends or takes over 3 minutes
 */
export async function waitUntilReady(program: Program, ready: () => Promise<boolean>): Promise<void> {
  let failure: string | undefined;
  void program.exited.then((code) => {
    failure = `the server ended with ${code === null ? 'a signal' : `code ${code}`}`;
  });
  for (const end = Date.now() + 180_000; ; await sleep(100)) {
    if (await ready().catch(() => false)) return;
    if (Date.now() > end) failure = 'the server was not ready after 3 minutes';
    if (failure !== undefined) throw new Error(`${failure}:\n${program.lastOutput()}`);
  }
}
