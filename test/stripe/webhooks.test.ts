import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startStripe } from '../../dev/stripe/server.ts';
import {
  eventually,
  failure,
  flip,
  pay,
  type Received,
  SECRET_KEY,
  sdkFor,
  startFixture,
  startReceiver,
  WEBHOOK_SECRET,
} from '../support/stripe.ts';

async function makeDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'stripe-emulator-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Waits until no delivery is left, and gives the webhooks' report. */
async function drained(emulator: Awaited<ReturnType<typeof startFixture>>['emulator']) {
  type Report = { pending: number; lost: string[]; duplicated: number; reordered: number };
  return eventually(async () => {
    const report = (await flip(emulator, 'GET', 'webhooks')) as Report;
    return report.pending === 0 ? report : undefined;
  });
}

const types = (received: Received[]) => received.map(({ event }) => event.type);

describe('a webhook', () => {
  test('is signed so that the SDK accepts it, and tells what caused it', async () => {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    const paid = await pay(stripe, 'pm_card_visa');
    await drained(emulator);
    expect(types(received).sort()).toEqual(['charge.succeeded', 'payment_intent.created', 'payment_intent.succeeded']);
    for (const { body, signature } of received) {
      const event = await stripe.webhooks.constructEventAsync(body, signature, WEBHOOK_SECRET);
      expect(event).toMatchObject({
        object: 'event',
        api_version: '2026-10-28.endive',
        livemode: false,
        pending_webhooks: 1,
        request: { id: paid.lastResponse.requestId },
      });
      const tampered = stripe.webhooks.constructEventAsync(body.replace('1000', '1'), signature, WEBHOOK_SECRET);
      await expect(tampered).rejects.toThrow();
      const kept = await stripe.events.retrieve(event.id);
      expect(kept).toMatchObject({ type: event.type, pending_webhooks: 0 });
    }
  });

  test('is signed with every secret while one is rolled', async () => {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url, webhookSecret: ['whsec_old', 'whsec_new'] });
    await stripe.customers.create({});
    await drained(emulator);
    const [one] = received;
    for (const secret of ['whsec_old', 'whsec_new']) {
      const event = await stripe.webhooks.constructEventAsync(one?.body ?? '', one?.signature ?? '', secret);
      expect(event.type).toBe('customer.created');
    }
  });

  test('shows the object as it was when the event happened', async () => {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    await pay(stripe, 'pm_card_visa');
    await drained(emulator);
    const created = received.find(({ event }) => event.type === 'payment_intent.created');
    expect(created?.event.data.object).toMatchObject({ status: 'requires_confirmation', amount_received: 0 });
  });

  test('is sent again until it is taken', async () => {
    const { url, received } = await startReceiver((seen) => (seen.length < 3 ? 500 : 200));
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    await stripe.customers.create({});
    await drained(emulator);
    expect(received).toHaveLength(3);
    expect(new Set(received.map(({ event }) => event.id)).size).toBe(1);
  });
});

