import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startStripe } from '../../dev/stripe/server.ts';
import {
  callControl,
  eventually,
  failure,
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

/** Waits until no delivery is pending, and returns the webhooks' report. */
async function waitUntilDelivered(emulator: Awaited<ReturnType<typeof startFixture>>['emulator']) {
  type Report = { pending: number; lost: string[]; duplicated: number; reordered: number };
  return eventually(async () => {
    const report = (await callControl(emulator, 'GET', 'webhooks')) as Report;
    return report.pending === 0 ? report : undefined;
  });
}

const types = (received: Received[]) => received.map(({ event }) => event.type);

describe('a webhook', () => {
  test('has a signature that the SDK accepts, and names the request that caused it', async () => {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    const paid = await pay(stripe, 'pm_card_visa');
    await waitUntilDelivered(emulator);
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

  test('is signed with every secret during a rotation', async () => {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url, webhookSecret: ['whsec_old', 'whsec_new'] });
    await stripe.customers.create({});
    await waitUntilDelivered(emulator);
    const [one] = received;
    for (const secret of ['whsec_old', 'whsec_new']) {
      const event = await stripe.webhooks.constructEventAsync(one?.body ?? '', one?.signature ?? '', secret);
      expect(event.type).toBe('customer.created');
    }
  });

  test('contains the object as it was at the time of the event', async () => {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    await pay(stripe, 'pm_card_visa');
    await waitUntilDelivered(emulator);
    const created = received.find(({ event }) => event.type === 'payment_intent.created');
    expect(created?.event.data.object).toMatchObject({ status: 'requires_confirmation', amount_received: 0 });
  });

  test('is retried until the receiver returns 2xx', async () => {
    const { url, received } = await startReceiver((seen) => (seen.length < 3 ? 500 : 200));
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    await stripe.customers.create({});
    await waitUntilDelivered(emulator);
    expect(received).toHaveLength(3);
    expect(new Set(received.map(({ event }) => event.id)).size).toBe(1);
  });
});

describe('webhooks with seeded faults', () => {
  const seeded = { seed: 7, reorderMs: 300 };

  async function shop(faults: { lose?: number; duplicate?: number; reorder?: number }) {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    await callControl(emulator, 'POST', 'webhooks', { ...seeded, ...faults });
    for (let count = 0; count < 12; count += 1) await stripe.customers.create({ name: String(count) });
    const report = await waitUntilDelivered(emulator);
    const names = received.map(({ event }) => (event.data.object as { name: string }).name);
    return { names, report, stripe };
  }

  test('are lost, the same ones each time, and their events are still listed', async () => {
    const first = await shop({ lose: 0.5 });
    const second = await shop({ lose: 0.5 });
    expect(first.names.length).toBeGreaterThan(0);
    expect(first.names.length).toBeLessThan(12);
    expect([...first.names].sort()).toEqual([...second.names].sort());
    expect(first.report.lost).toHaveLength(12 - first.names.length);
    expect((await first.stripe.events.list({ limit: 100 })).data).toHaveLength(12);
  });

  test('can arrive twice', async () => {
    const { names, report } = await shop({ duplicate: 0.5 });
    expect(names).toHaveLength(12 + report.duplicated);
    expect(report.duplicated).toBeGreaterThan(0);
    expect(new Set(names).size).toBe(12);
  });

  test('can arrive out of order', async () => {
    const { names, report } = await shop({ reorder: 0.5 });
    expect(report.reordered).toBeGreaterThan(0);
    expect(names).toHaveLength(12);
    expect(names).not.toEqual([...names].sort((a, b) => Number(a) - Number(b)));
  });

  test('can be delayed', async () => {
    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ webhookUrl: url });
    await callControl(emulator, 'POST', 'webhooks', { delayMs: 24 * 3600_000 });
    await stripe.customers.create({});
    expect(await callControl(emulator, 'GET', 'webhooks')).toMatchObject({ pending: 1 });
    expect(received).toEqual([]);
  });

  test('have their faults and seed logged', async () => {
    const lines: string[] = [];
    await startFixture({ seed: 42, webhookFaults: { lose: 0.1 }, log: (line) => lines.push(line) });
    expect(lines).toEqual(['webhook faults: seed 42, lose 0.1, duplicate 0, reorder 0, delay 0 ms']);
  });
});

describe('the next start', () => {
  const options = { port: 0, secretKey: SECRET_KEY, webhookSecret: WEBHOOK_SECRET, retryBaseMs: 10, asyncMs: 5 };

  test('restores payments, refunds and idempotency keys, and ignores a torn last line', async () => {
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

  test('continues pending deliveries and jobs', async () => {
    const dir = await makeDir();
    const closed = { ...options, dir, asyncMs: 3600_000 };
    const before = await startStripe({ ...closed, webhookUrl: 'http://127.0.0.1:9/nobody' });
    const paid = await pay(sdkFor(before.port), 'pm_card_pendingRefund');
    await sdkFor(before.port).refunds.create({ payment_intent: paid.id });
    await before.close();

    const { url, received } = await startReceiver();
    const { stripe, emulator } = await startFixture({ dir, webhookUrl: url, now: () => Date.now() + 3600_000 });
    await waitUntilDelivered(emulator);
    expect(types(received)).toEqual(expect.arrayContaining(['payment_intent.succeeded', 'refund.updated']));
    expect((await stripe.refunds.list()).data.map((refund) => refund.status)).toEqual(['succeeded']);
  });

  test('fails while another emulator uses the port, and does not touch its journal', async () => {
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
