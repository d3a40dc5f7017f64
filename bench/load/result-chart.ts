import { cases } from './cases.ts';
import { type Bar, drawChart } from './chart.ts';
import type { Machine } from './machine.ts';
import type { CaseResult } from './targets.ts';

const reads = ['limit-static', 'limit-cache', 'limit-select', 'product-hit', 'product-miss', 'product-page'];
const separate = ['checkout', 'relay', 'replay', 'decide'];
/** `limit-order-paced` runs at the rate of another case, and the rate of a rejection says little. */
const isLeftOut = (name: string): boolean => name === 'limit-order-paced' || name.startsWith('refused-');

/** The chart in the README: requests per second, and the limits measured in the same run. */
export function chartOf(results: readonly CaseResult[], machine: Machine, at: string): string {
  const limits = new Set(cases.filter(({ isLimit }) => isLimit).map(({ name }) => name));
  const bars = (isShown: (name: string) => boolean): Bar[] =>
    results
      .filter(({ name }) => isShown(name) && !isLeftOut(name))
      .map(({ name, title, rate, lowest, highest }) => ({
        ...{ label: title, value: rate, lowest, highest, isLimit: limits.has(name) },
      }));
  const subtitle = `${machine.cores} cores, ${machine.cpu}, PostgreSQL ${machine.postgres}, durable; load generator on the same machine; ${at.slice(0, 10)}`;
  return drawChart('FusionCommerce: requests per second, and the limits of the machine (grey)', subtitle, [
    { title: 'Reads per second', bars: bars((name) => reads.includes(name)) },
    { title: 'Writes per second', bars: bars((name) => !reads.includes(name) && !separate.includes(name)) },
    { title: 'Decided holds per second', bars: bars((name) => name === 'decide') },
    { title: 'Whole checkouts per second', bars: bars((name) => name === 'checkout') },
    { title: 'Events to Kafka per second', bars: bars((name) => name === 'relay') },
    { title: 'Orders from a real file per second', bars: bars((name) => name === 'replay') },
  ]);
}
