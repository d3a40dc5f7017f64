import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type ShopPage, serveShop } from '../../dev/demo/shop/server.ts';
import { seedProducts, seedSettings, seedTenants, seedTerms } from '../../dev/platform/seed.ts';
import { findFreePort } from '../../dev/support/process.ts';
import { accessibilityFaults } from '../support/accessibility.ts';
import { type OpenBrowser, openBrowser } from '../support/browser.ts';
import { cronUntil, type Store, startStore, until } from '../support/harness.ts';
import { type PaymentFixture, paymentFixture } from '../support/payments.ts';

let store: Store;
let payments: PaymentFixture;
let open: OpenBrowser;
let shop: ShopPage;
let key: string;
const contexts: BrowserContext[] = [];

beforeAll(async () => {
  [store, open] = await Promise.all([startStore(), openBrowser()]);
  payments = paymentFixture(store);
  await seedTenants(store.database.url);
  await seedSettings(store.database.url);
  await seedProducts(store.url);
  await seedTerms(store.url);
  const port = await findFreePort();
  key = await store.database.key({ kind: 'publishable', origins: [`http://127.0.0.1:${port}`] });
  shop = await serveShop({ port, api: store.url, key, stripeUrl: store.stripe.url });
});
afterEach(async () => {
  for (const context of contexts.splice(0)) await context.close();
});
afterAll(async () => {
  await open?.close();
  await shop?.close();
  await store?.close();
});

type Visit = {
  page: Page;
  context: BrowserContext;
  /** What the browser complains of, except for responses that are errors. */
  complaints: string[];
  /** Each request with its headers and body. */
  sent: string[];
  /** The status of each preflight request. */
  preflights: number[];
};

/** Opens the shop in a new browser profile, or in another tab of one. */
async function visit({
  url = shop.url,
  width = 1000,
  context,
}: {
  url?: string;
  width?: number;
  context?: BrowserContext;
} = {}) {
  const profile = context ?? (await open.browser.newContext({ viewport: { width, height: 800 } }));
  if (context === undefined) contexts.push(profile);
  const page = await profile.newPage();
  page.setDefaultTimeout(15_000);
  const opened: Visit = { page, context: profile, complaints: [], sent: [], preflights: [] };
  page.on('console', (message) => {
    const isStatus = message.text().startsWith('Failed to load resource: the server responded with a status');
    if (['error', 'warning'].includes(message.type()) && !isStatus) opened.complaints.push(message.text());
  });
  page.on('pageerror', (error) => opened.complaints.push(error.message));
  page.on('request', (request) => {
    opened.sent.push(`${request.url()} ${JSON.stringify(request.headers())} ${request.postData() ?? ''}`);
  });
  const network = await profile.newCDPSession(page);
  network.on('Network.responseReceived', ({ type, response }) => {
    if (type === 'Preflight') opened.preflights.push(response.status);
  });
  await network.send('Network.enable');
  await page.goto(url);
  return opened;
}

const button = (page: Page, name: string | RegExp) => page.getByRole('button', { name });
const alertOf = (page: Page) => page.locator('#alert');

/** The rows of a list of amounts, as they are shown. */
const amountsOf = async (page: Page, id: string): Promise<string[]> => {
  const texts = await page.locator(`#${id} :is(dt, dd)`).allTextContents();
  return texts.flatMap((text, index) => (index % 2 === 0 ? [`${text} ${texts[index + 1]}`] : []));
};

const see = (page: Page, id: string, rows: string[]) => expect.poll(() => amountsOf(page, id)).toEqual(rows);

/** Puts one unit in the cart by mouse. */
const add = (page: Page, name: string) => button(page, `Add to cart: ${name}`).click();

/** Enters an address in Germany and chooses standard shipping. */
async function fillDetails(page: Page, email = 'ada@example.com'): Promise<void> {
  await page.getByLabel('E-mail address').fill(email);
  await page.getByLabel('Name').fill('Ada Example');
  await page.getByLabel('Street and number').fill('Elbchaussee 1');
  await page.getByLabel('Postcode').fill('22765');
  await page.getByLabel('City').fill('Hamburg');
  await button(page, 'Save my details').click();
  await page.getByLabel(/^Standard/).check();
  await page.locator('#totals', { hasText: 'Shipping€' }).waitFor();
}

/** The cart of this profile: its row, and its latest order. */
async function rowsOf({ page }: Visit) {
  const { id } = JSON.parse((await page.evaluate(`localStorage.getItem('cart')`)) as string) as { id: string };
  const [row] = await store.database.query<{ cart: string; orders: number; id: string | null; status: string | null }>(
    `select c.status as cart, c.order_id as id, o.status,
       (select count(*)::int from orders.orders x where x.cart_id = c.id) as orders
     from orders.carts c left join orders.orders o on o.id = c.order_id where c.id = $1`,
    [id],
  );
  if (row === undefined) throw new Error(`the cart ${id} is not in the database`);
  return row;
}

