import { parseArgs } from 'node:util';

export const help = `npm run bench:growth -- [flags]

Measures whether anything grows with what is already there: fills one database to 10,000 orders, measures, grows it to the
next size, measures again. Per case: p50 at the API (through the Worker), p50 of its SQL alone, and the 8 kB blocks that
one call touches. The smallest size is kept as a copy and measured once more beside the largest: only those two, made
within a minute of each other, give the ratio. The result goes to bench/results/growth-<date>.json, with plans.

  --sizes     orders, from small to large; 10000,100000,1000000,5000000 if not given
  --products  how many products at the most, 1000000 if not given; never more than orders
  --dir       a folder for the temporary data (about 5 GB for a million orders), removed at the end; the system's if not given
  --calls     how many calls of each case, 80 if not given
  --only      cases whose name contains this
  --docs      puts the table into docs/performance.md
  --help

5,000,000 orders take 25 minutes or so on two cores. Exit code 0: it was measured, whatever the ratios; 1: it could not
be; 130: stopped by Ctrl-C.`;

export type GrowthOptions = {
  sizes: number[];
  products: number;
  dir: string | undefined;
  calls: number;
  only: string;
  docs: boolean;
};

/**
 * The options of a command line. Null: help was asked for.
 * @throws Error for what cannot be understood
 */
export function readOptions(args: string[]): GrowthOptions | null {
  const { values } = parseArgs({
    args,
    options: {
      sizes: { type: 'string' },
      products: { type: 'string' },
      dir: { type: 'string' },
      calls: { type: 'string' },
      only: { type: 'string' },
      docs: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return null;
  const sizes = (values.sizes ?? '10000,100000,1000000,5000000').split(',').map((text) => readCount('sizes', text));
  if (sizes.some((size, i) => size <= (sizes[i - 1] ?? 0))) throw new Error(`--sizes ${values.sizes} do not grow`);
  return {
    sizes,
    products: readCount('products', values.products ?? '1000000'),
    dir: values.dir,
    calls: readCount('calls', values.calls ?? '80', 5),
    only: values.only ?? '',
    docs: values.docs ?? false,
  };
}

function readCount(flag: string, text: string, least = 5_000): number {
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (count >= least && count <= 100_000_000) return count;
  throw new Error(`--${flag} ${text}: a count from ${least} to 100000000 is needed`);
}
