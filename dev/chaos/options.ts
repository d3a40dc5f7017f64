import { parseArgs } from 'node:util';
import type { ChaosOptions } from './run.ts';

export const help = `npm run chaos -- [flags]

Runs the whole platform in a folder of its own, sells, and lets everything go wrong meanwhile: the database, the Worker,
queues, Kafka, Stripe, webhooks and crons. Then the faults stop, the crons come until nothing is open, and an audit reads
the databases, Kafka and the Stripe stand-in. Exit code 0: every promise holds; 1: one does not, or it could not be run;
130: stopped by Ctrl-C. docs/chaos.md says what goes wrong and what is held against it.

  --minutes   how long the load and the faults go on; 1 if not given, fractions are taken
  --seed      the plan of stories and faults; drawn if not given, and printed
  --people    how many clients there are at a time; 10 if not given
  --gap       the mean pause between two faults in milliseconds; 1000 if not given
  --peace     no faults at all: the same load, and the audit
  --keep      keeps the folder with the data and the logs, and says where it is
  --help

The same seed plans the same stories and the same faults at the same times. Requests and faults meet as the machine has
it, so a run is not the same twice: what a seed found, run it a few times to see again.`;

export class ChaosUsage extends Error {}

const flags = {
  minutes: { type: 'string' },
  seed: { type: 'string' },
  people: { type: 'string' },
  gap: { type: 'string' },
  peace: { type: 'boolean' },
  keep: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

function numberOf(flag: string, text: string | undefined, usual: number, least: number, most: number): number {
  if (text === undefined) return usual;
  const number = Number(text);
  if (text.trim() !== '' && number >= least && number <= most) return number;
  throw new ChaosUsage(`--${flag} ${text} is no number from ${least} to ${most}`);
}

/** The options of a command line; null: help was asked for. @throws ChaosUsage for what cannot be understood */
export function readOptions(args: string[], drawn = () => Math.floor(Math.random() * 1e6)): ChaosOptions | null {
  let values: ReturnType<typeof parseArgs<{ options: typeof flags }>>['values'];
  try {
    ({ values } = parseArgs({ args, options: flags }));
  } catch (error) {
    throw new ChaosUsage(`${(error as Error).message.split('. ')[0]}. "npm run chaos -- --help" shows the flags.`);
  }
  if (values.help) return null;
  const minutes = numberOf('minutes', values.minutes, 1, 0.05, 24 * 60);
  return {
    seed: Math.floor(numberOf('seed', values.seed, drawn(), 0, 2 ** 32)),
    loadMs: minutes * 60_000,
    people: Math.floor(numberOf('people', values.people, 10, 1, 200)),
    settleMs: 6 * 60_000 + minutes * 20_000,
    gapMs: values.peace ? null : numberOf('gap', values.gap, 1_000, 50, 600_000),
    ...(values.keep ? { keep: true } : {}),
  };
}