test('a shopper buys from a page of another origin with a publishable key alone, by keyboard and mouse', async () => {
  const shopper = await visit();
  const { page, complaints, sent, preflights } = shopper;
  const faults: string[] = [];
  const check = async (step: string) => {
    for (const fault of await accessibilityFaults(page, { bestPractice: true })) faults.push(`${step}: ${fault}`);
  };
  await page.getByRole('heading', { name: 'Nordlicht Tea' }).waitFor();
  await button(page, 'Add to cart: Stoneware mug').waitFor();
  await check('products');

  // By keyboard: one teapot, two teas.
  await button(page, 'Add to cart: Glass teapot').focus();
  await page.keyboard.press('Enter');
  await see(page, 'totals', ['Subtotal €39.00', 'Shipping not known yet', 'Total not known yet']);
  await button(page, 'Add to cart: Earl Grey, 100 g').focus();
  await page.keyboard.press('Space');
  const quantity = page.getByLabel('Quantity: Earl Grey, 100 g');
  await quantity.focus();
  await page.keyboard.press('ArrowUp');
  await see(page, 'totals', ['Subtotal €56.80', 'Shipping not known yet', 'Total not known yet']);
  expect(await quantity.evaluate((field) => field === field.ownerDocument.activeElement)).toBe(true);
  await check('cart');

  // Ordering too early: each message is beside its field.
  await button(page, 'Order and pay').click();
  await expect.poll(() => alertOf(page).textContent()).toBe('Please check the marked fields.');
  expect(await page.getByLabel('E-mail address').getAttribute('aria-invalid')).toBe('true');
  expect(await page.locator('[data-for="/email"]').textContent()).toContain('The e-mail address is missing.');
  expect(await page.locator('[data-for="/shippingAddress"]').textContent()).toContain('address is missing.');
  await check('missing fields');

  // A wrong e-mail address and a missing street: the errors of the API name the fields.
  await page.getByLabel('E-mail address').fill('ada');
  await page.getByLabel('City').fill('Hamburg');
  await page.keyboard.press('Enter');
  await expect.poll(() => page.locator('[data-for="/shippingAddress/line1"]').textContent()).not.toBe('');
  expect(await page.locator('[data-for="/email"]').textContent()).not.toBe('');
  await check('wrong fields');
  await fillDetails(page);
  await see(page, 'totals', [
    ...['Subtotal €56.80', 'Shipping €4.90', 'Total €61.70'],
    ...['of which VAT, 19 % €7.01', 'of which VAT, reduced, 7 % €1.16'],
  ]);
  await page.getByLabel('Code', { exact: true }).fill('SUMMER');
  await page.keyboard.press('Enter');
  await expect.poll(() => page.locator('[data-for="/discountCodes"]').textContent()).toContain('SUMMER');
  await check('details, shipping and code');
  await page.getByLabel('Code', { exact: true }).fill('welcome10');
  await button(page, 'Apply').click();
  await see(page, 'totals', [
    ...['Subtotal €56.80', 'Discount -€5.68', 'Shipping €4.90', 'Total €56.02'],
    ...['of which VAT, 19 % €6.39', 'of which VAT, reduced, 7 % €1.05'],
  ]);

  // A reload keeps the cart and what was entered.
  await page.reload();
  await button(page, 'Order and pay €56.02').waitFor();
  expect(await page.getByLabel('E-mail address').inputValue()).toBe('ada@example.com');
  expect(await page.getByLabel('City').inputValue()).toBe('Hamburg');
  expect(await page.getByLabel(/^Standard/).isChecked()).toBe(true);

  await button(page, 'Order and pay €56.02').click();
  await page.getByRole('heading', { name: 'Thank you' }).waitFor();
  await check('order');
  await see(page, 'order-totals', [
    ...['Subtotal €56.80', 'Discount -€5.68', 'Shipping €4.90', 'Total €56.02'],
    ...['of which VAT, 19 % €6.39', 'of which VAT, reduced, 7 % €1.05'],
  ]);
  expect(await page.locator('#order-lines li').allTextContents()).toEqual([
    expect.stringContaining('1 × Glass teapot'),
    expect.stringContaining('2 × Earl Grey, 100 g'),
  ]);

  await payments.quiet();
  const { id } = await rowsOf(shopper);
  const { body: order } = await store.send('GET', `/v1/orders/${id}`);
  expect(order).toMatchObject({
    ...{ status: 'confirmed', email: 'ada@example.com', source: { channel: 'web' }, total: 56.02, currency: 'EUR' },
    ...{ subtotal: 56.8, discountTotal: 5.68, shippingTotal: 4.9, taxTotal: 7.44, taxIncluded: true },
    discounts: [{ code: 'WELCOME10', amount: 5.68 }],
    shippingOption: { name: 'Standard' },
    shippingAddress: { name: 'Ada Example', line1: 'Elbchaussee 1', city: 'Hamburg', country: 'DE' },
    payment: { status: 'succeeded', amount: 56.02 },
  });
  expect(await page.locator('#number').textContent()).toBe(order.number);
  await payments.audit();

  expect(faults).toEqual([]);
  expect(complaints).toEqual([]);
  expect(sent.filter((request) => /\bsk_/.test(request))).toEqual([]);
  const others = sent.filter(
    (request) => ![shop.url, store.url, store.stripe.url].some((url) => request.startsWith(url)),
  );
  expect(others.filter((request) => !request.startsWith('data:'))).toEqual([]);
  expect(preflights.length).toBeGreaterThan(3);
  expect(new Set(preflights)).toEqual(new Set([204]));

  // After the order the page shows it again, and the next product starts a new cart.
  await page.reload();
  await page.getByRole('heading', { name: 'Thank you' }).waitFor();
  await button(page, 'Start a new cart').click();
  await page.getByText('Your cart is empty.').waitFor();
}, 240_000);

