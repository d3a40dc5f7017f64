import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { moveTenant } from '../../dev/cells/move.ts';
import { purgeTenant } from '../../dev/cells/purge.ts';
import { createKey, revokeKey } from '../../dev/keys/api-keys.ts';
import { encryptAgain } from '../../dev/keys/credentials.ts';
import { encrypt } from '../../src/base/encryption.ts';
import { credentialOwner } from '../../src/domain/carrier-accounts.ts';
import {
  addTenant,
  callIn,
  callLikeWorker,
  createCells,
  hashOf,
  orderOf,
  quietSteps,
  Raised,
  runJob,
  startRelays,
  type TestCell,
} from '../support/moves.ts';

let cells: TestCell[];
let old: TestCell;
let eu1: TestCell;
let close: () => Promise<void>;
let tenant = '';
let key = '';
let tests = 0;

beforeAll(async () => {
  ({ cells, close } = await createCells('default', 'eu1'));
  [old, eu1] = cells as [TestCell, TestCell];
});
afterAll(() => close());
beforeEach(async () => {
  tenant = `away-${++tests}`;
  key = await addTenant(old, tenant, { A: 100 });
});

const stopAt = (wanted: string) => (step: string) => {
  if (step === wanted) throw new Error('stop');
};
/** Moves the tenant, or stops at a step as if the command had been killed. */
async function move(stop?: string): Promise<void> {
  const relays = startRelays(cells);
  const moving = moveTenant(cells, tenant, 'eu1', { steps: quietSteps, ...(stop ? { after: stopAt(stop) } : {}) });
  await (stop ? expect(moving).rejects.toThrow('stop') : moving);
  await relays.stop();
}
/** What a call raises: the code, and the cell that it names. */
const raisedBy = (calling: Promise<unknown>): Promise<string> =>
  calling.then(
    () => 'nothing',
    (error) => {
      if (!(error instanceof Raised)) throw error;
      return [error.message, error.detail.cell].filter(Boolean).join(' ');
    },
  );
const read = (cell: TestCell) =>
  callIn(cell, 'platform.authenticate', { keyHash: hashOf(key) }, 'catalog:read' as never);
const write = (cell: TestCell) => callIn(cell, 'orders.place_order', { keyHash: hashOf(key) }, orderOf('A'));
const consume = (cell: TestCell) => runJob(cell, 'payments.open_payments', { tenant, messages: [] });
const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();

