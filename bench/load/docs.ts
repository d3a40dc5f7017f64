import { markdownTable } from '../growth/docs.ts';
import type { Machine } from './machine.ts';
import { comparedRates, formatFigure } from './table.ts';
import { type CaseResult, isMet, type Target } from './targets.ts';

/** What a result file in bench/results contains. */
export type Results = {
  at: string;
  machine: Machine;
  options: { rounds: number; seconds: number; clients: number };
  results: CaseResult[];
  targets: Target[];
};

const wanted = ({ atLeast, atMost }: Target): string =>
  atLeast === undefined ? `≤ ${formatFigure(atMost)}` : `≥ ${formatFigure(atLeast)}`;

const mark = (target: Target): string => ({ true: '✓', false: 'missed', undefined: '–' })[`${isMet(target)}`];

/** The tables of results and of targets for the documentation, with the run that they come from. `file`: its name. */
export function markdownOf({ at, machine, options, results, targets }: Results, file: string): string {
  const rates = new Map(results.map(({ name, rate }) => [name, rate]));
  const resultRows = results.map((result) => [
    result.title,
    formatFigure(result.rate),
    `${formatFigure(result.lowest)}–${formatFigure(result.highest)}`,
    [result.p50, result.p95, result.p99].map(formatFigure).join(' / '),
    formatFigure(result.calls),
    formatFigure(result.statements),
    [result.cpu.worker, result.cpu.bridge, result.cpu.postgres].map(formatFigure).join(' / '),
    comparedRates(result, rates).join(', '),
  ]);
  const { rounds, seconds, clients } = options;
  return [
    `- \`npm run bench -- --rounds ${rounds} --seconds ${seconds}\`, ${clients} clients, ${at.slice(0, 16).replace('T', ' ')} UTC, commit ${machine.commit}.`,
    `- ${machine.cores} cores of ${machine.cpu}, ${machine.system.split(' ')[0]}, Node ${machine.versions.node}, PostgreSQL ${machine.postgres}, workerd ${machine.versions.workerd}.`,
    `- Everything is in [\`bench/results/${file}\`](../bench/results/${file}).`,
    '',
    markdownTable([
      [
        ...['case', 'a second', 'from–to', 'p50 / p95 / p99 ms', 'database calls', 'statements'],
        ...['CPU Worker / bridge / Postgres', 'of the limit'],
      ],
      ...resultRows,
    ]),
    '',
    markdownTable([
      ['target', 'reached', 'wanted', ''],
      ...targets.map((target) => [target.metric, formatFigure(target.reached), wanted(target), mark(target)]),
    ]),
  ].join('\n');
}
