import { arch, cpus, platform, release, totalmem } from 'node:os';
import { median } from './load.ts';
import type { Measured, Race, Round } from './system.ts';

export type Machine = { cpu: string; cores: number; memoryGb: number; system: string; node: string };

export const describeMachine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: cpus().length,
  memoryGb: Math.round(totalmem() / 2 ** 30),
  system: `${platform()} ${release()} ${arch()}`,
  node: process.version,
});

/** A system over all rounds: medians, and the lowest and highest rate. */
export type Summary = Omit<Round, 'failures' | 'checkouts' | 'parts' | 'waits' | 'slowest'> & {
  name: string;
  version: string;
  lowest: number;
  highest: number;
  checkouts: number;
  failed: number;
  race?: Race;
};

export function summarise({ name, version, rounds, race }: Measured): Summary {
  const medianOf = (pick: (round: Round) => number): number => median(rounds.map(pick));
  const rates = rounds.map(({ perSecond }) => perSecond);
  return {
    name,
    version,
    checkouts: rounds.reduce((sum, round) => sum + round.checkouts, 0),
    failed: rounds.flatMap(({ failures }) => Object.values(failures)).reduce((sum, count) => sum + count, 0),
    perSecond: median(rates),
    lowest: Math.min(...rates),
    highest: Math.max(...rates),
    seconds: medianOf((round) => round.seconds),
    p50Ms: medianOf((round) => round.p50Ms),
    p95Ms: medianOf((round) => round.p95Ms),
    settleSeconds: medianOf((round) => round.settleSeconds),
    requests: medianOf((round) => round.requests),
    statements: medianOf((round) => round.statements),
    transactionStatements: medianOf((round) => round.transactionStatements),
    serverCpuMs: medianOf((round) => round.serverCpuMs),
    postgresCpuMs: medianOf((round) => round.postgresCpuMs),
    databaseBytes: medianOf((round) => round.databaseBytes),
    ...(race === undefined ? {} : { race }),
  };
}

/** A number with three significant digits, without an exponent. */
export function format(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const digits = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value))) + 1;
  return value.toLocaleString('en-US', { maximumFractionDigits: Math.max(0, 3 - Math.max(1, digits)) });
}

const columns: [string, (summary: Summary) => string][] = [
  ['', ({ name, version }) => `${name} ${version}`],
  ['checkouts/s', ({ perSecond }) => format(perSecond)],
  ['spread', ({ lowest, highest }) => `${format(lowest)}–${format(highest)}`],
  ['p50 ms', ({ p50Ms }) => format(p50Ms)],
  ['p95 ms', ({ p95Ms }) => format(p95Ms)],
  ['requests', ({ requests }) => format(requests)],
  ['statements', ({ statements }) => format(statements)],
  ['server CPU ms', ({ serverCpuMs }) => format(serverCpuMs)],
  ['Postgres CPU ms', ({ postgresCpuMs }) => format(postgresCpuMs)],
  ['failed', ({ failed }) => String(failed)],
];

const raceLine = ({ name, race }: Summary): string[] => {
  if (race === undefined) return [];
  const { sold, units, buyers, seconds, outcomes } = race;
  const outcomeLines = Object.entries(outcomes).map(
    ([outcome, count]) => `      ${String(count).padStart(5)} × ${outcome}`,
  );
  return [`  ${name}: ${sold} sold of ${units} units, ${buyers} buyers, ${format(seconds)} s`, ...outcomeLines];
};

/** `rate`: our rate divided by the other's. `cpu`: the other's CPU per checkout divided by ours. */
export function compare(ours: Summary, other: Summary): { rate: number; cpu: number } {
  const cpuOf = (system: Summary): number => system.serverCpuMs + system.postgresCpuMs;
  return { rate: ours.perSecond / other.perSecond, cpu: cpuOf(other) / cpuOf(ours) };
}

/** The report for the screen. The first system is ours. */
export function printReport(summaries: Summary[]): string {
  const cells = [
    columns.map(([title]) => title),
    ...summaries.map((summary) => columns.map(([, formatCell]) => formatCell(summary))),
  ];
  const widths = columns.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const lines = cells.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  '),
  );
  const [ours, ...others] = summaries;
  const ratios = others.map((other) => {
    if (ours === undefined) return '';
    const { rate, cpu } = compare(ours, other);
    return `${ours.name} makes ${format(rate)} checkouts in the time of one ${other.name} checkout, and ${format(cpu)} with the CPU of one.`;
  });
  const races = summaries.flatMap(raceLine);
  return [
    ...lines,
    '',
    ...ratios,
    ...(races.length > 0 ? ['', 'Buyers who compete for 100 units', ...races] : []),
  ].join('\n');
}
