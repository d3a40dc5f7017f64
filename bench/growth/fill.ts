import type pg from 'pg';
import { connectTo } from '../../dev/postgres/connection.ts';
import type { Progress } from '../replay/progress.ts';
import {
  batchRows,
  batchTable,
  countRows,
  firstRows,
  orderRows,
  type Past,
  preparation,
  productRows,
  recentRows,
} from './rows.ts';

export type Size = { orders: number; products: number };

const chunk = 50_000;

type Clients = [pg.Client, pg.Client];

/** Two connections for inserting rows. They need not wait for the disk, since nothing is measured meanwhile. */
async function openFillClients(url: string): Promise<Clients> {
  const clients: Clients = [await connectTo(url), await connectTo(url)];
  for (const client of clients) {
    await client.query(
      `set synchronous_commit = off; set jit = off; set work_mem = '64MB'; set maintenance_work_mem = '1GB'`,
    );
  }
  return clients;
}

async function inChunks(first: number, last: number, work: (from: number, to: number) => Promise<void>): Promise<void> {
  for (let from = first; from <= last; from += chunk) await work(from, Math.min(from + chunk - 1, last));
}

/**
 * Creates the functions and the first rows of the generated history. `url`: as the superuser, who can write every
 * tenant.
 */
export async function prepare(url: string, past: Past): Promise<void> {
  const client = await connectTo(url);
  try {
    await client.query(preparation(past));
    await client.query(batchTable);
    for (const statement of firstRows) await client.query(statement);
  } finally {
    await client.end();
  }
}

const indexList = `
select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition
from pg_index i join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace
where n.nspname in ('catalog', 'group_commerce', 'inventory', 'orders', 'payments', 'platform', 'shipping')
  and not i.indisunique and t.relkind = 'r'
order by pg_table_size(t.oid) desc, 1`;

/** Drops every index that guards no constraint, and returns a function that builds them again, two at a time. */
async function dropIndexes(clients: Clients): Promise<(report: (text: string) => void) => Promise<void>> {
  const { rows: waiting } = await clients[0].query<{ name: string; definition: string }>(indexList);
  if (waiting.length > 0) await clients[0].query(`drop index ${waiting.map(({ name }) => name).join(', ')}`);
  return async (report) => {
    await Promise.all(
      clients.map(async (client) => {
        for (let index = waiting.shift(); index !== undefined; index = waiting.shift()) {
          report(`index ${index.name}`);
          await client.query(index.definition);
        }
      }),
    );
  };
}

/** Writes less to the log while rows are inserted. A crash would lose the database, which is then filled again. */
async function setCrashSafety(client: pg.Client, on: boolean): Promise<void> {
  for (const [name, value] of [
    ['full_page_writes', 'off'],
    ['max_wal_size', `'6GB'`],
    ['checkpoint_timeout', `'1h'`],
  ] as const)
    await client.query(on ? `alter system reset ${name}` : `alter system set ${name} = ${value}`);
  await client.query('select pg_reload_conf()');
  await client.query('checkpoint');
}

/**
 * Grows the database from one size to a larger one by inserting into the tables with all constraints enabled. If it
 * becomes at least twice as large, the other indexes are built afterwards. Then it is vacuumed and analyzed. The oldest
 * 30 % of the new products have the word `retro`.
 */
export async function grow(url: string, from: Size, to: Size, progress: Progress): Promise<void> {
  const clients = await openFillClients(url);
  const [firstClient, secondClient] = clients;
  const runAll = async (client: pg.Client, statements: string[], values: unknown[]): Promise<void> => {
    for (const statement of statements) await client.query(statement, statement.includes('$') ? values : []);
  };
  const run = async (client: pg.Client, values: unknown[], ...statements: string[]) =>
    runAll(client, statements, values);
  try {
    progress.begin('fill');
    await setCrashSafety(firstClient, false);
    const buildIndexes = to.orders < from.orders * 2 ? async () => undefined : await dropIndexes(clients);
    const retro = from.products + Math.floor((to.products - from.products) * 0.3);
    await inChunks(from.products + 1, to.products, async (first, last) => {
      const middle = Math.floor((first + last) / 2);
      await Promise.all([
        runAll(firstClient, productRows, [first, middle, retro]),
        runAll(secondClient, productRows, [middle + 1, last, retro]),
      ]);
      progress.show(() => `${last.toLocaleString('en-GB')} products`);
    });
    await inChunks(from.orders + 1, to.orders, async (first, last) => {
      const middle = Math.floor((first + last) / 2);
      await firstClient.query('truncate growth.batch');
      await Promise.all([
        run(firstClient, [first, middle], batchRows),
        run(secondClient, [middle + 1, last], batchRows),
      ]);
      await Promise.all([
        runAll(firstClient, orderRows[0], [first, last]),
        runAll(secondClient, [...orderRows[1], ...recentRows], [first, last]),
      ]);
      const [done, total] = [last - from.orders, to.orders - from.orders];
      progress.showCount({ handled: done, sent: done, total, unit: 'orders', failed: 0 });
    });
    await buildIndexes((text) => progress.show(() => text));
    for (const statement of countRows) await firstClient.query(statement);
    progress.show(() => 'vacuum and analyze');
    await firstClient.query('vacuum (analyze, freeze)');
    await setCrashSafety(firstClient, true);
    const { rows } = await firstClient.query<{ size: string }>(
      'select pg_size_pretty(pg_database_size(current_database())) as size',
    );
    progress.end(
      `${to.orders.toLocaleString('en-GB')} orders, ${to.products.toLocaleString('en-GB')} products, ${rows[0]?.size}`,
    );
  } finally {
    for (const client of clients) await client.end();
  }
}
