import { execFile, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Fixture } from '../fixture/fixture.ts';
import { type CpuProfile, samplesOf } from './cpuprofile.ts';
import { type Locate, parsePerfScript, type Sample, storeModule } from './stacks.ts';

const run = promisify(execFile);

/** Measures the Worker. `start` begins, and the function that it returns ends and resolves with the samples. */
export type StartSampling = (fixture: Fixture, locate: Locate) => Promise<() => Promise<Sample[]>>;

/** Samples per second. An odd number, so that they do not keep step with timers. */
const perSecond = 1_999;

/** These flags let perf name V8's JavaScript functions, interpreted ones too. */
export const perfFlags = ['--perf-basic-prof', '--interpreted-frames-native-stack'];

/** Why perf cannot be used here. Undefined if it can. */
export async function whyNoPerf(): Promise<string | undefined> {
  try {
    await run('perf', ['record', '-e', 'cpu-clock', '-o', '/dev/null', '--', 'true']);
    return undefined;
  } catch (error) {
    const { code, stderr = '' } = error as { code?: unknown; stderr?: string };
    if (code === 'ENOENT') return 'perf is not installed (Debian: apt-get install linux-perf)';
    return `perf does not work here: ${stderr.trim().split('\n')[0] || String(error)}`;
  }
}

/** Lets perf sample workerd's process. */
export const startPerf: StartSampling = async (fixture, locate) => {
  const pid = await fixture.workerPid();
  // V8 writes the names of its functions to this file, where perf looks for them.
  const removeNames = (): void => rmSync(`/tmp/perf-${pid}.map`, { force: true });
  process.once('exit', removeNames);
  const file = join(fixture.dir, 'perf.data');
  const args = ['record', '-e', 'cpu-clock', '-F', String(perSecond), '-g', '-p', String(pid), '-o', file];
  const child = spawn('perf', args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  const stop = (): void => void child.kill('SIGINT');
  process.once('exit', stop);
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return async () => {
    stop();
    await ended;
    const script = ['script', '-i', file, '-F', 'period,ip,sym,dso'];
    const { stdout } = await run('perf', script, { maxBuffer: 2 ** 30 }).catch((error: Error) => {
      throw new Error(`perf recorded nothing: ${output.trim() || error.message}`);
    });
    process.off('exit', stop);
    process.off('exit', removeNames);
    removeNames();
    return parsePerfScript(stdout, locate);
  };
};

/** Lets V8 sample the store's isolate, by the inspector of workerd. */
export const startInspector: StartSampling = async (fixture, locate) => {
  const targets = (await (await fetch(`${fixture.inspectorUrl}/json`)).json()) as {
    id: string;
    webSocketDebuggerUrl: string;
  }[];
  const target = targets.find(({ id }) => id.split(':').includes('store') || id === 'store') ?? targets[0];
  if (!target) throw new Error('the inspector of workerd shows no Worker');
  const socket = new WebSocket(target.webSocketDebuggerUrl);
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve(), { once: true });
    socket.addEventListener('error', () => reject(new Error('the inspector of workerd refused the connection')), {
      once: true,
    });
  });
  let lastId = 0;
  const send = <T>(method: string, params: object = {}): Promise<T> =>
    new Promise((resolve, reject) => {
      const id = ++lastId;
      const receive = ({ data }: MessageEvent): void => {
        const message = JSON.parse(String(data)) as { id?: number; result?: T; error?: { message: string } };
        if (message.id !== id) return;
        socket.removeEventListener('message', receive);
        if (message.error) reject(new Error(`${method}: ${message.error.message}`));
        else resolve(message.result as T);
      };
      socket.addEventListener('message', receive);
      socket.send(JSON.stringify({ id, method, params }));
    });
  await send('Profiler.enable');
  await send('Profiler.setSamplingInterval', { interval: Math.round(1_000_000 / perSecond) });
  await send('Profiler.start');
  return async () => {
    const { profile } = await send<{ profile: CpuProfile }>('Profiler.stop');
    socket.close();
    const samples = samplesOf(profile, ({ functionName, url, lineNumber, columnNumber }) => {
      const found = url.endsWith(storeModule) ? locate(lineNumber + 1, columnNumber + 1) : undefined;
      const name = functionName || '(anonymous)';
      return url === ''
        ? { name, file: 'V8' }
        : { name, file: found?.file ?? url, line: found?.line ?? lineNumber + 1 };
    });
    return samples.filter(({ frames }) => frames.at(-1)?.name !== '(idle)');
  };
};
