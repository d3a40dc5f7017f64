import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { connectTo } from '../../dev/postgres/connection.ts';
import type { Fixture } from '../fixture/fixture.ts';
import type { Progress } from '../replay/progress.ts';
import { casesOf } from './cases.ts';
import { readFacts } from './facts.ts';
import { grow, prepare, type Size } from './fill.ts';
import { measureApi, measureSql, type Samples, type SqlResult, type Subject } from './measure.ts';
import type { GrowthOptions } from './options.ts';
import type { Measured, Row } from './report.ts';
import { pastOf } from './rows.ts';
import { openSession } from './session.ts';
import { timesOf } from './times.ts';

/** What was measured of one database. */
type Found = { api: Samples; sql: Map<string, SqlResult> | undefined };

/** How often the largest and the smallest take turns behind the Worker. */
const turns = 3;

const copy = 'fusion_smallest';
const aside = 'fusion_aside';

/** Does what PostgreSQL allows only while nobody is connected to these databases; the bridge connects anew by itself. */
async function alone(fixture: Fixture, databases: string[], statements: string[]): Promise<void> {
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
  corner: string,
  only: string,
): Promise<Subject> {
  const adminUrl = fixture.postgres.url(database);
  const facts = await readFacts(adminUrl, size);
  const cases = casesOf(facts, { default: fixture.secretKey, corner }).filter(({ name }) => name.includes(only));
  return { adminUrl, orders: size.orders, facts, cases };
}

async function measureBySql(subjects: Subject[], calls: number, progress: Progress): Promise<Map<string, SqlResult>[]> {
  const opened = await Promise.all(
    subjects.map(async (each) => ({ ...each, session: await openSession(each.adminUrl) })),
  );
  try {
    return await measureSql(opened, calls, progress);
  } finally {
    for (const { session } of opened) await session.close();
  }
}

const measured = ({ api, sql }: Found, of: string): Measured => {
  const [samples, result] = [api.get(of) ?? [], sql?.get(of)];
  return {
    ...(samples.length > 0 ? { api: timesOf(samples) } : {}),
    ...(result ? { sql: result.times, blocks: result.plan.blocks, plan: result.plan } : {}),
  };
};

/**
 * Fills, measures and grows the fixture's database, size by size. `keep` is given what there is after each of them, so that a
 * run which is stopped has not been for nothing.
 */
export async function runGrowth(
  fixture: Fixture,
  options: GrowthOptions,
  progress: Progress,
  keep: (rows: Row[], sizes: number[]) => Promise<void>,
): Promise<Row[]> {
  const name = new URL(fixture.adminUrl).pathname.slice(1);
  const sizes = options.sizes.map((orders) => ({ orders, products: Math.min(orders, options.products) }));
  await prepare(fixture.adminUrl, pastOf(Math.max(...options.sizes), new Date()));
  const corner = await fixture.createKey('corner');
  const found: Found[] = [];
  let names: string[] = [];
  const again: Found = { api: new Map(), sql: undefined };
  const rowsOf = (): Row[] =>
    names.map((of) => ({ name: of, sizes: found.map((one) => measured(one, of)), again: measured(again, of) }));
  for (const [i, size] of sizes.entries()) {
    progress.say(`${size.orders.toLocaleString('en-GB')} orders`);
    await grow(fixture.adminUrl, sizes[i - 1] ?? { orders: 0, products: 0 }, size, progress);
    if (i === 0) await alone(fixture, [name], [`create database ${copy} template ${name}`]);
    const subject = await subjectOf(fixture, name, size, corner, options.only);
    names = subject.cases.map((each) => each.name);
    const one: Found = { api: new Map(), sql: undefined };
    found.push(one);
    if (i < sizes.length - 1) {
      await measureApi(fixture, subject, options.calls, one.api, progress);
      one.sql = (await measureBySql([subject], options.calls, progress))[0];
      await keep(rowsOf(), options.sizes.slice(0, i + 1));
      continue;
    }
    let small = subject;
    const calls = Math.ceil(options.calls / turns);
    for (let turn = 0; turn < turns; turn++) {
      await measureApi(fixture, subject, calls, one.api, progress);
      // The smallest takes the place of the largest behind the Worker, and gives it back.
      await alone(
        fixture,
        [name, copy],
        [`alter database ${name} rename to ${aside}`, `alter database ${copy} rename to ${name}`],
      );
      if (turn === 0) small = await subjectOf(fixture, name, sizes[0] ?? size, corner, options.only);
      await measureApi(fixture, small, calls, again.api, progress);
      await alone(
        fixture,
        [name, aside],
        [`alter database ${name} rename to ${copy}`, `alter database ${aside} rename to ${name}`],
      );
    }
    [one.sql, again.sql] = await measureBySql(
      [subject, { ...small, adminUrl: fixture.postgres.url(copy) }],
      options.calls,
      progress,
    );
  }
  const rows = rowsOf();
  await keep(rows, options.sizes);
  return rows;
}
