import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { seedProducts, seedTenants } from '../../dev/platform/seed.ts';
import { accessibilityFaults } from '../support/accessibility.ts';
import { type OpenBrowser, openBrowser } from '../support/browser.ts';
import { type Store, startStore } from '../support/harness.ts';

let store: Store;
let open: OpenBrowser;

beforeAll(async () => {
  [store, open] = await Promise.all([startStore(), openBrowser()]);
  await seedTenants(store.database.url);
  await seedProducts(store.url);
});
afterAll(async () => {
  await open?.close();
  await store?.close();
});

type Opened = { page: Page; complaints: string[]; asked: string[] };

/** Opens the reference at this place, and keeps what the browser complains of and asks for. */
async function openPage(place = ''): Promise<Opened> {
  const page = await open.browser.newPage();
  const complaints: string[] = [];
  const asked: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => asked.push(request.url()));
  await page.goto(`${store.url}/docs${place}`);
  await page.getByRole('heading', { name: 'FusionCommerce' }).waitFor();
  return { page, complaints, asked };
}

test('both files are served with their headers, and asked for again by their ETag', async () => {
  for (const [path, type] of [
    ['/docs', 'text/html; charset=utf-8'],
    ['/openapi.json', 'application/json'],
  ] as const) {
    const answer = await fetch(store.url + path);
    const etag = answer.headers.get('etag') ?? '';
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, type]);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'cache-control': 'no-cache',
      'content-security-policy': expect.stringContaining("default-src 'none'"),
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    });
    const again = await fetch(store.url + path, { headers: { 'if-none-match': etag } });
    expect(again.status).toBe(304);
    expect((await fetch(store.url + path, { method: 'HEAD' })).status).toBe(200);
    expect((await fetch(store.url + path, { method: 'POST' })).status).toBe(405);
  }
});

test('the page breaks no policy, asks nobody else, and can be used by everyone, in light and in dark', async () => {
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page, complaints, asked } = await openPage('#placeOrder');
    await page.emulateMedia({ colorScheme });
    await page.reload();
    await page.getByRole('button', { name: 'Try it (post /v1/orders)', exact: true }).waitFor();
    expect(page.url()).toContain('placeOrder');
    expect(asked.filter((url) => !url.startsWith(store.url))).toEqual([]);
    expect(await accessibilityFaults(page)).toEqual([]);
    expect(complaints).toEqual([]);
    await page.close();
  }
}, 240_000);

test('the search finds an operation and goes there', async () => {
  const { page } = await openPage();
  await page.keyboard.press('Control+k');
  await page.keyboard.type('refund a payment');
  await page.getByRole('option', { name: /Refund a payment/ }).click();
  await page.getByRole('heading', { name: /Refund a payment/ }).waitFor();
  expect(page.url()).toContain('createRefund');
  await page.close();
});

test('"Try it" places an order with the local key, each time with a new Idempotency-Key', async () => {
  const { page, complaints } = await openPage('#placeOrder');
  await page.getByRole('button', { name: 'Try it (post /v1/orders)', exact: true }).click();
  const keys = new Set<string | undefined>();
  for (let time = 1; time <= 2; time++) {
    const answered = page.waitForResponse((answer) => answer.request().method() === 'POST');
    await page.getByRole('button', { name: /^Send/ }).first().click();
    const answer = await answered;
    const headers = answer.request().headers();
    expect([answer.status(), headers.authorization]).toEqual([201, 'Bearer sk_dev_default']);
    keys.add(headers['idempotency-key']);
    await page.getByText('201 Created').first().waitFor();
  }
  expect(keys.size).toBe(2);
  expect(complaints).toEqual([]);
  await page.close();
});

test('"Try it" reads a product that the platform has', async () => {
  const { page } = await openPage('#getProduct');
  await page.getByRole('button', { name: 'Try it (get /v1/products/{id})', exact: true }).click();
  const answered = page.waitForResponse((answer) => /\/v1\/products\/[0-9a-f-]{36}$/.test(answer.url()));
  await page.getByRole('button', { name: /^Send/ }).first().click();
  expect((await answered).status()).toBe(200);
  await page.close();
});

/** Waits until the browser shows the heading of this code. */
async function seeCode(page: Page, code: string): Promise<void> {
  const heading = page.getByRole('heading', { name: code, exact: true });
  await heading.waitFor();
  const { height: viewportHeight } = page.viewportSize() ?? { height: 0 };
  const isVisible = async (): Promise<boolean> => {
    const { y, height } = (await heading.boundingBox()) ?? { y: -1, height: 0 };
    return y >= 0 && y + height <= viewportHeight;
  };
  await expect.poll(isVisible, { timeout: 15_000 }).toBe(true);
}

test('the type of a problem, and its code in the sidebar, lead to the heading of the code', async () => {
  for (const code of ['insufficient_inventory', 'idempotency_key_required']) {
    const { page } = await openPage(`#${code}`);
    await seeCode(page, code);
    await expect.poll(() => page.url()).toContain(`#description/${code.replaceAll('_', '-')}`);
    await page.getByRole('link', { name: 'refund_exceeds_payment', exact: true }).click();
    await seeCode(page, 'refund_exceeds_payment');
    await page.evaluate(`location.hash = '#${code}'`);
    await seeCode(page, code);
    await page.close();
  }
}, 120_000);
