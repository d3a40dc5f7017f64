import { parseOptions } from '../../dev/support/options.ts';

export const help = `npm run bench:growth -- [flags]

Measures whether operations become slower as the database grows. It fills one database to 10,000 orders, measures, grows
it to the next size, and measures again. For each case: p50 through the API, p50 of its SQL, and the number of 8 kB blocks
that one call touches. A copy of the smallest database is measured again at the same time as the largest one. The ratio
compares these two. Results and query plans are written to bench/results/growth-<date>.json.

  --sizes     numbers of orders, ascending. Default: 10000,100000,1000000,5000000
  --products  the most products; there are never more products than orders. Default: 1000000
  --dir       folder for the temporary data (about 6 GB per million orders, and 10 GB while it is filled), removed at
              the end. Default: the system's
  --calls     calls of each case. Default: 80
  --only      run only cases whose name contains this text
  --docs      write the table into docs/performance.md
  --help

5,000,000 orders take about 25 minutes on two cores. Exit codes: 0 measured, whatever the ratios; 1 failed; 130 stopped by
Ctrl-C.`;

export type GrowthOptions = {
  sizes: number[];
  products: number;
  dir: string | undefined;
  calls: number;
  only: string;
  docs: boolean;
};

/**
 * Parses the command line. Null for --help.
 * @throws Error for an unknown flag or an invalid value
 */
export function readOptions(args: string[]): GrowthOptions | null {
  const { values } = parseOptions('npm run bench:growth', {
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
  if (sizes.some((size, i) => size <= (sizes[i - 1] ?? 0)))
    throw new Error(`--sizes ${values.sizes}: each size must be larger than the one before`);
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
  throw new Error(`--${flag} ${text} is not a whole number from ${least} to 100000000`);
}
