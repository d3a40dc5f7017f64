import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { connectTo } from '../../dev/postgres/connection.ts';
import type { Fixture } from '../fixture/fixture.ts';
import type { Progress } from '../replay/progress.ts';
import type { Keys } from './case.ts';
import { casesOf } from './cases.ts';
import { readFacts } from './facts.ts';
import { grow, prepare, type Size } from './fill.ts';
import { measureApi, measureSql, type Samples, type SqlResult, type Subject } from './measure.ts';
import type { GrowthOptions } from './options.ts';
import type { Measured, Row } from './report.ts';
import { pastOf } from './rows.ts';
import { openSession } from './session.ts';
import { timesOf } from './times.ts';

/** The measurements of one database. */
type DatabaseResults = { api: Samples; sql: Map<string, SqlResult> | undefined };

/** How often the largest and the smallest database alternate behind the Worker. */
const turns = 3;

/** The copy of the smallest database, and the largest while that copy is in its place. */
const smallestCopy = 'fusion_smallest';
const replacedLargest = 'fusion_aside';

/** Runs statements that need databases without connections, such as a rename. The bridge reconnects by itself. */
async function runWithoutConnections(fixture: Fixture, databases: string[], statements: string[]): Promise<void> {
  const client: pg.Client = await connectTo(fixture.postgres.url('postgres'));
  try {
    for (const statement of statements) {
      for (let attempt = 1; ; attempt++) {
        await client.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = any($1)', [
          databases,
        ]);
        try {
          await client.query(statement);
          break;
        } catch (error) {
          if (attempt === 20) throw error;
          await sleep(100);
        }
      }
    }
  } finally {
    await client.end();
  }
}

async function subjectOf(
  fixture: Fixture,
  database: string,
  size: Size,
  keys: Keys,
  nameContains: string,
): Promise<Subject> {
  const adminUrl = fixture.postgres.url(database);
  const facts = await readFacts(adminUrl, size);
  const cases = casesOf(facts, keys).filter(({ name }) => name.includes(nameContains));
  return { adminUrl, orders: size.orders, facts, cases };
}

async function measureBySql(subjects: Subject[], calls: number, progress: Progress): Promise<Map<string, SqlResult>[]> {
  const opened = await Promise.all(
    subjects.map(async (subject) => ({ ...subject, session: await openSession(subject.adminUrl) })),
  );
  try {
    return await measureSql(opened, calls, progress);
  } finally {
    for (const { session } of opened) await session.close();
  }
}

const measured = ({ api, sql }: DatabaseResults, caseName: string): Measured => {
  const [samples, result] = [api.get(caseName) ?? [], sql?.get(caseName)];
  return {
    ...(samples.length > 0 ? { api: timesOf(samples) } : {}),
    ...(result ? { sql: result.times, blocks: result.plan.blocks, levels: result.plan.levels, plan: result.plan } : {}),
  };
};

/**
 * Fills and measures the fixture's database, size by size. `saveResults` is called after each size, so that a run that
 * is stopped keeps the results so far.
 */
export async function runGrowth(
  fixture: Fixture,
  options: GrowthOptions,
  progress: Progress,
  saveResults: (rows: Row[], sizes: number[]) => Promise<void>,
): Promise<Row[]> {
  const name = new URL(fixture.adminUrl).pathname.slice(1);
  const sizes = options.sizes.map((orders) => ({ orders, products: Math.min(orders, options.products) }));
  await prepare(fixture.adminUrl, pastOf(Math.max(...options.sizes), new Date()));
  const keys = {
    default: fixture.secretKey,
    corner: await fixture.createKey('corner'),
    trade: await fixture.createKey('trade'),
  };
  const bySize: DatabaseResults[] = [];
  let names: string[] = [];
  const smallestAgain: DatabaseResults = { api: new Map(), sql: undefined };
  const rowsOf = (): Row[] =>
    names.map((caseName) => ({
      name: caseName,
      sizes: bySize.map((results) => measured(results, caseName)),
      smallestAgain: measured(smallestAgain, caseName),
    }));
  for (const [i, size] of sizes.entries()) {
    progress.say(`${size.orders.toLocaleString('en-GB')} orders`);
    await grow(fixture.adminUrl, sizes[i - 1] ?? { orders: 0, products: 0 }, size, progress);
    if (i === 0) await runWithoutConnections(fixture, [name], [`create database ${smallestCopy} template ${name}`]);
    const subject = await subjectOf(fixture, name, size, keys, options.only);
    names = subject.cases.map((measuredCase) => measuredCase.name);
    const results: DatabaseResults = { api: new Map(), sql: undefined };
    bySize.push(results);
    if (i < sizes.length - 1) {
      await measureApi(fixture, subject, options.calls, results.api, progress);
      results.sql = (await measureBySql([subject], options.calls, progress))[0];
      await saveResults(rowsOf(), options.sizes.slice(0, i + 1));
      continue;
    }
    let smallest = subject;
    const calls = Math.ceil(options.calls / turns);
    for (let turn = 0; turn < turns; turn++) {
      await measureApi(fixture, subject, calls, results.api, progress);
      // Puts the smallest database in the place of the largest behind the Worker, measures it, and swaps them back.
      await runWithoutConnections(
        fixture,
        [name, smallestCopy],
        [`alter database ${name} rename to ${replacedLargest}`, `alter database ${smallestCopy} rename to ${name}`],
      );
      if (turn === 0) smallest = await subjectOf(fixture, name, sizes[0] ?? size, keys, options.only);
      await measureApi(fixture, smallest, calls, smallestAgain.api, progress);
      await runWithoutConnections(
        fixture,
        [name, replacedLargest],
        [`alter database ${name} rename to ${smallestCopy}`, `alter database ${replacedLargest} rename to ${name}`],
      );
    }
    [results.sql, smallestAgain.sql] = await measureBySql(
      [subject, { ...smallest, adminUrl: fixture.postgres.url(smallestCopy) }],
      options.calls,
      progress,
    );
  }
  const rows = rowsOf();
  await saveResults(rows, options.sizes);
  return rows;
}
