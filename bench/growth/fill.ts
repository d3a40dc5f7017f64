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

/** Two connections for inserting rows. They need not wait for the disk, since nothing is measured meanwhile. */
async function openFillClients(url: string): Promise<[pg.Client, pg.Client]> {
  const clients: [pg.Client, pg.Client] = [await connectTo(url), await connectTo(url)];
  for (const client of clients) {
    await client.query(
      `set synchronous_commit = off; set jit = off; set work_mem = '64MB'; set maintenance_work_mem = '512MB'; set temp_buffers = '64MB'`,
    );
    await client.query(batchTable);
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
    for (const statement of firstRows) await client.query(statement);
  } finally {
    await client.end();
  }
}

/**
 * Grows the database from one size to a larger one by inserting into the tables with all constraints enabled, then
 * vacuums and analyzes it. The oldest 30 % of the new products have the word `retro`.
 */
export async function grow(url: string, from: Size, to: Size, progress: Progress): Promise<void> {
  const clients = await openFillClients(url);
  const [firstClient, secondClient] = clients;
  const runAll = async (client: pg.Client, statements: string[], values: unknown[]): Promise<void> => {
    for (const statement of statements) await client.query(statement, statement.includes('$') ? values : []);
  };
  try {
    progress.begin('fill');
    const retro = from.products + Math.floor((to.products - from.products) * 0.3);
    await inChunks(from.products + 1, to.products, async (first, last) => {
      await runAll(firstClient, productRows, [first, last, retro]);
      progress.show(() => `${last.toLocaleString('en-GB')} products`);
    });
    let done = from.orders;
    const halves = orderRows.map((statements, half) =>
      inChunks(from.orders + 1, to.orders, async (first, last) => {
        await runAll(half === 0 ? firstClient : secondClient, [...batchRows, ...statements], [first, last]);
        if (half === 0) await runAll(firstClient, recentRows, [first, last]);
        done += (last - first + 1) / 2;
        const total = to.orders - from.orders;
        progress.showCount({ handled: done - from.orders, sent: done - from.orders, total, unit: 'orders', failed: 0 });
      }),
    );
    await Promise.all(halves);
    for (const statement of countRows) await firstClient.query(statement);
    progress.show(() => 'vacuum and analyze');
    await firstClient.query('vacuum (analyze, freeze)');
    await firstClient.query('checkpoint');
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
