import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fixture } from '../fixture/fixture.ts';
import type { Progress } from '../replay/progress.ts';
import type { Case } from './case.ts';
import { addNeeds, clearNeeds, type Facts } from './facts.ts';
import type { CallPlan } from './plan.ts';
import type { Session } from './session.ts';
import { type Times, timesOf } from './times.ts';

/** A database that is measured. */
export type Subject = { adminUrl: string; orders: number; facts: Facts; cases: Case[] };
export type SqlResult = { times: Times; plan: CallPlan };

const warmUps = 12;
const apiWarmUps = 6;
const explainedCalls = 5;

/** The number of rows to add for `calls` calls of a case. */
function countNeeded(needs: NonNullable<Case['needs']>, calls: number, orders: number): number {
  if (needs === 'holds') return calls * 200;
  if (needs === 'stale') return calls * 5_000;
  return needs === 'backlog' ? Math.max(30_000, orders / 10) : calls;
}

async function provideNeeds(subject: Subject, needs: Case['needs'], calls: number): Promise<void> {
  if (needs === undefined) return;
  subject.facts.unpaid = await addNeeds(subject.adminUrl, needs, countNeeded(needs, calls, subject.orders));
}

/** The number of calls so far. Each call gets another number, so that its arguments differ. */
let callNumber = 0;

/** Sends requests to the Worker one at a time. Resolves with their times in ms, without the warm-up. */
async function measureRequests(api: string, request: NonNullable<Case['request']>, wanted: number): Promise<number[]> {
  const samples: number[] = [];
  for (let i = -apiWarmUps; i < wanted; i++) {
    const { method, path, body, key } = request(++callNumber);
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
    if (!response.ok) throw new Error(`${method} ${path} returned ${response.status}: ${text.slice(0, 300)}`);
    if (i >= 0) samples.push(performance.now() - started);
  }
  return samples;
}

/**
 * Fires the cron and reads one of its jobs from the Worker's log: the ms that `unit` items took. Empty if the job
 * processed fewer than `unit` items.
 */
async function measureCron(fixture: Fixture, lineText: string, countField: string, unit: number): Promise<number[]> {
  const before = (await readFile(fixture.workerLog, 'utf8')).length;
  await fixture.cron();
  for (const end = Date.now() + 5_000; Date.now() < end; await sleep(100)) {
    const lines = (await readFile(fixture.workerLog, 'utf8')).slice(before).split('\n').slice(0, -1);
    for (const line of lines.filter((text) => text.includes('{') && text.includes(lineText))) {
      const entry = JSON.parse(line.slice(line.indexOf('{'))) as Record<string, number>;
      const done = entry[countField] ?? 0;
      if (done >= unit) return [((entry.durationMs ?? 0) / done) * unit];
    }
  }
  return [];
}

/** How to find a case in the Worker's log: text of the line, the field with the count, and the items per call. */
const loggedCases = {
  holds: ['expire-holds', 'expired', 200],
  backlog: ['"sink":"kafka"', 'delivered', 500],
} as const;

/** Samples by the name of their case, in milliseconds. */
export type Samples = Map<string, number[]>;

/**
 * Measures `wanted` calls of each case through the API and adds the samples to `samplesByCase`. Cases of a cron are
 * measured once, from the Worker's log.
 */
export async function measureApi(
  fixture: Fixture,
  subject: Subject,
  wanted: number,
  samplesByCase: Samples,
  progress: Progress,
): Promise<void> {
  progress.begin('API', '');
  const add = (name: string, samples: number[]) =>
    samplesByCase.set(name, [...(samplesByCase.get(name) ?? []), ...samples]);
  for (const { name, request, needs } of subject.cases) {
    progress.show(() => name);
    if (request) add(name, await measureRequests(fixture.api, request, wanted));
    if (needs === 'holds' || needs === 'backlog') {
      await provideNeeds(subject, needs, 10);
      const [lineText, countField, unit] = loggedCases[needs];
      add(name, await measureCron(fixture, lineText, countField, unit));
      await clearNeeds(subject.adminUrl, needs);
    }
    if (request?.(0).method === 'POST' || needs === 'holds') {
      await fixture.cron();
      await fixture.settled();
    }
  }
  progress.end(`${wanted} calls of each of ${samplesByCase.size} cases, one at a time`);
}

/** Measures the SQL of all cases. Calls alternate between the databases. */
export async function measureSql(
  subjects: (Subject & { session: Session })[],
  defaultCalls: number,
  progress: Progress,
): Promise<Map<string, SqlResult>[]> {
  const results = subjects.map(() => new Map<string, SqlResult>());
  progress.begin('SQL', '');
  for (const [caseIndex, { name, needs, calls: caseCalls }] of (subjects[0]?.cases ?? []).entries()) {
    progress.show(() => name);
    const wanted = Math.min(caseCalls ?? defaultCalls, defaultCalls);
    const warm = caseCalls === undefined ? warmUps : 2;
    const lastResults: unknown[] = [];
    const samples: number[][] = subjects.map(() => []);
    const statementOf = (subjectIndex: number) => {
      const subject = subjects[subjectIndex];
      if (!subject) throw new Error(`there is no database number ${subjectIndex}`);
      const found = subject.cases.find((candidate) => candidate.name === name) ?? subject.cases[caseIndex];
      if (!found) throw new Error(`unknown case ${name}`);
      return { session: subject.session, statement: found.statement(callNumber, lastResults[subjectIndex]) };
    };
    for (const subject of subjects)
      await provideNeeds(subject, needs, wanted + warm + explainedCalls * subjects.length);
    for (let i = -warm; i < wanted; i++) {
      callNumber++;
      for (const subjectIndex of subjects.keys()) {
        const { session, statement } = statementOf(subjectIndex);
        const { result, ms } = await session.run(statement);
        lastResults[subjectIndex] = result;
        if (i >= 0) samples[subjectIndex]?.push(ms);
      }
    }
    for (const [subjectIndex, subject] of subjects.entries()) {
      const plans: CallPlan[] = [];
      for (let i = 0; i < explainedCalls; i++) {
        callNumber++;
        const { session, statement } = statementOf(subjectIndex);
        plans.push(await session.explain(statement));
      }
      plans.sort((a, b) => a.blocks - b.blocks);
      const plan = plans[Math.floor(plans.length / 2)] ?? { blocks: Number.NaN, levels: Number.NaN, lines: [] };
      results[subjectIndex]?.set(subjects[0]?.cases[caseIndex]?.name ?? name, {
        times: timesOf(samples[subjectIndex] ?? []),
        plan,
      });
      if (needs) await clearNeeds(subject.adminUrl, needs);
    }
  }
  progress.end(`${results[0]?.size} cases`);
  return results;
}
