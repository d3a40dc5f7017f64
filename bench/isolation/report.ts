import { markdownTable } from '../growth/docs.ts';
import type { NoiseCounts } from './noise.ts';
import { type Kind, kinds, type Times } from './sales.ts';

/** The highest accepted ratio of the p95 in noisy phases to the p95 in quiet phases. */
export const acceptedRatio = 2;

/** CPU by part: ms when it is read, percent of one core in a `Phase`. */
export type Cpu = Record<string, number>;
export type Phase = { noisy: boolean; times: Times; cpu: Cpu };
export type Row = { kind: Kind; sales: number; p50: [number, number]; p95: [number, number]; ratio: number };

/** The q-quantile of the values. NaN for an empty list. */
export function quantile(values: number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

/**
 * One row per kind of request: medians of the phases' p50 and p95. Each pair has the quiet value first, then the noisy.
 */
export function rowsOf(phases: Phase[]): Row[] {
  return kinds.map((kind) => {
    const timesOf = (noisy: boolean) => phases.filter((phase) => phase.noisy === noisy).map(({ times }) => times[kind]);
    const medianOf = (noisy: boolean, q: number): number =>
      quantile(
        timesOf(noisy).map((values) => quantile(values, q)),
        0.5,
      );
    const p95: [number, number] = [medianOf(false, 0.95), medianOf(true, 0.95)];
    const sales = [...timesOf(false), ...timesOf(true)].reduce((sum, { length }) => sum + length, 0);
    return { kind, sales, p50: [medianOf(false, 0.5), medianOf(true, 0.5)], p95, ratio: p95[1] / p95[0] };
  });
}

const head = ['ms', 'count', 'p50 quiet', 'p50 noisy', 'p95 quiet', 'p95 noisy', 'p95 ratio'];
const cellsOf = ({ kind, sales, p50, p95, ratio }: Row): string[] => [
  kind,
  String(sales),
  ...[...p50, ...p95].map((ms) => ms.toFixed(0)),
  ratio.toFixed(1),
];

export const textOf = (rows: Row[]): string =>
  [head, ...rows.map(cellsOf)].map((cells) => `  ${cells.map((cell) => cell.padStart(11)).join('')}`).join('\n');

export const markdownOf = (rows: Row[]): string => markdownTable([head, ...rows.map(cellsOf)]);

/** The number of responses to the noise by status, one line per kind of noise. */
export function describeResponses(all: NoiseCounts[]): string[] {
  const sums: NoiseCounts = {};
  for (const counts of all) {
    for (const [noise, statuses] of Object.entries(counts)) {
      const byStatus = sums[noise] ?? {};
      for (const [status, count] of Object.entries(statuses)) byStatus[status] = (byStatus[status] ?? 0) + count;
      sums[noise] = byStatus;
    }
  }
  return Object.entries(sums).map(
    ([noise, statuses]) =>
      `${noise}: ${Object.entries(statuses)
        .map(([status, count]) => `${count} × ${status}`)
        .join(', ')}`,
  );
}

/** CPU of each part between two readings `ms` apart, in percent of one core. */
export const shareOf = (before: Cpu, after: Cpu, ms: number): Cpu =>
  Object.fromEntries(Object.entries(after).map(([part, used]) => [part, ((used - (before[part] ?? 0)) / ms) * 100]));

/** CPU of each part: the median of the quiet phases, then of the noisy phases. */
export function cpuText(phases: Phase[]): string {
  const medianOf = (part: string, noisy: boolean): number =>
    quantile(
      phases.filter((phase) => phase.noisy === noisy).map(({ cpu }) => cpu[part] ?? 0),
      0.5,
    );
  const parts = Object.keys(phases[0]?.cpu ?? {});
  const total = (noisy: boolean): string => parts.reduce((sum, part) => sum + medianOf(part, noisy), 0).toFixed(0);
  return [
    ...parts.map((part) => `${part} ${medianOf(part, false).toFixed(0)} and ${medianOf(part, true).toFixed(0)}`),
    `total ${total(false)} and ${total(true)}`,
  ].join(', ');
}
