import { jobBudgets } from '../../src/base/budget.ts';

/** A payment whose webhook is lost. Times in milliseconds; `turn`: the cron that has made up for it, counted from 1. */
export type LostWebhook = {
  tenant: string;
  sku: string;
  orderId: string;
  paidAt: number;
  holdEnds: number;
  /** The number of turns that began before the payment. */
  turnsBefore: number;
  turn?: number;
  repairedAt?: number;
  /** What became of its order. */
  status: string;
};

/** What one job did in one turn. */
export type JobLine = { name: string; outcome: string; dbCalls: number; applied: number };
export type TurnFacts = { at: number; jobs: JobLine[]; stripe: Record<string, number>; waiting: number };

/** What a turn of hear-stripe may cost: its reading, its note, a look-up, two calls an event, and repeated calls. */
export const hearingMost = (applied: number): number => 10 + 3 * applied;

/** The promises that the run has broken; empty: all were kept. `astray`: rows whose stock does not add up. */
export function brokenPromises(lost: LostWebhook[], turns: TurnFacts[], soldTwice: string[], astray: string[]) {
  const broken: string[] = [];
  for (const { sku, tenant, turn, turnsBefore, status } of lost) {
    if (status !== 'confirmed') broken.push(`${tenant} ${sku}: its buyer has paid, and the order is ${status}`);
    else if (turn !== turnsBefore + 1)
      broken.push(`${tenant} ${sku}: made up for in turn ${turn}, not ${turnsBefore + 1}`);
  }
  turns.forEach(({ jobs }, n) => {
    for (const { name, outcome, dbCalls, applied } of jobs) {
      if (outcome !== 'ok') broken.push(`turn ${n + 1}: ${name} ended with ${outcome}`);
      const budget = Object.hasOwn(jobBudgets, name) ? jobBudgets[name as keyof typeof jobBudgets].calls : undefined;
      if (budget !== undefined && dbCalls > budget)
        broken.push(`turn ${n + 1}: ${name} made ${dbCalls} database calls`);
      if (name === 'hear-stripe' && dbCalls > hearingMost(applied)) {
        broken.push(`turn ${n + 1}: hear-stripe made ${dbCalls} database calls for ${applied} events`);
      }
    }
    if (!jobs.some(({ name }) => name === 'hear-stripe')) broken.push(`turn ${n + 1}: hear-stripe did not run`);
  });
  broken.push(...soldTwice.map((sku) => `${sku}: sold twice`), ...astray);
  return broken;
}

const seconds = (ms: number): string => `${Math.round(Math.abs(ms) / 1000)} s`;

/** How a repair stands to the end of its hold. */
export function relative({ repairedAt, holdEnds }: Pick<LostWebhook, 'repairedAt' | 'holdEnds'>): string {
  if (repairedAt === undefined) return 'never';
  return repairedAt <= holdEnds
    ? `${seconds(holdEnds - repairedAt)} before the end`
    : `the hold waited ${seconds(repairedAt - holdEnds)}`;
}

const table = (rows: string[][]): string => {
  const widths = (rows[0] ?? []).map((_, n) => Math.max(...rows.map((row) => row[n]?.length ?? 0)));
  return rows.map((row) => `  ${row.map((cell, n) => cell.padEnd(widths[n] ?? 0)).join('  ')}`.trimEnd()).join('\n');
};

export function reportOf(lost: LostWebhook[], turns: TurnFacts[]): string {
  const shown = [
    ...new Set(turns.flatMap(({ jobs }) => jobs.filter(({ dbCalls }) => dbCalls > 0).map(({ name }) => name))),
  ];
  const callsOf = ({ jobs }: TurnFacts, name: string) =>
    String(jobs.filter((job) => job.name === name).reduce((sum, job) => sum + job.dbCalls, 0));
  const requests = ({ stripe }: TurnFacts) => String(Object.values(stripe).reduce((sum, n) => sum + n, 0));
  return [
    '\nLost webhooks\n',
    table([
      ['tenant', 'unit', 'paid before turn', 'made up for in turn', 'its hold', 'order'],
      ...lost.map((each) => [
        ...[each.tenant, each.sku, String(each.turnsBefore + 1), String(each.turn ?? '–'), relative(each), each.status],
      ]),
    ]),
    '\nDatabase calls of each turn\n',
    table([
      ['', ...turns.map((_, n) => `turn ${n + 1}`)],
      ['payments waiting', ...turns.map(({ waiting }) => String(waiting))],
      ...shown.map((name) => [name, ...turns.map((turn) => callsOf(turn, name))]),
    ]),
    '\nRequests to Stripe until the end of each turn, those of the new payments included\n',
    table([
      ['', ...turns.map((_, n) => `turn ${n + 1}`)],
      ['together', ...turns.map(requests)],
      ...[...new Set(turns.flatMap(({ stripe }) => Object.keys(stripe)))]
        .sort()
        .map((name) => [name, ...turns.map(({ stripe }) => String(stripe[name] ?? 0))]),
    ]),
    '',
  ].join('\n');
}