describe('with a seed, webhooks', () => {
  const seeded = { seed: 7, reorderMs: 300 };

  async function shop(faults: { lose?: number; duplicate?: number; reorder?: number }) {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    await flip(emulator, 'POST', 'webhooks', { ...seeded, ...faults });
    for (let count = 0; count < 12; count += 1) await stripe.customers.create({ name: String(count) });
    const report = await drained(emulator);
    const names = received.map(({ event }) => (event.data.object as { name: string }).name);
    return { names, report, stripe };
  }

  test('are lost, the same ones each time, and still to be found as events', async () => {
    const first = await shop({ lose: 0.5 });
    const second = await shop({ lose: 0.5 });
    expect(first.names.length).toBeGreaterThan(0);
    expect(first.names.length).toBeLessThan(12);
    expect([...first.names].sort()).toEqual([...second.names].sort());
    expect(first.report.lost).toHaveLength(12 - first.names.length);
    expect((await first.stripe.events.list({ limit: 100 })).data).toHaveLength(12);
  });

  test('arrive twice', async () => {
    const { names, report } = await shop({ duplicate: 0.5 });
    expect(names).toHaveLength(12 + report.duplicated);
    expect(report.duplicated).toBeGreaterThan(0);
    expect(new Set(names).size).toBe(12);
  });

  test('overtake one another', async () => {
    const { names, report } = await shop({ reorder: 0.5 });
    expect(report.reordered).toBeGreaterThan(0);
    expect(names).toHaveLength(12);
    expect(names).not.toEqual([...names].sort((a, b) => Number(a) - Number(b)));
  });

  test('wait as long as they are told to', async () => {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    await flip(emulator, 'POST', 'webhooks', { delayMs: 24 * 3600_000 });
    await stripe.customers.create({});
    expect(await flip(emulator, 'GET', 'webhooks')).toMatchObject({ pending: 1 });
    expect(received).toEqual([]);
  });

  test('say which faults are on, and with which seed', async () => {
    const lines: string[] = [];
    await startFixture({ seed: 42, webhookFaults: { lose: 0.1 }, log: (line) => lines.push(line) });
    expect(lines).toEqual(['webhook faults: seed 42, lose 0.1, duplicate 0, reorder 0, delay 0 ms']);
  });
});

describe('the next start', () => {
  const options = { port: 0, secretKey: SECRET_KEY, webhookSecret: WEBHOOK_SECRET, retryBaseMs: 10, asyncMs: 5 };

  test('finds payments, refunds and idempotency keys, and a torn last line harms nothing', async () => {
    const dir = await makeDir();
    const before = await startStripe({ ...options, dir });
    const paid = await pay(sdkFor(before.port), 'pm_card_visa');
    await sdkFor(before.port).refunds.create({ payment_intent: paid.id, amount: 400 }, { idempotencyKey: 'k-1' });
    await before.close();
    const journal = join(dir, 'journal.jsonl');
    await writeFile(journal, `${await readFile(journal, 'utf8')}{"put":[["payment_in`);

    const { stripe } = await startFixture({ dir });
    expect(await stripe.paymentIntents.retrieve(paid.id)).toEqual(paid);
    const again = await stripe.refunds.create({ payment_intent: paid.id, amount: 400 }, { idempotencyKey: 'k-1' });
    expect(again.lastResponse.headers['idempotent-replayed']).toBe('true');
    expect(await failure(stripe.refunds.create({ payment_intent: paid.id, amount: 601 }))).toMatchObject({
      param: 'amount',
    });
    expect((await stripe.events.list({ limit: 100 })).data).toHaveLength(5);
  });

  test('goes on with deliveries and jobs that were still open', async () => {
    const dir = await makeDir();
    const closed = { ...options, dir, asyncMs: 3600_000 };
    const before = await startStripe({ ...closed, webhookUrl: 'http://127.0.0.1:9/nobody' });
    const paid = await pay(sdkFor(before.port), 'pm_card_pendingRefund');
    await sdkFor(before.port).refunds.create({ payment_intent: paid.id });
    await before.close();

    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ dir, webhookUrl: url, now: () => Date.now() + 3600_000 });
    await drained(emulator);
    expect(types(received)).toEqual(expect.arrayContaining(['payment_intent.succeeded', 'refund.updated']));
    expect((await stripe.refunds.list()).data.map((refund) => refund.status)).toEqual(['succeeded']);
  });

  test('is refused while another holds the port, and leaves its journal alone', async () => {
    const dir = await makeDir();
    const { emulator, stripe } = await startFixture({ dir });
    await expect(startStripe({ ...options, port: emulator.port, dir })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    const intent = await stripe.paymentIntents.create({ amount: 1000, currency: 'usd' });
    expect(await readFile(join(dir, 'journal.jsonl'), 'utf8')).toContain(intent.id);
  });
});

test('GET / says that this is not Stripe', async () => {
  const { emulator } = await startFixture();
  expect(await (await fetch(emulator.url)).text()).toContain('It is not Stripe');
});