test('a second tab that orders the same cart is told that it was ordered, and the order is placed and paid once', async () => {
  const first = await visit();
  await add(first.page, 'Stoneware mug');
  await fillDetails(first.page);
  const second = await visit({ context: first.context });
  await button(second.page, 'Order and pay €19.40').waitFor();
  await button(first.page, 'Order and pay €19.40').click();
  await first.page.getByRole('heading', { name: 'Thank you' }).waitFor();
  await button(second.page, 'Order and pay €19.40').click();
  await expect.poll(() => alertOf(second.page).textContent()).toContain('This cart was already ordered');
  await second.page.getByRole('heading', { name: 'Thank you' }).waitFor();
  expect(await accessibilityFaults(second.page, { bestPractice: true })).toEqual([]);
  await payments.quiet();
  expect((await rowsOf(first)).orders).toBe(1);
  await payments.audit();
}, 120_000);

test('a new price is shown before the shopper pays it', async () => {
  const shopper = await visit();
  const { page } = shopper;
  await add(page, 'Peppermint, 50 g');
  await fillDetails(page);
  const { body: product } = await store.send('GET', '/v1/products/by-sku/TEA-MINT');
  await store.send('PATCH', `/v1/products/${product.id}`, { price: 7 });
  await button(page, 'Order and pay €11.10').click();
  await expect.poll(() => alertOf(page).textContent()).toContain('The total has changed to €11.90.');
  expect((await rowsOf(shopper)).orders).toBe(0);
  await button(page, 'Order and pay €11.90').click();
  await page.getByRole('heading', { name: 'Thank you' }).waitFor();
}, 120_000);

test('without enough stock the page says how many are left, and the shopper buys those', async () => {
  const shopper = await visit();
  const { page } = shopper;
  await add(page, 'Beeswax candles, box of 5');
  await fillDetails(page);
  await page.getByLabel('Quantity: Beeswax candles, box of 5').fill('2');
  await page.keyboard.press('Tab');
  await button(page, 'Order and pay €44.80').waitFor();
  await store.send('PUT', '/v1/inventory/CANDLE-5', { quantity: 1 });
  await button(page, 'Order and pay €44.80').click();
  await expect.poll(() => alertOf(page).textContent()).toBe('Only 1 of Beeswax candles, box of 5 can be sold now.');
  expect(await page.locator('[data-for="/items/0"]').textContent()).toContain('Only 1 of');
  expect(await accessibilityFaults(page, { bestPractice: true })).toEqual([]);
  expect((await rowsOf(shopper)).orders).toBe(0);
  await page.getByLabel('Quantity: Beeswax candles, box of 5').fill('1');
  await page.keyboard.press('Tab');
  await button(page, 'Order and pay €24.85').click();
  await page.getByRole('heading', { name: 'Thank you' }).waitFor();
}, 120_000);

test('after a declined card the shopper changes the cart or pays the same order with another card, also after a reload', async () => {
  const shopper = await visit();
  const { page } = shopper;
  await add(page, 'Stoneware mug');
  await fillDetails(page);
  await page.getByLabel('Test card').selectOption({ label: '4000 0000 0000 0002: declined' });
  await button(page, 'Order and pay €19.40').click();
  await expect.poll(() => alertOf(page).textContent()).toContain('Your card was declined.');
  expect(await page.getByLabel('Quantity: Stoneware mug').isDisabled()).toBe(true);
  expect(await accessibilityFaults(page, { bestPractice: true })).toEqual([]);
  await button(page, 'Change the cart').click();
  await page.getByLabel('Quantity: Stoneware mug').fill('2');
  await page.keyboard.press('Tab');
  await button(page, 'Order and pay €33.90').waitFor();
  await page.getByLabel('Test card').selectOption({ label: '4000 0000 0000 0002: declined' });
  await button(page, 'Order and pay €33.90').click();
  await expect.poll(() => alertOf(page).textContent()).toContain('Your card was declined.');
  await page.reload();
  await button(page, 'Pay €33.90').click();
  await page.getByRole('heading', { name: 'Thank you' }).waitFor();
  await payments.quiet();
  expect((await rowsOf(shopper)).orders).toBe(2);
  await payments.audit();
}, 120_000);

