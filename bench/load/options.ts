import { parseOptions } from '../../dev/support/options.ts';

export type BenchOptions = {
  /** Names of cases. Empty: all cases. */
  cases: string[];
  rounds: number;
  seconds: number;
  clients: number;
  /** A file of the Online Retail data set, for the case `replay`. */
  file: string | undefined;
  /** Whether to write the results and the chart. */
  save: boolean;
  /** Whether to write the tables of docs/performance.md. */
  docs: boolean;
};

export const help = (cases: readonly { name: string; title: string }[]): string => `npm run bench -- [flags]

Measures the API and the limits of the machine that it runs on: the production bundle under workerd, PostgreSQL with its
usual durability, and the load generator on the same machine. Cases and limits take turns in every round. Results are
written to bench/results/<time>.json, the chart to bench/results/bench.svg. docs/performance.md explains each figure.

  --cases a,b    run only these cases, and the cases that they are compared with
  --rounds 3     number of measurements of each case; the table shows medians
  --seconds 5    duration of each measurement
  --clients 16   concurrent clients
  --file f.csv   orders of the Online Retail data set (.csv or .csv.gz) for the case "replay", which is skipped without it
  --no-save      write neither results nor chart
  --docs         also write the tables of docs/performance.md
  --help

Cases
${cases.map(({ name, title }) => `  ${name.padEnd(16)} ${title}`).join('\n')}`;

const flags = {
  cases: { type: 'string' },
  rounds: { type: 'string' },
  seconds: { type: 'string' },
  clients: { type: 'string' },
  file: { type: 'string' },
  'no-save': { type: 'boolean' },
  docs: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

function readNumber(flag: string, text: string | undefined, defaultValue: number, max: number): number {
  if (text === undefined) return defaultValue;
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > max) {
    throw new Error(`--${flag} ${text} is not a whole number from 1 to ${max}`);
  }
  return number;
}

/** Parses the command line. Null for --help. Throws for an unknown flag, case or value. */
export function readBenchOptions(args: string[], names: readonly string[]): BenchOptions | null {
  const { values } = parseOptions('npm run bench', { args, options: flags });
  if (values.help) return null;
  const cases = (values.cases ?? '').split(',').filter((name) => name !== '');
  const unknown = cases.filter((name) => !names.includes(name));
  if (unknown.length > 0)
    throw new Error(`--cases: unknown case ${unknown.join(', ')}; the cases are ${names.join(', ')}`);
  if (values.docs && (values['no-save'] || cases.length > 0))
    throw new Error('--docs needs the results of all cases: leave out --no-save and --cases');
  return {
    cases,
    rounds: readNumber('rounds', values.rounds, 3, 100),
    seconds: readNumber('seconds', values.seconds, 5, 600),
    clients: readNumber('clients', values.clients, 16, 256),
    file: values.file,
    save: !values['no-save'],
    docs: values.docs === true,
  };
}
