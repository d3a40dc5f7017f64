import { parseArgs } from 'node:util';

export type BenchOptions = {
  /** Names of cases; all if empty. */
  cases: string[];
  rounds: number;
  seconds: number;
  clients: number;
  /** Of the Online Retail data set, for the case `replay`. */
  file: string | undefined;
  /** Whether results and chart are written. */
  save: boolean;
};

export const help = (cases: readonly { name: string; title: string }[]): string => `npm run bench -- [flags]

Measures the API against the limits of the machine that it runs on: the production bundle under workerd, PostgreSQL with
its usual durability, the load generator beside them. Cases and limits take turns in every round. The results are in
bench/results/<time>.json, the chart in bench/results/bench.svg. docs/performance.md says what each figure means.

  --cases a,b    only these, with the limits that they are compared to
  --rounds 3     how often each case is measured; the table shows medians
  --seconds 5    how long each time
  --clients 16   requests at once
  --file f.csv   rows of Online Retail (.csv or .csv.gz), for the case "replay"; left out without
  --no-save      write neither results nor chart
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
  help: { type: 'boolean' },
} as const;

function readNumber(flag: string, text: string | undefined, usual: number, most: number): number {
  if (text === undefined) return usual;
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > most) {
    throw new Error(`--${flag} ${text} is no number from 1 to ${most}`);
  }
  return number;
}

/** The options of a command line; null: help was asked for. Throws for what cannot be understood. */
export function readBenchOptions(args: string[], names: readonly string[]): BenchOptions | null {
  const { values } = parseArgs({ args, options: flags });
  if (values.help) return null;
  const cases = (values.cases ?? '').split(',').filter((name) => name !== '');
  const unknown = cases.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`there is no case ${unknown.join(', ')}; there are: ${names.join(', ')}`);
  return {
    cases,
    rounds: readNumber('rounds', values.rounds, 3, 100),
    seconds: readNumber('seconds', values.seconds, 5, 600),
    clients: readNumber('clients', values.clients, 16, 256),
    file: values.file,
    save: !values['no-save'],
  };
}
