import { parseOptions, UsageError } from '../support/options.ts';
import type { ChaosOptions } from './run.ts';

export const help = `npm run chaos -- [flags]

Runs the whole platform in a temporary folder under load, and injects faults into the database, the Worker, queues, Kafka,
Stripe, webhooks and crons. Then the faults stop, and the crons run until no work is open. Finally an audit checks the
platform's promises against the database, Kafka and the Stripe emulator. docs/chaos.md lists all faults and promises.

Exit code 0: every promise holds; 1: a promise is broken, or the run failed; 130: stopped by Ctrl-C.

  --minutes   duration of load and faults in minutes, fractions allowed; default: 1
  --seed      seed of the stories and faults; default: random, and printed
  --people    number of concurrent clients; default: 10
  --gap       mean pause between two faults in milliseconds; default: 1000
  --peace     inject no faults
  --keep      keep the folder with data and logs, and print its path
  --help      print this text

The same seed plans the same stories and the same faults at the same times. The timing of requests depends on the
machine, so two runs of a seed differ. To see a finding again, run its seed several times.`;

const flags = {
  minutes: { type: 'string' },
  seed: { type: 'string' },
  people: { type: 'string' },
  gap: { type: 'string' },
  peace: { type: 'boolean' },
  keep: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

function readNumber(flag: string, text: string | undefined, defaultValue: number, min: number, max: number): number {
  if (text === undefined) return defaultValue;
  const number = Number(text);
  if (text.trim() !== '' && number >= min && number <= max) return number;
  throw new UsageError(`--${flag} must be a number from ${min} to ${max}, not "${text}"`);
}

/** Reads the command line. Null: `--help` was given. Throws UsageError if a flag is unknown or invalid. */
export function readOptions(args: string[], randomSeed = () => Math.floor(Math.random() * 1e6)): ChaosOptions | null {
  const { values } = parseOptions('npm run chaos', { args, options: flags });
  if (values.help) return null;
  const minutes = readNumber('minutes', values.minutes, 1, 0.05, 24 * 60);
  return {
    seed: Math.floor(readNumber('seed', values.seed, randomSeed(), 0, 2 ** 32)),
    loadMs: minutes * 60_000,
    people: Math.floor(readNumber('people', values.people, 10, 1, 200)),
    settleMs: 6 * 60_000 + minutes * 20_000,
    gapMs: values.peace ? null : readNumber('gap', values.gap, 1_000, 50, 600_000),
    ...(values.keep ? { keep: true } : {}),
  };
}
