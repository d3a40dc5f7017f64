import type { NoiseCounts } from './noise.ts';
import { type Kind, kinds, type Times } from './sales.ts';

/** The most that a noisy phase may multiply the p95 by. */
export const accepted = 2;

/** By part: CPU in percent of one core. */
export type Cpu = Record<string, number>;
export type Phase = { noisy: boolean; times: Times; cpu: Cpu };
export type Row = { kind: Kind; sales: number; p50: [number, number]; p95: [number, number]; ratio: number };

/** The value below which this part of the values lies; NaN of none. */
export function quantile(values: number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

/** One row a kind: the median over the phases of each phase's p50 and p95, quiet and noisy. */
export function rowsOf(phases: Phase[]): Row[] {
  return kinds.map((kind) => {
    const of = (noisy: boolean) => phases.filter((phase) => phase.noisy === noisy).map(({ times }) => times[kind]);
    const middle = (noisy: boolean, q: number): number =>
      quantile(
        of(noisy).map((values) => quantile(values, q)),
        0.5,
      );
    const p95: [number, number] = [middle(false, 0.95), middle(true, 0.95)];
    const sales = [...of(false), ...of(true)].reduce((sum, { length }) => sum + length, 0);
    return { kind, sales, p50: [middle(false, 0.5), middle(true, 0.5)], p95, ratio: p95[1] / p95[0] };
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

export const markdownOf = (rows: Row[]): string =>
  [head, head.map((_, n) => (n === 0 ? '---' : '--:')), ...rows.map(cellsOf)]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');

/** How the noise was answered, a line a kind of noise. */
export function answersOf(all: NoiseCounts[]): string[] {
  const sums: NoiseCounts = {};
  for (const counts of all) {
    for (const [noise, statuses] of Object.entries(counts)) {
      const mine = sums[noise] ?? {};
      for (const [status, count] of Object.entries(statuses)) mine[status] = (mine[status] ?? 0) + count;
      sums[noise] = mine;
    }
  }
  return Object.entries(sums).map(
    ([noise, statuses]) =>
      `${noise}: ${Object.entries(statuses)
        .map(([status, count]) => `${count} × ${status}`)
        .join(', ')}`,
  );
}

/** The CPU that each part used between two readings in milliseconds, in percent of one core. */
export const shareOf = (before: Cpu, after: Cpu, ms: number): Cpu =>
  Object.fromEntries(Object.entries(after).map(([part, spent]) => [part, ((spent - (before[part] ?? 0)) / ms) * 100]));

/** Each part's CPU: the median of the quiet phases, and that of the noisy ones. */
export function cpuText(phases: Phase[]): string {
  const middle = (part: string, noisy: boolean): number =>
    quantile(
      phases.filter((phase) => phase.noisy === noisy).map(({ cpu }) => cpu[part] ?? 0),
      0.5,
    );
  const parts = Object.keys(phases[0]?.cpu ?? {});
  const total = (noisy: boolean): string => parts.reduce((sum, part) => sum + middle(part, noisy), 0).toFixed(0);
  return [
    ...parts.map((part) => `${part} ${middle(part, false).toFixed(0)} and ${middle(part, true).toFixed(0)}`),
    `together ${total(false)} and ${total(true)}`,
  ].join(', ');
}
