import { beforeAll, describe, expect, inject, test } from 'vitest';
import type { StoryKind } from '../../dev/chaos/load.ts';
import type { ChaosPlatform } from '../../dev/chaos/platform.ts';
import { runChaos } from '../../dev/chaos/run.ts';

type Edit = { functionName: string; from: string | RegExp; to: string };

/** Replaces a part of a SQL function in this run's database. */
async function edit({ query }: ChaosPlatform, { functionName, from, to }: Edit): Promise<void> {
  const [row] = await query<{ text: string }>('select pg_get_functiondef($1::regproc) as text', [functionName]);
  const broken = row?.text.replace(from, () => to);
  if (broken === undefined || broken === row?.text)
    throw new Error(`the function ${functionName} does not contain ${from}`);
  await query(broken);
}

/**
 * Runs a short load without faults on a database with broken functions. Returns the audit's messages for a promise.
 * `stories`: the kinds of stories of the load, if not all.
 */
async function auditOf(edits: (Edit | string)[], stories?: StoryKind[]): Promise<(check: string) => string> {
  const { findings } = await runChaos(
    {
      seed: 11,
      loadMs: 30_000,
      people: 14,
      ...(stories ? { stories } : {}),
      settleMs: 4_000,
      finalRetryMs: 2_000,
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
      .map(({ message }) => message)
      .join('\n');
}

describe('with SQL functions that lose changes', () => {
  let messages: Awaited<ReturnType<typeof auditOf>>;
  beforeAll(async () => {
    messages = await auditOf([
      'alter table inventory.inventory drop constraint inventory_quantity_not_negative',
      { functionName: 'inventory.reserve', from: 'i.quantity >= w.n', to: 'true' },
      { functionName: 'inventory.find_shortages', from: 'where coalesce(l.quantity, 0) < w.n', to: 'where false' },
      'update inventory.inventory set quantity = 1',
      'update inventory.adjustments set delta = 1',
      { functionName: 'orders.fail_order', from: /perform platform\.emit\([^;]*;/, to: '' },
      {
        functionName: 'inventory.reserve',
        from: 'unnest(platform.sinks_of(needs_payment)) s',
        to: `unnest('{queue}'::varchar[]) s`,
      },
    ]);
  }, 240_000);

  test('the audit finds oversold units', () => {
    expect(messages('stock added = free + held + committed')).toMatch(/-\d+ units are free/);
  });

  test('the audit finds a change that emits no event', () => {
    const text = messages("every order's state follows from its events");
    expect(text).toMatch(/the order is failed, but by its events it is created/);
  });

  test('the audit finds an event that never reaches Kafka', () => {
    const text = messages('Kafka has every event, and the events of each key are in order');
    expect(text).toMatch(/\(inventory\.reserved\) is not in Kafka/);
  });
});

describe('with SQL functions that count money wrongly', () => {
  test('the audit finds captured money that the database does not have', async () => {
    const messages = await auditOf([
      {
        functionName: 'payments.record_capture',
        from: `captured = (intent->>'received')::numeric`,
        to: `captured = (intent->>'received')::numeric - 0.01`,
      },
    ]);
    expect(messages('Stripe and the database agree on all money')).toMatch(/captured .* at Stripe/);
  }, 240_000);
});

describe('with SQL functions that act twice or not at all', () => {
  let messages: Awaited<ReturnType<typeof auditOf>>;
  beforeAll(async () => {
    messages = await auditOf([
      { functionName: 'platform.enter', from: 'if idempotency_key is null then', to: 'if true then' },
      {
        functionName: 'platform.leave',
        from: `call->>'requestHash', answer, platform.clock());`,
        to: `call->>'requestHash', answer, platform.clock()) on conflict do nothing;`,
      },
      {
        functionName: 'payments.request_refund',
        from: 'refund := payments.add_refund(payment,',
        to: `perform payments.add_refund(payment, platform.uuid7(), 0.01, input->>'reason')
            where refund_amount < payment.captured - 1;
          refund := payments.add_refund(payment,`,
      },
      {
        functionName: 'orders.confirm_paid_order',
        from: 'if not inventory.commit(order_id) then',
        to: 'if false then',
      },
      { functionName: 'payments.add_automatic_refund', from: 'if refund_amount <= 0 or', to: 'if true or' },
      { functionName: 'inventory.pick_holds', from: 'return due;', to: `return '[]';` },
    ]);
  }, 240_000);

  test('the audit finds an idempotency key that acts twice', () => {
    expect(messages('no idempotency key has two effects')).toMatch(/orders of one key/);
  });

  test('the audit finds a refund that is made twice', () => {
    expect(messages('every response that a client got is true')).toMatch(/\d refunds were made/);
  });

  test('the audit finds a confirmed order whose stock was not committed', () => {
    const text = messages("every order's state follows from its events");
    expect(text).toMatch(/its stock is held, but by its events it is committed/);
  });

  test('the audit finds money at Stripe without goods', () => {
    const text = messages('every payment at Stripe has one outcome: goods or a refund');
    expect(text).toMatch(/the outcome "money without goods"; its order is (cancelled|failed)/);
  });

  test('the audit finds holds that never end', () => {
    expect(messages('no work stays open')).toMatch(/holds to end/);
    expect(messages('no hold outlives its expiry')).toMatch(/still held at/);
  });
});

describe('with SQL functions that forget carts and discounts', () => {
  let messages: Awaited<ReturnType<typeof auditOf>>;
  beforeAll(async () => {
    messages = await auditOf([
      { functionName: 'orders.return_uses', from: /if not exists[^;]*then/, to: 'if true then' },
      { functionName: 'orders.require_open', from: `if status <> 'open' then`, to: 'if false then' },
      { functionName: 'orders.count_taken_uses', from: /and c\.used < item\.usage_limit/, to: '' },
      {
        functionName: 'orders.find_discounts',
        from: '(c.discount).usage_limit <=',
        to: '(c.discount).usage_limit + 100 <=',
      },
      { functionName: 'orders.may_reach_cart', from: 'platform.shopper() is null', to: 'true' },
      {
        functionName: 'inventory.restock_units',
        from: 'perform inventory.put_back(of_skus, units);',
        to: 'perform inventory.put_back(of_skus, units); perform inventory.put_back(of_skus, units);',
      },
      {
        functionName: 'orders.expire_carts_step',
        from: `jsonb_build_object('cartId', cart.id,`,
        to: `jsonb_build_object('email', cart.email, 'cartId', cart.id,`,
      },
    ]);
  }, 240_000);

  test('the audit finds uses of discounts that ended orders keep', () => {
    expect(messages('an order has taken its uses of limited discounts, until it fails or is cancelled')).toMatch(
      /its order is (failed|cancelled), but its use is taken/,
    );
  });

  test('the audit finds a discount that is used more often than its limit', () => {
    expect(messages('a limited discount counts the orders that use it, and never more than its limits')).toMatch(
      /\d+ uses are taken, but its limit is \d+/,
    );
  });

  test('the audit finds a cart that was ordered twice at once', () => {
    expect(messages('a cart has at most one order at a time that has not ended')).toMatch(/open at the same time/);
  });

  test('the audit finds a cart that another shopper can read', () => {
    expect(messages('every response that a client got is true')).toMatch(/another shopper got 200, not 404/);
  });

  test('the audit finds units of a refund that went back into stock twice', () => {
    expect(messages('stock added = free + held + committed')).toMatch(/units were added/);
  });

  test('the audit finds personal data in an event', () => {
    const text = messages('no event has personal data, and no stored response a token of a cart or session');
    expect(text).toMatch(/\(cart\.expired\) has personal data: @/);
  });
});

describe('with SQL functions that forget the rules of group commerce', () => {
  let messages: Awaited<ReturnType<typeof auditOf>>;
  beforeAll(async () => {
    messages = await auditOf(
      [
        'alter table group_commerce.group_commerce_campaigns drop constraint campaigns_not_overfull',
        'alter table group_commerce.group_commerce_campaigns drop constraint campaigns_offers',
        {
          functionName: 'group_commerce.join_fault',
          from: 'c.actual_participants + c.offered_places >= c.max_participants',
          to: 'false',
        },
        {
          functionName: 'group_commerce.claim_place',
          from: /and x\.offered_places >= offers [^;]*?max_participants/,
          to: '',
        },
        {
          functionName: 'group_commerce.settle_places',
          from: 'if campaign.settled_price < campaign.price then',
          to: 'if false then',
        },
        {
          functionName: 'group_commerce.show_referrals',
          from: /count\(\*\) filter \(where p\.state <> 'released'\) as invited/,
          to: 'count(*) as invited',
        },
      ],
      ['runCampaign', 'runTeams'],
    );
  }, 240_000);

  test('the audit finds a campaign with more places than its maximum', () => {
    const text = messages('free places are offered in the order of the waiting list, and never more than the maximum');
    expect(text).toMatch(/\d+ places were taken or offered at a time, but the maximum is \d+/);
  });

  test('the audit finds a place that pays the entry price although a tier was reached', () => {
    expect(messages('a place, its payment and its order have the same amount')).toMatch(/but its payment is for/);
  });

  test('the audit finds a referral that counts a released place', () => {
    expect(
      messages('an inviter has a place in the campaign, and the referrals count the places of those who were invited'),
    ).toMatch(/but the API counts/);
  });
});