describe('a tenant that is away', () => {
  test('is read until the switch, written nowhere during the move, and forwarded afterwards', async () => {
    const raised = async (cell: TestCell) => [
      await raisedBy(read(cell)),
      await raisedBy(write(cell)),
      await raisedBy(consume(cell)),
    ];
    await move('check');
    expect(await raised(old)).toEqual(['nothing', 'unavailable', 'unavailable']);
    expect(await raised(eu1)).toEqual(['unavailable', 'unavailable', 'unavailable']);
    await move('close');
    expect(await raised(old)).toEqual(['unavailable', 'unavailable', 'unavailable']);
    expect(await raised(eu1)).toEqual(['unavailable', 'unavailable', 'unavailable']);
    await move();
    expect(await raised(old)).toEqual(['moved eu1', 'moved eu1', 'moved eu1']);
    expect(await raised(eu1)).toEqual(['nothing', 'nothing', 'nothing']);
  });

  test('is skipped by the jobs of its old cell, and the other tenants are not', async () => {
    const stays = `stays-${tests}`;
    const otherKey = await addTenant(old, stays, { A: 10 });
    const mine = await callLikeWorker<{ id: string }>(cells, 'orders.place_order', key, orderOf('A'));
    const other = await callLikeWorker<{ id: string }>(cells, 'orders.place_order', otherKey, orderOf('A'));
    const expire = (cell: TestCell) =>
      runJob<{ tenants: { tenant: string }[] }>(cell, 'orders.expire_holds', { limit: 50 }, { now: inHours(1) });
    const purge = () => runJob(old, 'platform.purge', { limit: 1000 }, { now: inHours(48) });
    const statusIn = async (cell: TestCell, id: string) =>
      (await cell.database.query<{ status: string }>('select status from orders.orders where id = $1', [id]))[0]
        ?.status;
    const keptIn = async (of: string) => {
      const count = 'select count(*)::int as n from platform.idempotency where tenant_id = $1';
      return (await old.database.query<{ n: number }>(count, [of]))[0]?.n;
    };
    await move('check');
    expect((await expire(old)).tenants.map((each) => each.tenant)).toContain(stays);
    expect(await statusIn(old, mine.answer.id)).toBe('created');
    expect(await statusIn(old, other.answer.id)).toBe('failed');
    expect((await expire(eu1)).tenants.map((each) => each.tenant)).not.toContain(tenant);
    await purge();
    expect([await keptIn(tenant), await keptIn(stays)]).toEqual([1, 0]);
    await move();
    expect((await expire(old)).tenants.map((each) => each.tenant)).not.toContain(tenant);
    expect((await expire(eu1)).tenants.map((each) => each.tenant)).toContain(tenant);
    expect([await statusIn(old, mine.answer.id), await statusIn(eu1, mine.answer.id)]).toEqual(['created', 'failed']);
  });

  test('gets a webhook about its payment only where it lives', async () => {
    const order = await callLikeWorker<{ id: string }>(cells, 'orders.place_order', key, orderOf('A'));
    const paymentId = randomUUID();
    await runJob(old, 'payments.open_payments', {
      tenant,
      messages: [{ eventId: randomUUID(), orderId: order.answer.id, id: paymentId }],
    });
    const intentId = `pi_${paymentId}`;
    const madeFor = { paymentId, orderId: order.answer.id, tenant };
    const intent = { status: 'succeeded', received: '10.00', amount: '10.00', currency: 'USD', madeFor };
    const webhook = (cell: TestCell) =>
      runJob<{ outcome: string }>(cell, 'payments.apply_stripe', { eventId: 'evt_1', paymentId, intentId, intent });
    await move('check');
    expect([await raisedBy(webhook(old)), await raisedBy(webhook(eu1))]).toEqual(['unavailable', 'unavailable']);
    await move();
    expect(await raisedBy(webhook(old))).toBe('moved eu1');
    expect((await webhook(eu1)).outcome).toBe('applied');
    expect((await webhook(eu1)).outcome).toBe('duplicate');
    // Its rows may be gone from the old cell; Stripe's metadata name the tenant.
    const unknown = { ...intent, madeFor: { ...madeFor, paymentId: 'gone' } };
    expect(
      await raisedBy(runJob(old, 'payments.apply_stripe', { paymentId: 'gone', intentId: 'pi_gone', intent: unknown })),
    ).toBe('moved eu1');
  });

  test('has the events about its Stripe account only where it lives, also once its rows are purged', async () => {
    const account = `acct_${tenant}`;
    const connected = 'update platform.tenants set stripe_account = $2 where id = $1';
    await old.database.query(connected, [tenant, account]);
    const stays = `stays-${tests}`;
    const otherKey = await addTenant(old, stays, { A: 10 });
    const order = await callLikeWorker<{ id: string }>(cells, 'orders.place_order', otherKey, orderOf('A'));
    const paymentId = randomUUID();
    const messages = [{ eventId: randomUUID(), orderId: order.answer.id, id: paymentId }];
    await runJob(old, 'payments.open_payments', { tenant: stays, messages });
    await move();
    await purgeTenant(cells, tenant, { steps: quietSteps, keepDays: 0 });
    const webhook = (cell: TestCell, fields: object) =>
      runJob<{ outcome: string }>(cell, 'platform.apply_stripe_account', { account, tenant, ...fields });
    for (const fields of [{ isEnabled: true }, { isWithdrawn: true }])
      expect(await raisedBy(webhook(old, fields))).toBe('moved eu1');
    expect(await webhook(eu1, { isEnabled: true })).toMatchObject({ outcome: 'applied', tenant });
    // An object of its account that names a payment of another tenant, which stayed.
    const madeFor = { paymentId, orderId: order.answer.id, tenant: stays };
    const intent = { status: 'succeeded', received: '10.00', amount: '10.00', currency: 'USD', madeFor };
    const forged = { eventId: 'evt_2', account, paymentId, intentId: 'pi_forged', intent };
    expect(await runJob(old, 'payments.apply_stripe', forged)).toMatchObject({ outcome: 'set_aside' });
    const letters = 'select sink, event_id from platform.dead_letters where tenant_id = any($1)';
    expect(await old.database.query(letters, [[tenant, stays]])).toEqual([]);
  });

  test('has its carrier’s credentials encrypted again where it lives, and its old cell goes on with the others', async () => {
    const [before, after] = [8, 9].map((byte) => Buffer.alloc(32, byte).toString('base64')) as [string, string];
    const later = `z-${tests}`;
    await addTenant(old, later, {});
    for (const id of [tenant, later]) {
      const secret = await encrypt([before], credentialOwner(id, 'shippo', 'apiKey'), 'shippo_test_key');
      const stored = JSON.stringify({ shippo: { apiKey: secret } });
      await old.database.query('update platform.tenants set carrier_credentials = $2 where id = $1', [id, stored]);
    }
    await move();
    expect(await encryptAgain(old.client, [after, before])).toEqual({ encrypted: 1, lost: [] });
    expect(await encryptAgain(eu1.client, [after, before])).toEqual({ encrypted: 1, lost: [] });
  });

  test("lets its new cell read Stripe's events of the time of the move again", async () => {
    const readUntil = async (cell: TestCell) =>
      (await runJob<{ readUntil: string }>(cell, 'payments.find_reading', {})).readUntil;
    const note = (cell: TestCell, until: string) => runJob(cell, 'payments.note_reading', { until });
    const before = new Date(Date.now() - 60_000).toISOString();
    await note(old, before);
    await note(eu1, inHours(1));
    await move('check');
    await note(old, inHours(1));
    await note(eu1, inHours(2));
    const started = Date.now();
    await move();
    expect(Date.parse(await readUntil(eu1))).toBeLessThanOrEqual(started);
    expect(Date.parse(await readUntil(eu1))).toBeGreaterThanOrEqual(Date.parse(before));
    expect(await readUntil(old)).not.toBe(await readUntil(eu1));
  });

  test('keeps its dead letters together, and a batch of several tenants is stored message by message', async () => {
    const letter = (of: string) => ({
      ...{ id: randomUUID(), tenant: of, sink: 'payments', eventId: randomUUID(), topic: 'order.created', key: 'k' },
      ...{ seq: null, message: {}, reason: 'test', attempts: 1 },
    });
    const keep = (cell: TestCell, ...messages: object[]) => runJob(cell, 'platform.keep_dead_letters', { messages });
    await move();
    expect(await raisedBy(keep(old, letter(tenant), letter('acme')))).toBe('unavailable');
    expect(await raisedBy(keep(old, letter(tenant)))).toBe('moved eu1');
    expect(await raisedBy(keep(old, letter('acme')))).toBe('nothing');
    expect(await raisedBy(keep(eu1, letter(tenant)))).toBe('nothing');
  });

  test('has its keys made and revoked where it lives', async () => {
    const make = (cell: TestCell) => createKey(cell.client, { tenant, kind: 'secret' });
    await move('check');
    await expect(make(old)).rejects.toThrow(`the tenant ${tenant} is not served by this cell (moving: eu1)`);
    await expect(make(eu1)).rejects.toThrow(`the tenant ${tenant} is not served by this cell (arriving: default)`);
    await move();
    await expect(make(old)).rejects.toThrow(`the tenant ${tenant} is not served by this cell (moved: eu1)`);
    const newKey = await make(eu1);
    const [row] = await eu1.database.query<{ id: string }>('select id from platform.api_keys where key_hash = $1', [
      hashOf(key),
    ]);
    await revokeKey(eu1.client, row?.id ?? '');
    await expect(callLikeWorker(cells, 'orders.place_order', key, orderOf('A'))).rejects.toThrow('unauthenticated');
    await callLikeWorker([eu1], 'orders.place_order', newKey, orderOf('A'));
  });

  test('has its changes in one audit log, with the move, and its copying is not a change', async () => {
    await move();
    const logOf = async (cell: TestCell) =>
      (
        await cell.database.query<{ operation: string }>(
          'select operation from audit.log where tenant_id = $1 order by id',
          [tenant],
        )
      ).map(({ operation }) => operation);
    expect(await logOf(eu1)).toEqual(expect.arrayContaining(['product insert', 'tenant move']));
    expect(await logOf(eu1)).toEqual(await logOf(old));
    await createKey(eu1.client, { tenant, kind: 'secret' });
    expect((await logOf(eu1)).at(-1)).toBe('key insert');
    const worker = await eu1.worker.connect();
    await worker.query('begin');
    await worker.query(`select set_config('app.copying', 'on', true)`); // a leaked connection string may try
    const product = { id: randomUUID(), sku: 'B', name: 'B', price: 1, currency: 'USD', inventory: 1 };
    await worker.query('select catalog.create_product($1, $2)', [{ keyHash: hashOf(key) }, product]);
    await worker.query('commit');
    worker.release();
    expect((await logOf(eu1)).slice(-2).sort()).toEqual(['product insert', 'stock insert']);
  });
});

test('every policy that shows a job the rows of every tenant leaves out tenants that are away, but for the documented ones', async () => {
  const policies = await old.database.query<{ on: string; hides: boolean }>(
    `select polrelid::regclass::text as on, pg_get_expr(polqual, polrelid) like '%app.away%' as hides
     from pg_policy where pg_get_expr(polqual, polrelid) like '%''*''%' order by 1`,
  );
  expect(policies.length).toBeGreaterThan(10);
  // The relay delivers what a tenant leaves behind, a key is found by its hash, and platform.purge has the condition.
  expect(policies.filter(({ hides }) => !hides).map((policy) => policy.on)).toEqual([
    'platform.api_keys',
    'platform.events',
    'platform.idempotency',
    'platform.inbox',
    'platform.outbox',
  ]);
});
