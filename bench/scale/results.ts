import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { OrderUsage } from '../peers/costs.ts';
import type { LoadCase, Measured } from './model.ts';

const folder = join(import.meta.dirname, '..', 'results');

/** Reads the newest results of `npm run bench` and `npm run bench:peers`, and the names of their files. */
export async function readNewestResults(): Promise<Measured & { files: string[] }> {
  const names = (await readdir(folder)).sort();
  const newest = (pattern: RegExp): string => {
    const name = names.findLast((each) => pattern.test(each));
    if (name === undefined) throw new Error(`bench/results has no file like ${pattern.source}`);
    return name;
  };
  const read = async <T>(name: string): Promise<T> => JSON.parse(await readFile(join(folder, name), 'utf8'));
  const [load, peers] = [newest(/^\d{4}-\d\d-\d\dT\d{4}\.json$/), newest(/^peers-.*\.json$/)];
  const { results } = await read<{ results: LoadCase[] }>(load);
  const { alone } = await read<{ alone: OrderUsage }>(peers);
  return { cases: results, order: alone, files: [load, peers] };
}
