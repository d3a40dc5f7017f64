import { cases } from './cases.ts';
import { type Bar, drawChart } from './chart.ts';
import type { Machine } from './machine.ts';
import type { CaseResult } from './targets.ts';

const reads = ['limit-static', 'limit-select', 'product-hit', 'product-miss', 'product-page'];
const others = ['checkout', 'relay', 'replay'];

/** The chart that the README shows: rates a second, beside the limits of the same run. */
export function chartOf(results: readonly CaseResult[], machine: Machine, at: string): string {
  const limits = new Set(cases.filter(({ isLimit }) => isLimit).map(({ name }) => name));
  const bars = (belongs: (name: string) => boolean): Bar[] =>
    results
      .filter(({ name }) => belongs(name))
      .map(({ name, title, rate, lowest, highest }) => ({
        ...{ label: title, value: rate, lowest, highest, isLimit: limits.has(name) },
      }));
  const subtitle = `${machine.cores} cores, ${machine.cpu}, PostgreSQL ${machine.postgres}, durable; load generator on the same machine; ${at.slice(0, 10)}`;
  return drawChart('FusionCommerce: requests a second, and the limits of the machine (grey)', subtitle, [
    { title: 'Reads a second', bars: bars((name) => reads.includes(name)) },
    { title: 'Writes a second', bars: bars((name) => !reads.includes(name) && !others.includes(name)) },
    { title: 'Whole checkouts a second', bars: bars((name) => name === 'checkout') },
    { title: 'Events to Kafka a second', bars: bars((name) => name === 'relay') },
    { title: 'Orders of a real file a second', bars: bars((name) => name === 'replay') },
  ]);
}
