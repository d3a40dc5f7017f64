import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { defaultFolder, type PeerName } from './install.ts';

export type PeersOptions = {
  dir: string;
  rounds: number;
  clients: number;
  seconds: number;
  buyers: number;
  only: 'ours' | PeerName | undefined;
  save: boolean;
};

const peerNames = ['vendure', 'medusa'] as const satisfies PeerName[];

export const help = `npm run bench:peers -- [flags]

Measures whole checkouts (an order of one line, its payment, its confirmation) of this API, of Vendure and of Medusa, in
turns, on the same PostgreSQL with its usual durability; and 500 buyers who want 100 units. The first run installs the
peers from npm (about 900 MB, one to three minutes). Results: bench/results/peers-<date>.json. What each figure means:
docs/performance.md, "Beside Vendure and Medusa".

  --dir <folder>   where the peers are installed: fusioncommerce-peers in XDG_CACHE_HOME or ~/.cache if not given
  --rounds 3       how often each is measured; the table shows medians and the spread
  --clients 16     buyers at once
  --seconds 15     how long a round lasts at least; each buyer makes at least four checkouts
  --buyers 500     of the race for 100 units; 0 leaves it out
  --only <name>    vendure or medusa beside ours, or ours alone
  --no-save        do not write results
  --help`;

const flags = {
  dir: { type: 'string' },
  rounds: { type: 'string' },
  clients: { type: 'string' },
  seconds: { type: 'string' },
  buyers: { type: 'string' },
  only: { type: 'string' },
  'no-save': { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

function readNumber(flag: string, text: string | undefined, usual: number, range: [number, number]): number {
  if (text === undefined) return usual;
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= range[0] && number <= range[1]) return number;
  throw new Error(`--${flag} ${text} is no number from ${range[0]} to ${range[1]}`);
}

/** The options of a command line; null: help was asked for. @throws Error for what cannot be understood */
export function readPeersOptions(args: string[], environment: Record<string, string | undefined>): PeersOptions | null {
  const { values } = parseArgs({ args, options: flags });
  if (values.help) return null;
  const only = (['ours', ...peerNames] as const).find((name) => name === values.only);
  if (values.only !== undefined && only === undefined) {
    throw new Error(`--only ${values.only}: there are ours, ${peerNames.join(' and ')}`);
  }
  return {
    dir: resolve(values.dir ?? defaultFolder(environment)),
    rounds: readNumber('rounds', values.rounds, 3, [1, 100]),
    clients: readNumber('clients', values.clients, 16, [1, 512]),
    seconds: readNumber('seconds', values.seconds, 15, [1, 3600]),
    buyers: readNumber('buyers', values.buyers, 500, [0, 100_000]),
    only,
    save: !values['no-save'],
  };
}

/** Which peers are measured beside ours. */
export const peersOf = ({ only }: Pick<PeersOptions, 'only'>): PeerName[] =>
  peerNames.filter((name) => only === undefined || only === name);
