import { parseOptions } from '../../dev/support/options.ts';

export type Sampler = 'perf' | 'inspector';

export type ProfileOptions = {
  /** The name of the benchmark's case. */
  name: string;
  seconds: number;
  clients: number;
  /** Undefined: perf if this machine has it. */
  sampler: Sampler | undefined;
  /** The file to write. */
  out: string;
};

export const help = (cases: readonly { name: string; title: string }[]): string => `npm run profile -- <case> [flags]

Shows where the Worker's CPU time goes. Starts the store as "npm run bench" does, but with a bundle that keeps the names of
functions, puts the load of a case on it, and writes a CPU profile. Open the file in Chrome: DevTools, Performance, Load
profile. A table on the screen shows the CPU time by file. docs/performance.md explains how to read both.

  --seconds 5         duration of the load, after a warm-up
  --clients 16        concurrent clients
  --sampler perf      perf samples the whole process, with native code and garbage collection (Linux). "inspector" asks V8
                      instead: it works everywhere but charges JavaScript with more CPU than it uses. Default: perf, or
                      inspector if perf is missing
  --out <file>        default: <case>.cpuprofile
  --help

Cases
${cases.map(({ name, title }) => `  ${name.padEnd(16)} ${title}`).join('\n')}`;

const flags = {
  seconds: { type: 'string' },
  clients: { type: 'string' },
  sampler: { type: 'string' },
  out: { type: 'string' },
  help: { type: 'boolean' },
} as const;

function readNumber(flag: string, text: string | undefined, defaultValue: number, max: number): number {
  const number = text === undefined ? defaultValue : Number(text);
  if (Number.isInteger(number) && number >= 1 && number <= max) return number;
  throw new Error(`--${flag} ${text} is not a whole number from 1 to ${max}`);
}

/** Parses the command line. Null for --help. Throws for an unknown flag, case or value. */
export function readProfileOptions(args: string[], names: readonly string[]): ProfileOptions | null {
  const { values, positionals } = parseOptions('npm run profile', { args, options: flags, allowPositionals: true });
  if (values.help) return null;
  const [name, ...more] = positionals;
  const hint = `The cases are ${names.join(', ')}.`;
  if (name === undefined) throw new Error(`name a case: npm run profile -- order. ${hint}`);
  if (more.length > 0) throw new Error(`name one case, not ${positionals.join(', ')}`);
  if (!names.includes(name)) throw new Error(`unknown case ${name}. ${hint}`);
  const { sampler } = values;
  if (sampler !== undefined && sampler !== 'perf' && sampler !== 'inspector')
    throw new Error(`--sampler ${sampler} is neither perf nor inspector`);
  return {
    name,
    seconds: readNumber('seconds', values.seconds, 5, 600),
    clients: readNumber('clients', values.clients, 16, 256),
    sampler,
    out: values.out ?? `${name}.cpuprofile`,
  };
}
