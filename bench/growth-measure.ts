import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Case } from './growth-cases.ts';
import { addNeeds, clearNeeds, type Facts } from './growth-facts.ts';
import type { CallPlan } from './growth-plan.ts';
import type { Session } from './growth-session.ts';
import type { Progress } from './replay-progress.ts';
import type { Rig } from './rig.ts';

/** Milliseconds a call; `calls` of them were measured. */
export type Times = { p50: number; p95: number; calls: number };
/** One database under measurement. */
export type Subject = { adminUrl: string; orders: number; facts: Facts; cases: Case[] };
export type SqlResult = { times: Times; plan: CallPlan };

const warmUps = 12;
const usualCalls = 80;
const explained = 5;

export function timesOf(samples: number[]): Times {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN;
  return { p50: at(0.5), p95: at(0.95), calls: sorted.length };
}

/** How much of what a case needs is to be there for so many calls. */
function amount(needs: NonNullable<Case['needs']>, calls: number, orders: number): number {
  if (needs === 'holds') return calls * 200;
  if (needs === 'stale') return calls * 5_000;
  return needs === 'backlog' ? Math.max(30_000, orders / 10) : calls;
}

async function provide(subject: Subject, needs: Case['needs'], calls: number): Promise<void> {
  if (needs === undefined) return;
  subject.facts.unpaid = await addNeeds(subject.adminUrl, needs, amount(needs, calls, subject.orders));
}

let calls = 0;

/** One client, one request after the other, through the Worker. */
async function measureRequests(api: string, request: NonNullable<Case['request']>): Promise<Times> {
  const samples: number[] = [];
  for (let i = -warmUps; i < usualCalls; i++) {
    const { method, path, body, key } = request(++calls);
    const started = performance.now();
    const response = await fetch(api + path, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json', 'idempotency-key': randomUUID() }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text.slice(0, 300)}`);
    if (i >= 0) samples.push(performance.now() - started);
  }
  return timesOf(samples);
}

/** What the Worker logged of a cron's work: milliseconds for each `unit` of what it has done. */
async function measureCron(rig: Rig, id: string, counted: string, unit: number): Promise<Times | undefined> {
  const before = (await readFile(rig.workerLog, 'utf8')).length;
  await rig.cron();
  const lines = (await readFile(rig.workerLog, 'utf8')).slice(before).split('\n');
  for (const line of lines) {
    const start = line.indexOf('{');
    if (start < 0 || !line.includes(id)) continue;
    const entry = JSON.parse(line.slice(start)) as Record<string, number>;
    const done = entry[counted] ?? 0;
    if (done < unit) continue;
    const ms = ((entry.durationMs ?? 0) / done) * unit;
    return { p50: ms, p95: ms, calls: Math.round(done / unit) };
  }
  return undefined;
}

/** All cases as a client sees them; those of the cron by what the Worker logs of itself. */
export async function measureApi(rig: Rig, subject: Subject, progress: Progress): Promise<Map<string, Times>> {
  const results = new Map<string, Times>();
  progress.begin('API', '');
  for (const each of subject.cases) {
    progress.show(() => each.name);
    if (each.request) results.set(each.name, await measureRequests(rig.api, each.request));
    if (each.needs === 'holds' || each.needs === 'backlog') {
      await provide(subject, each.needs, 12);
      const [id, counted, unit] =
        each.needs === 'holds'
          ? (['expire-holds', 'expired', 200] as const)
          : (['"sink":"kafka"', 'delivered', 500] as const);
      const times = await measureCron(rig, id, counted, unit);
      if (times) results.set(each.name, times);
      await clearNeeds(subject.adminUrl, each.needs);
    }
    if (each.request?.(0).method === 'POST' || each.needs === 'holds') {
      await rig.cron();
      await rig.settled();
    }
  }
  progress.end(`${results.size} cases, one request after the other`);
  return results;
}

/** All cases over a connection to PostgreSQL, taking turns between the databases call by call. */
export async function measureSql(
  subjects: (Subject & { session: Session })[],
  progress: Progress,
): Promise<Map<string, SqlResult>[]> {
  const results = subjects.map(() => new Map<string, SqlResult>());
  progress.begin('SQL', '');
  for (const [index, { name, needs, calls: own }] of (subjects[0]?.cases ?? []).entries()) {
    progress.show(() => name);
    const wanted = own ?? usualCalls;
    const warm = own === undefined ? warmUps : 2;
    const last: unknown[] = [];
    const samples: number[][] = subjects.map(() => []);
    const statement = (at: number) => {
      const subject = subjects[at];
      if (!subject) throw new Error('no such database');
      const found = subject.cases.find((each) => each.name === name) ?? subject.cases[index];
      if (!found) throw new Error(`no case ${name}`);
      return { session: subject.session, statement: found.statement(calls, last[at]) };
    };
    for (const subject of subjects) await provide(subject, needs, wanted + warm + explained);
    for (let i = -warm; i < wanted; i++) {
      calls++;
      for (const at of subjects.keys()) {
        const { session, statement: what } = statement(at);
        const { result, ms } = await session.run(what);
        last[at] = result;
        if (i >= 0) samples[at]?.push(ms);
      }
    }
    for (const [at, subject] of subjects.entries()) {
      const plans: CallPlan[] = [];
      for (let i = 0; i < explained; i++) {
        calls++;
        const { session, statement: what } = statement(at);
        plans.push(await session.explain(what));
      }
      plans.sort((a, b) => a.blocks - b.blocks);
      const plan = plans[Math.floor(plans.length / 2)] ?? { blocks: Number.NaN, lines: [] };
      results[at]?.set(subjects[0]?.cases[index]?.name ?? name, { times: timesOf(samples[at] ?? []), plan });
      if (needs) await clearNeeds(subject.adminUrl, needs);
    }
  }
  progress.end(`${results[0]?.size} cases`);
  return results;
}
