import { parseArgs } from 'node:util';

export const noises = ['bad-rows', 'flood', 'invalid-keys', 'import', 'campaign', 'queue'] as const;
export type Noise = (typeof noises)[number];

export type IsolationOptions = {
  rounds: number;
  seconds: number;
  rate: number;
  flood: number;
  seed: number;
  /** Requests a second of one key. */
  limit: number;
  noises: Noise[];
  write: boolean;
};

export const help = `npm run isolation -- [flags]

Measures whether one tenant can delay another tenant's money. The platform starts as for the benchmarks. The tenant "calm"
makes sales at a constant rate: order, payment, webhook, refund. The tenant "noisy" does this in every noisy phase:

  bad-rows      rows that fail in the database in the jobs (holds, orders, payments, labels, voids), and events that
                Kafka refuses; the crons run every 10 s
  flood         requests with one of its keys, many more than the limit of a key
  invalid-keys  20 requests a second with invalid keys, from one address
  import        a catalog of 5,000 lines, imported again and again
  campaign      10 joins a second to one campaign
  queue         400 charges and 400 cancellations for which Stripe takes 2 s each

Each round has a quiet and a noisy phase, in an order that the seed decides. The result is the median of the p95s of all
quiet phases beside that of all noisy ones. At most 2.0 times is accepted; otherwise the exit code is 1.

The limit of an address is that of wrangler.toml. The limit of a key there is for a whole data center and a database of its
own size. Here it is one that three keys of the noisy tenant can use up while this machine still has CPU left: with none
left, everybody waits for everybody, and that is no question of tenants.

  --rounds 3         rounds
  --seconds 40       how long each phase lasts
  --rate 2           sales a second of the calm tenant, whatever the answers take
  --flood 20         requests a second of the flood
  --limit 4          requests a second that a key may make
  --noise a,b        only these kinds of noise
  --seed 1           of the order of the phases
  --write            puts the table into docs/performance.md
  --help`;

const flags = { rounds: 3, seconds: 40, rate: 2, flood: 20, limit: 4, seed: 1 };

function readNumber(flag: keyof typeof flags, text: string | undefined): number {
  const number = text === undefined ? flags[flag] : Number(text);
  if (!(number > 0 && number <= 1_000)) throw new Error(`--${flag} ${text} is not a number above 0 and up to 1000`);
  return number;
}

function readNoises(text: string | undefined): Noise[] {
  if (text === undefined) return [...noises];
  return text.split(',').map((name) => {
    const noise = noises.find((each) => each === name);
    if (noise === undefined) throw new Error(`--noise ${name} is unknown: use ${noises.join(', ')}`);
    return noise;
  });
}

/** The options of a command line; null if help was asked for. Throws for an unknown flag or value. */
export function readIsolationOptions(args: string[]): IsolationOptions | null {
  const value = { type: 'string' } as const;
  const { values } = parseArgs({
    args,
    options: {
      ...{ rounds: value, seconds: value, rate: value, flood: value, limit: value, seed: value, noise: value },
      write: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return null;
  return {
    rounds: Math.ceil(readNumber('rounds', values.rounds)),
    seconds: readNumber('seconds', values.seconds),
    rate: readNumber('rate', values.rate),
    flood: readNumber('flood', values.flood),
    limit: readNumber('limit', values.limit),
    seed: readNumber('seed', values.seed),
    noises: readNoises(values.noise),
    write: values.write ?? false,
  };
}
