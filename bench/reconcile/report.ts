import { jobBudgets } from '../../src/base/budget.ts';

/** A payment whose webhook is lost. Times in ms. `turn`: the number of the cron that repaired it, counted from 1. */
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
  /** The status of its order. */
  status: string;
};

/** One job in one turn. `applied`: the number of events that it applied. */
export type JobLine = { name: string; outcome: string; dbCalls: number; applied: number };
export type TurnFacts = { at: number; jobs: JobLine[]; stripe: Record<string, number>; waiting: number };

/** The most database calls of hear-stripe in a turn: 10, and 3 for each event, with room for repeated calls. */
export const mostHearStripeCalls = (applied: number): number => 10 + 3 * applied;

/** Describes the guarantees that the run has broken. Empty: all held. `inconsistencies`: rows that do not match. */
export function findBrokenGuarantees(
  lost: LostWebhook[],
  turns: TurnFacts[],
  soldTwice: string[],
  inconsistencies: string[],
) {
  const broken: string[] = [];
  for (const { sku, tenant, turn, turnsBefore, status } of lost) {
    if (status !== 'confirmed') broken.push(`${tenant} ${sku}: the buyer has paid, but the order is ${status}`);
    else if (turn !== turnsBefore + 1)
      broken.push(`${tenant} ${sku}: repaired in turn ${turn}, not in turn ${turnsBefore + 1}`);
  }
  turns.forEach(({ jobs }, n) => {
    for (const { name, outcome, dbCalls, applied } of jobs) {
      if (outcome !== 'ok') broken.push(`turn ${n + 1}: ${name} ended with the outcome ${outcome}`);
      const budget = Object.hasOwn(jobBudgets, name) ? jobBudgets[name as keyof typeof jobBudgets].calls : undefined;
      if (budget !== undefined && dbCalls > budget)
        broken.push(`turn ${n + 1}: ${name} made ${dbCalls} database calls, its budget is ${budget}`);
      if (name === 'hear-stripe' && dbCalls > mostHearStripeCalls(applied)) {
        broken.push(`turn ${n + 1}: hear-stripe made ${dbCalls} database calls for ${applied} events`);
      }
    }
    if (!jobs.some(({ name }) => name === 'hear-stripe')) broken.push(`turn ${n + 1}: hear-stripe did not run`);
  });
  broken.push(...soldTwice.map((sku) => `${sku}: the unit was sold twice`), ...inconsistencies);
  return broken;
}

const seconds = (ms: number): string => `${Math.round(Math.abs(ms) / 1000)} s`;

/** When a webhook was repaired, relative to the end of its hold. */
export function describeRepair({ repairedAt, holdEnds }: Pick<LostWebhook, 'repairedAt' | 'holdEnds'>): string {
  if (repairedAt === undefined) return 'never';
  return repairedAt <= holdEnds
    ? `${seconds(holdEnds - repairedAt)} before the hold ended`
    : `${seconds(repairedAt - holdEnds)} after the hold ended`;
}

const table = (rows: string[][]): string => {
  const widths = (rows[0] ?? []).map((_, n) => Math.max(...rows.map((row) => row[n]?.length ?? 0)));
  return rows.map((row) => `  ${row.map((cell, n) => cell.padEnd(widths[n] ?? 0)).join('  ')}`.trimEnd()).join('\n');
};

export function reportOf(lost: LostWebhook[], turns: TurnFacts[]): string {
  const jobNames = [
    ...new Set(turns.flatMap(({ jobs }) => jobs.filter(({ dbCalls }) => dbCalls > 0).map(({ name }) => name))),
  ];
  const callsOf = ({ jobs }: TurnFacts, name: string) =>
    String(jobs.filter((job) => job.name === name).reduce((sum, job) => sum + job.dbCalls, 0));
  const requests = ({ stripe }: TurnFacts) => String(Object.values(stripe).reduce((sum, n) => sum + n, 0));
  return [
    '\nLost webhooks\n',
    table([
      ['tenant', 'SKU', 'paid before turn', 'repaired in turn', 'when', 'order'],
      ...lost.map((webhook) => [
        ...[webhook.tenant, webhook.sku, String(webhook.turnsBefore + 1), String(webhook.turn ?? '–')],
        ...[describeRepair(webhook), webhook.status],
      ]),
    ]),
    '\nDatabase calls in each turn\n',
    table([
      ['', ...turns.map((_, n) => `turn ${n + 1}`)],
      ['waiting payments', ...turns.map(({ waiting }) => String(waiting))],
      ...jobNames.map((name) => [name, ...turns.map((turn) => callsOf(turn, name))]),
    ]),
    '\nRequests to Stripe in each turn, with those of the new payments\n',
    table([
      ['', ...turns.map((_, n) => `turn ${n + 1}`)],
      ['total', ...turns.map(requests)],
      ...[...new Set(turns.flatMap(({ stripe }) => Object.keys(stripe)))]
        .sort()
        .map((name) => [name, ...turns.map(({ stripe }) => String(stripe[name] ?? 0))]),
    ]),
    '',
  ].join('\n');
}
