import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fixture } from '../fixture/fixture.ts';
import type { Progress } from '../replay/progress.ts';
import type { Case } from './cases.ts';
import { addNeeds, clearNeeds, type Facts } from './facts.ts';
import type { CallPlan } from './plan.ts';
import type { Session } from './session.ts';
import { type Times, timesOf } from './times.ts';

/** One database under measurement. */
export type Subject = { adminUrl: string; orders: number; facts: Facts; cases: Case[] };
export type SqlResult = { times: Times; plan: CallPlan };

const warmUps = 12;
const apiWarmUps = 6;
const explained = 5;

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
async function measureRequests(api: string, request: NonNullable<Case['request']>, wanted: number): Promise<number[]> {
  const samples: number[] = [];
  for (let i = -apiWarmUps; i < wanted; i++) {
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
  return samples;
}

/** What the Worker logged of a cron's work: milliseconds for each `unit` of what it has done. */
async function measureCron(fixture: Fixture, id: string, counted: string, unit: number): Promise<number[]> {
  const before = (await readFile(fixture.workerLog, 'utf8')).length;
  await fixture.cron();
  for (const end = Date.now() + 5_000; Date.now() < end; await sleep(100)) {
    const lines = (await readFile(fixture.workerLog, 'utf8')).slice(before).split('\n').slice(0, -1);
    for (const line of lines.filter((text) => text.includes('{') && text.includes(id))) {
      const entry = JSON.parse(line.slice(line.indexOf('{'))) as Record<string, number>;
      const done = entry[counted] ?? 0;
      if (done >= unit) return [((entry.durationMs ?? 0) / done) * unit];
    }
  }
  return [];
}

/** What the cron of the Worker logs of the cases that it runs: which line, which count of it, and the case's own unit. */
const logged = {
  holds: ['expire-holds', 'expired', 200],
  backlog: ['"sink":"kafka"', 'delivered', 500],
} as const;

/** Samples by the name of their case, in milliseconds. */
export type Samples = Map<string, number[]>;

/** Adds so many calls of each case, as a client sees them; of those of the cron one run, by what the Worker logs. */
export async function measureApi(
  fixture: Fixture,
  subject: Subject,
  wanted: number,
  into: Samples,
  progress: Progress,
): Promise<void> {
  progress.begin('API', '');
  const add = (name: string, samples: number[]) => into.set(name, [...(into.get(name) ?? []), ...samples]);
  for (const { name, request, needs } of subject.cases) {
    progress.show(() => name);
    if (request) add(name, await measureRequests(fixture.api, request, wanted));
    if (needs === 'holds' || needs === 'backlog') {
      await provide(subject, needs, 10);
      const [id, counted, unit] = logged[needs];
      add(name, await measureCron(fixture, id, counted, unit));
      await clearNeeds(subject.adminUrl, needs);
    }
    if (request?.(0).method === 'POST' || needs === 'holds') {
      await fixture.cron();
      await fixture.settled();
    }
  }
  progress.end(`${wanted} calls of ${into.size} cases, one after the other`);
}

/** All cases over a connection to PostgreSQL, taking turns between the databases call by call. */
export async function measureSql(
  subjects: (Subject & { session: Session })[],
  usualCalls: number,
  progress: Progress,
): Promise<Map<string, SqlResult>[]> {
  const results = subjects.map(() => new Map<string, SqlResult>());
  progress.begin('SQL', '');
  for (const [index, { name, needs, calls: own }] of (subjects[0]?.cases ?? []).entries()) {
    progress.show(() => name);
    const wanted = Math.min(own ?? usualCalls, usualCalls);
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
    for (const subject of subjects) await provide(subject, needs, wanted + warm + explained * subjects.length);
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
