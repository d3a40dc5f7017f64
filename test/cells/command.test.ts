import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../../dev/support/process.ts';
import { addTenant, callLikeWorker, createCells, orderOf, startRelays, type TestCell } from '../support/moves.ts';

let cells: TestCell[];
let old: TestCell;
let eu1: TestCell;
let close: () => Promise<void>;
let key: string;

beforeAll(async () => {
  ({ cells, close } = await createCells('default', 'eu1'));
  [old, eu1] = cells as [TestCell, TestCell];
  key = await addTenant(old, 'mover', { A: 100 });
});
afterAll(() => close());

/** Runs `npm run cells` as the owner of both databases. */
const command = (...args: string[]) =>
  run(process.execPath, [join(import.meta.dirname, '..', '..', 'dev', 'cells', 'main.ts'), ...args], {
    env: { ...process.env, DATABASE_URL: old.ownerUrl, DATABASE_URL_EU1: eu1.ownerUrl },
  });

test('the command moves a tenant, shows where it is, and says with its exit code whether writes are paused', async () => {
  expect((await command('--help')).output).toContain('npm run cells -- <command>');
  for (const [args, message] of [
    [['move', 'mover'], 'give either --to <cell> or --undo'],
    [['move', 'nobody', '--to', 'eu1'], 'no cell serves a tenant nobody'],
    [['fly'], 'unknown command fly'],
  ] as const) {
    const { code, output } = await command(...args);
    expect(output).toContain(message);
    expect(code, output).toBe(1);
  }
  const waiting = await command('move', 'mover', '--to', 'eu1', '--wait', '1');
  expect(waiting.output).toContain('1 event of the tenant is not delivered yet');
  expect(waiting.output).toContain('default serves mover as before');
  expect(waiting.code).toBe(1);

  // A row of another tenant has the same id, so the copy cannot be complete.
  const relays = startRelays(cells);
  const order = await callLikeWorker<{ id: string }>(cells, 'orders.place_order', key, orderOf('A'));
  await eu1.database.query(
    `insert into orders.orders (id, customer_id, items, total, currency, status, tenant_id)
     values ($1, 'c', '[]', 1, 'USD', 'created', 'acme')`,
    [order.answer.id],
  );
  const stopped = await command('move', 'mover', '--to', 'eu1');
  expect(stopped.output).toContain('duplicate key value violates unique constraint "orders_pkey"');
  expect(stopped.output).toContain("The tenant's writes are paused.");
  expect(stopped.code).toBe(3);
  expect((await command('list')).output).toMatch(/mover {2}moving to eu1[\s\S]*mover {2}arriving from default/);
  expect(await command('move', 'mover', '--undo')).toMatchObject({ code: 0 });
  await eu1.database.query(`delete from orders.orders where tenant_id = 'acme'`);

  const moved = await command('move', 'mover', '--to', 'eu1');
  await relays.stop();
  expect(moved.output).toMatch(/✓ switch .* eu1 serves mover/);
  expect(moved.code).toBe(0);
  expect((await command('move', 'mover', '--to', 'eu1')).output).toContain('mover is served by eu1 already');
  expect((await command('list')).output).toMatch(/mover {2}moved to eu1 on \d{4}-\d\d-\d\d, its rows are still here/);
  expect((await command('purge', 'mover')).output).toContain('less than 7 days ago');
  expect((await command('purge', 'mover', '--now')).code).toBe(0);
  expect((await command('list')).output).toContain('its rows are deleted');
});
