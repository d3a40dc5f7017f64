import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** A request that an example made with curl. */
type Call = { example: string; status: number; method: string; path: string };

export type Pasted = { calls: Call[]; printed: string; outputs: Map<string, string> };

/**
 * Pastes examples into one shell, in order, in the folder `dir`. Resolves with the calls to the API at `api` and with the
 * output of each example.
 */
export async function paste(examples: [name: string, script: string][], dir: string, api: string): Promise<Pasted> {
  const wrapper = `curl() { command curl -w '%{stderr}\\nCALL %{http_code} %{method} %{url}\\n' "$@"; }\n`;
  const mark = (name: string): string => `printf '\\nEXAMPLE %s\\n' ${name}`;
  const script = examples.map(([name, lines]) => `${mark(name)}; ${mark(name)} >&2\n${lines}\n`).join('');
  const shell = spawn('/bin/sh', ['-c', wrapper + script], {
    cwd: dir,
    env: { PATH: process.env.PATH, HOME: dir } as unknown as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  let logged = '';
  shell.stdout.on('data', (chunk: Buffer) => (printed += chunk));
  shell.stderr.on('data', (chunk: Buffer) => (logged += chunk));
  // An example that waits for something that never comes is ended, and then fails by its calls.
  const patience = setTimeout(() => shell.kill('SIGKILL'), 150_000);
  await once(shell, 'close');
  clearTimeout(patience);
  const calls: Call[] = [];
  let example = '';
  for (const line of logged.split('\n')) {
    example = /^EXAMPLE (.*)/.exec(line)?.[1] ?? example;
    const [, status, method = '', url = ''] = /^CALL (\d+) (\w+) (\S+)$/.exec(line) ?? [];
    if (status !== undefined) calls.push({ example, status: Number(status), method, path: url.replace(api, '') });
  }
  const outputs = printed.split(/^EXAMPLE (.*)\n/m).slice(1);
  const byName = outputs.flatMap((name, at) => (at % 2 === 0 ? [[name, outputs[at + 1] ?? ''] as const] : []));
  return { calls, printed: printed + logged, outputs: new Map(byName) };
}
