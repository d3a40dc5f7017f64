import { resolve } from 'node:path';
import { parseOptions } from '../../dev/support/options.ts';
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

Measures whole checkouts (an order of one line, its payment, its confirmation) of this API, of Vendure and of Medusa. They
take turns on the same PostgreSQL with its usual durability. Then 500 buyers compete for 100 units in each shop. The first
run installs the peers from npm (about 900 MB, one to three minutes). Results are written to
bench/results/peers-<date>.json. docs/performance.md explains each figure.

  --dir <folder>   where the peers are installed. Default: fusioncommerce-peers in XDG_CACHE_HOME or ~/.cache
  --rounds 3       number of measurements of each shop; the table shows medians and the spread
  --clients 16     concurrent buyers
  --seconds 15     minimum duration of a round; each buyer makes at least four checkouts
  --buyers 500     buyers in the race for 100 units; 0 skips the race
  --only <name>    vendure or medusa: compare with this peer only; ours: measure no peer
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

function readNumber(flag: string, text: string | undefined, defaultValue: number, range: [number, number]): number {
  if (text === undefined) return defaultValue;
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= range[0] && number <= range[1]) return number;
  throw new Error(`--${flag} ${text} is not a whole number from ${range[0]} to ${range[1]}`);
}

/** Parses the command line. Null for --help. @throws Error for an unknown flag or an invalid value */
export function readPeersOptions(args: string[], environment: Record<string, string | undefined>): PeersOptions | null {
  const { values } = parseOptions('npm run bench:peers', { args, options: flags });
  if (values.help) return null;
  const only = (['ours', ...peerNames] as const).find((name) => name === values.only);
  if (values.only !== undefined && only === undefined) {
    throw new Error(`--only ${values.only} is unknown: use ours, ${peerNames.join(' or ')}`);
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

/** The peers that are measured besides our shop. */
export const peersOf = ({ only }: Pick<PeersOptions, 'only'>): PeerName[] =>
  peerNames.filter((name) => only === undefined || only === name);
