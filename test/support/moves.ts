import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Steps } from '../../dev/cells/move.ts';
import type { Cell } from '../../dev/cells/session.ts';
import { createDatabase, type Database } from './harness.ts';
import { openPool } from './pools.ts';
import { jobSecret } from './secrets.ts';

export const quietSteps: Steps = { step: (_label, work) => work(), say: () => undefined };

export type TestCell = Cell & { database: Database; ownerUrl: string; worker: pg.Pool };

/** An error that a SQL function raised with `platform.fail`. */
export class Raised extends Error {
  readonly detail: { cell?: string; reason?: string };
  constructor(code: string, detail: string | undefined) {
    super(code);
    this.detail = detail === undefined ? {} : JSON.parse(detail);
  }
}

/**
 * Creates a database for each cell; the first is the default cell. Each has the tenants `default` and `acme`. `client`
 * is the database's owner, who is not a superuser, and `worker` the Worker's login.
 */
export async function createCells(...names: string[]): Promise<{ cells: TestCell[]; close: () => Promise<void> }> {
  const cells: TestCell[] = [];
  for (const name of names) {
    const database = await createDatabase();
    const owner = new URL(database.url);
    owner.username = 'fusion_owner';
    owner.password = 'owner';
    const client = new pg.Client(owner.href);
    client.on('error', () => undefined);
    await client.connect();
    const worker = openPool(database.workerUrl, 12);
    cells.push({ name, client, database, ownerUrl: owner.href, worker });
  }
  return {
    cells,
    async close() {
      for (const { client, worker, database } of cells) {
        await client.end();
        await worker.end();
        await database.drop();
      }
    },
  };
}

/** Calls one SQL function in a cell. @throws Raised */
export async function callIn<T>({ worker }: TestCell, name: string, call: object, input: object): Promise<T> {
  try {
    const { rows } = await worker.query(`select ${name}($1, $2) as result`, [call, input]);
    return rows[0].result;
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === 'FC000') throw new Raised(error.message, error.detail);
    throw error;
  }
}

/** Runs a job's or a consumer's function. */
export const runJob = <T>(cell: TestCell, name: string, input: object, fields: object = {}): Promise<T> =>
  callIn(cell, name, { jobSecret, ...fields }, input);

export const hashOf = (key: string): string => createHash('sha256').update(key).digest('hex');

/**
 * Calls as the Worker does: a call that raises `moved` is repeated in the cell that it names, and one that raises
 * `unavailable` later with the same idempotency key. Every call starts at the first cell, which the key names.
 */
export async function callLikeWorker<T>(
  cells: TestCell[],
  name: string,
  key: string,
  input: object,
  idempotencyKey = randomUUID(),
): Promise<{ answer: T; cell: string; attempts: number }> {
  const call = { keyHash: hashOf(key), idempotencyKey, requestHash: 'same' };
  let cell = cells[0] as TestCell;
  for (let attempts = 1; ; attempts++) {
    try {
      const { answer } = await callIn<{ answer: T }>(cell, name, call, input);
      return { answer, cell: cell.name, attempts };
    } catch (error) {
      if (!(error instanceof Raised)) throw error;
      if (error.message === 'moved') {
        cell = cells.find((each) => each.name === (error.detail.cell ?? 'default')) as TestCell;
      } else if (error.message === 'unavailable') {
        cell = cells[0] as TestCell;
        await sleep(20);
      } else throw error;
    }
  }
}

export type Delivered = { cell: string; tenant: string; key: string; seq: number; id: string };

/** Delivers every event of these cells, as the relay of each does, until it is stopped. Resolves with what it delivered. */
export function startRelays(cells: TestCell[]): { stop: () => Promise<Delivered[]> } {
  const delivered: Delivered[] = [];
  let stopped = false;
  const relay = async (cell: TestCell, sink: string): Promise<void> => {
    const input = { sink, lease: `${cell.name}-${sink}`, failed: [], returned: [], paused: false, limit: 200 };
    let done: number[] = [];
    for (let idle = 0; idle < 2; ) {
      const { events } = await runJob<{ events: Delivered[] }>(cell, 'platform.relay', {
        ...{ ...input, bytes: 1_000_000, seconds: 60, delivered: done },
      });
      done = events.map(({ seq }) => seq);
      if (sink === 'kafka') delivered.push(...events.map((event) => ({ ...event, cell: cell.name })));
      idle = stopped && events.length === 0 ? idle + 1 : 0;
      if (events.length === 0) await sleep(20);
    }
  };
  const running = Promise.all(cells.flatMap((cell) => ['kafka', 'queue'].map((sink) => relay(cell, sink))));
  return {
    async stop() {
      stopped = true;
      await running;
      return delivered;
    },
  };
}

/** Creates a tenant with a secret key and products, each with this stock. Resolves with the key. */
export async function addTenant(cell: TestCell, tenant: string, stock: Record<string, number>): Promise<string> {
  await cell.database.query('insert into platform.tenants (id, name) values ($1, $1) on conflict do nothing', [tenant]);
  const key = await cell.database.key({ tenant });
  for (const [sku, inventory] of Object.entries(stock)) {
    const product = { id: randomUUID(), sku, name: sku, price: 10, currency: 'USD', inventory };
    await callIn(cell, 'catalog.create_product', { keyHash: hashOf(key) }, product);
  }
  return key;
}

export const orderOf = (sku: string, quantity = 1, id = randomUUID()) => ({
  ...{ id, customerId: 'customer-1', async: false, holdSeconds: 900 },
  items: [{ sku, quantity }],
});