test('a shopper who leaves the page before the webhook of the payment, and pays again, is charged once', async () => {
  const shopper = await visit();
  const { page } = shopper;
  await add(page, 'Stoneware mug');
  await fillDetails(page);
  await payments.webhooks({ delayMs: 4_000 });
  await button(page, 'Order and pay €19.40').click();
  await page.getByText('Your payment is being checked.').waitFor();
  await page.reload();
  await payments.webhooks({ delayMs: 0 });
  await button(page, 'Pay €19.40').click();
  await page.getByRole('heading', { name: 'Thank you' }).waitFor();
  await payments.quiet();
  expect((await rowsOf(shopper)).orders).toBe(1);
  await payments.audit();
}, 60_000);

test('a shopper who pays after the hold has ended is told so, is not charged, and can order the same cart again', async () => {
  const shopper = await visit();
  const { page } = shopper;
  await add(page, 'Stoneware mug');
  await fillDetails(page);
  await page.getByLabel('Test card').selectOption({ label: '4000 0000 0000 0002: declined' });
  await button(page, 'Order and pay €19.40').click();
  await expect.poll(() => alertOf(page).textContent()).toContain('Your card was declined.');
  const late = new Date(Date.now() + 20 * 60_000);
  await cronUntil(store, late, async () => (await rowsOf(shopper)).status === 'failed');
  await page.getByLabel('Test card').selectOption({ label: '4242 4242 4242 4242: accepted' });
  await button(page, 'Pay €19.40').click();
  await expect.poll(() => alertOf(page).textContent()).toContain('This order can no longer be paid.');
  await button(page, 'Order and pay €19.40').click();
  await page.getByRole('heading', { name: 'Thank you' }).waitFor();
  await payments.quiet();
  expect((await rowsOf(shopper)).orders).toBe(2);
  await payments.audit();
}, 60_000);

test('a cart that has ended is replaced by a new one', async () => {
  const { page } = await visit();
  await add(page, 'Stoneware mug');
  await button(page, 'Order and pay').waitFor();
  const cart = (await page.evaluate(`localStorage.getItem('cart')`)) as string;
  const { id, token } = JSON.parse(cart) as { id: string; token: string };
  await store.send('POST', `/v1/carts/${id}/cancel`, undefined, { key, headers: { 'cart-token': token } });
  await page.reload();
  await expect.poll(() => alertOf(page).textContent()).toContain('This cart has ended.');
  await add(page, 'Stoneware mug');
  await page.getByLabel('Quantity: Stoneware mug').waitFor();
  expect(await page.evaluate(`localStorage.getItem('cart')`)).not.toBe(cart);
}, 60_000);

test('a page of an origin that the key does not allow gets nothing', async () => {
  const stranger = await serveShop({ port: 0, api: store.url, key, stripeUrl: store.stripe.url });
  try {
    const { page, sent } = await visit({ url: stranger.url });
    await expect.poll(() => alertOf(page).textContent(), { timeout: 30_000 }).toContain('The shop cannot be reached.');
    expect(await page.locator('#products li').count()).toBe(0);
    expect(sent.some((request) => request.startsWith(`${store.url}/v1/`))).toBe(true);
    const headers = { origin: stranger.url };
    for (const [method, path, body] of [
      ['GET', '/v1/products', undefined],
      ['POST', '/v1/carts', {}],
    ] as const) {
      const { status, headers: returned } = await store.send(method, path, body, { key, headers });
      expect([status, returned.get('access-control-allow-origin')]).toEqual([403, null]);
    }
  } finally {
    await stranger.close();
  }
}, 60_000);

test('the page needs no horizontal scrolling on a phone, from the first product to the order', async () => {
  const { page } = await visit({ width: 320 });
  const isTooWide = () => page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth');
  await add(page, 'Stoneware mug');
  expect(await isTooWide()).toBe(false);
  await fillDetails(page);
  expect(await isTooWide()).toBe(false);
  expect(await accessibilityFaults(page, { bestPractice: true })).toEqual([]);
  await button(page, 'Order and pay €19.40').click();
  await page.getByRole('heading', { name: 'Thank you' }).waitFor();
  expect(await isTooWide()).toBe(false);
  await until(async () => (await page.locator('#status').textContent()) === 'Your order is confirmed.');
}, 60_000);
