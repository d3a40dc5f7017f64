import { beforeAll, describe, expect, inject, test } from 'vitest';
import type { ChaosPlatform } from '../../dev/chaos/platform.ts';
import { runChaos } from '../../dev/chaos/run.ts';

type Edit = { of: string; from: string | RegExp; to: string };

/** Replaces a part of a function's text in this database alone. */
async function edit({ query }: ChaosPlatform, { of, from, to }: Edit): Promise<void> {
  const [row] = await query<{ text: string }>('select pg_get_functiondef($1::regproc) as text', [of]);
  const broken = row?.text.replace(from, () => to);
  if (broken === undefined || broken === row?.text) throw new Error(`${of} has no ${from}`);
  await query(broken);
}

/** A short load in peace, on a database with broken statements; what the audit said, by promise. */
async function auditOf(...edits: (Edit | string)[]): Promise<(check: string) => string> {
  const { findings } = await runChaos(
    {
      seed: 11,
      loadMs: 15_000,
      people: 12,
      settleMs: 4_000,
      lastWordMs: 2_000,
      gapMs: null,
      bundle: inject('bundle'),
      async before(platform) {
        for (const one of edits) await (typeof one === 'string' ? platform.query(one) : edit(platform, one));
      },
    },
    () => undefined,
    new AbortController().signal,
  );
  return (check) =>
    findings
      .filter((finding) => finding.check === check)
      .map(({ said }) => said)
      .join('\n');
}

describe('on statements that lose', () => {
  let said: Awaited<ReturnType<typeof auditOf>>;
  beforeAll(async () => {
    said = await auditOf(
      'alter table inventory.inventory drop constraint inventory_quantity_not_negative',
      { of: 'inventory.take', from: 'i.quantity >= quantities[1]', to: 'true' },
      { of: 'inventory.take', from: 'where coalesce(l.quantity, 0) < w.n', to: 'where false' },
      'update inventory.inventory set quantity = 1',
      'update inventory.adjustments set delta = 1',
      { of: 'orders.fail_order', from: /perform platform\.emit\([^;]*;/, to: '' },
      {
        of: 'platform.emit',
        from: 'insert into platform.outbox',
        to: `if emit.topic = 'inventory.reserved' then return; end if; insert into platform.outbox`,
      },
    );
  }, 240_000);

  test('the audit finds units that are sold without being there', () => {
    expect(said('stock put in = free + held + committed')).toMatch(/-\d+ units are free/);
  });

  test('the audit finds a change that emits no event', () => {
    const found = said('every order is in a state that its history explains');
    expect(found).toMatch(/the order is failed, its events say created/);
  });

  test('the audit finds an event that never reaches Kafka', () => {
    const found = said("Kafka has every event, and each key's in order of its changes");
    expect(found).toMatch(/\(inventory\.reserved\) is not in Kafka/);
  });
});

describe('on statements that count money wrongly', () => {
  test('the audit finds money that was taken and is not in our books', async () => {
    const said = await auditOf({
      of: 'payments.apply_intent',
      from: `captured = (intent->>'received')::numeric`,
      to: `captured = (intent->>'received')::numeric - 0.01`,
    });
    expect(said('money at Stripe is money in our books')).toMatch(/captured .* at Stripe/);
  }, 240_000);
});

describe('on statements that act twice, or not at all', () => {
  let said: Awaited<ReturnType<typeof auditOf>>;
  beforeAll(async () => {
    said = await auditOf(
      { of: 'platform.enter', from: 'if idempotency_key is null then', to: 'if true then' },
      {
        of: 'payments.request_refund',
        from: 'refund := payments.add_refund(payment,',
        to: `perform payments.add_refund(payment, platform.uuid7(), 0.01, input->>'reason')
            where refund_amount < payment.captured - 1;
          refund := payments.add_refund(payment,`,
      },
      { of: 'orders.confirm_paid_order', from: 'if not inventory.commit(order_row.id) then', to: 'if false then' },
      { of: 'payments.add_automatic_refund', from: 'if refund_amount <= 0 or', to: 'if true or' },
      { of: 'inventory.pick_holds', from: 'return due;', to: `return '[]';` },
    );
  }, 240_000);

  test('the audit finds an idempotency key that acts twice', () => {
    expect(said('no idempotency key has two effects')).toMatch(/orders of one key/);
  });

  test('the audit finds a refund that is made twice', () => {
    expect(said('every answer that a client got is true')).toMatch(/\d refunds were made/);
  });

  test('the audit finds an order that is confirmed on stock that is not its own', () => {
    const found = said('every order is in a state that its history explains');
    expect(found).toMatch(/its stock is held, its events say committed/);
  });

  test('the audit finds money at Stripe that buys nothing', () => {
    const found = said('every payment at Stripe has one outcome: goods, or the money back');
    expect(found).toMatch(/the outcome "money without goods"; its order is (cancelled|failed)/);
  });

  test('the audit finds holds that nobody ends', () => {
    expect(said('everything comes to an end')).toMatch(/holds that have not ended/);
    expect(said('no hold past its end')).toMatch(/still held at/);
  });
});
