import { randomUUID } from 'node:crypto';
import { textOf } from './journal.ts';
import type { Story } from './shop.ts';

const otherTenant = (tenant: string) => (tenant === 'default' ? 'acme' : 'default');

/**
 * Adjusts the stock of a SKU. The audit checks that each adjustment counts once, however often its request is repeated.
 */
export async function adjustStock(story: Story): Promise<void> {
  const { shop, tenant, random } = story;
  const skus = shop.skus[tenant] ?? [];
  const { sku } = random.pick(random.chance(0.6) ? skus.filter(({ hot }) => hot) : skus);
  const key = story.unique('adjustment');
  await story.request('inventory.adjust', 'POST', `/v1/inventory/${sku}/adjustments`, {
    key,
    body: { delta: random.chance(0.75) ? random.int(5, 40) : -random.int(1, 60), reason: key },
  });
}

/** Creates a product and then renames, reprices, recounts, archives or imports it several times. */
export async function editProduct(story: Story): Promise<void> {
  const { random } = story;
  const sku = story.unique('edited');
  const created = await story.request('products.create', 'POST', '/v1/products', {
    key: story.unique('product'),
    body: { sku, name: `Edited ${sku}`, price: random.int(1, 90), currency: 'USD', inventory: random.int(0, 50) },
  });
  const id = textOf(created?.body, 'id');
  if (id === '') return;
  const change = (body: Record<string, unknown>) =>
    story.request('products.update', 'PATCH', `/v1/products/${id}`, { body });
  const recount = () =>
    story.request('inventory.set', 'PUT', `/v1/inventory/${sku}`, { body: { quantity: random.int(0, 80) } });
  for (let step = random.int(1, 5); step > 0 && !story.shop.closing; step--) {
    const next = random.pickWeighted({ rename: 30, reprice: 20, recount: 20, archive: 10, import: 20 });
    if (next === 'rename') await Promise.all([change({ name: story.unique('name') }), random.chance(0.4) && recount()]);
    if (next === 'reprice') await change({ price: random.int(1, 90) });
    if (next === 'recount') await recount();
    if (next === 'archive') await change({ status: random.chance(0.5) ? 'archived' : 'active' });
    if (next === 'import') await importProducts(story, [sku]);
  }
}

/** Imports products: new ones, existing ones, and one invalid line. */
export async function importProducts(story: Story, known: string[] = []): Promise<void> {
  const { random } = story;
  const skus = [...known, ...Array.from({ length: random.int(1, 6) }, () => story.unique('imported'))];
  const lines = skus.map((sku) =>
    JSON.stringify({
      sku,
      name: `Imported ${sku}`,
      price: random.int(1, 50),
      currency: 'USD',
      inventory: random.int(0, 9),
    }),
  );
  // It has no key: an interrupted import can be repeated with the same result.
  await story.request('products.import', 'POST', '/v1/products/import', {
    raw: [...lines, '{"sku":'].join('\n'),
    headers: { 'content-type': 'application/x-ndjson' },
  });
}

/** Sends a request that the API must reject without any effect. */
export async function sendInvalidRequests(story: Story): Promise<void> {
  const { shop, tenant, random } = story;
  const key = story.unique('invalid');
  const product = random.pick(shop.skus[tenant] ?? []);
  const order = (items: object[]) => ({ customerId: story.name, purchaseOrderNumber: key, items });
  const place = (body: object, options = {}) =>
    story.request('orders.place', 'POST', '/v1/orders', { key, body, ...options });
  const kind = random.pickWeighted({
    unknownSku: 1,
    wrongPrice: 1,
    tooManyUnits: 1,
    reusedKey: 1,
    otherTenant: 1,
    noIdempotencyKey: 1,
    invalidApiKey: 1,
  });
  if (kind === 'unknownSku') await place(order([{ sku: `none-${key}`, quantity: 1 }]));
  if (kind === 'wrongPrice') await place(order([{ sku: product.sku, quantity: 1, price: product.price + 1 }]));
  if (kind === 'tooManyUnits') await place(order([{ sku: product.sku, quantity: 1_000_000 }]));
  if (kind === 'reusedKey') {
    await place(order([{ sku: product.sku, quantity: 1 }]));
    await place(order([{ sku: product.sku, quantity: 2 }]));
  }
  if (kind === 'otherTenant') {
    const placed = await place(order([{ sku: product.sku, quantity: 1 }]));
    const id = textOf(placed?.body, 'id') || randomUUID();
    const body = { reason: 'not mine' };
    const options = { key: story.unique('foreign'), body, tenant: otherTenant(tenant) };
    await story.request('orders.cancel', 'POST', `/v1/orders/${id}/cancel`, options);
  }
  if (kind === 'noIdempotencyKey') {
    await story.request('orders.place', 'POST', '/v1/orders', { body: order([{ sku: product.sku, quantity: 1 }]) });
  }
  if (kind === 'invalidApiKey') {
    const headers = { authorization: 'Bearer sk_dev_nobody' };
    await place(order([{ sku: product.sku, quantity: 1 }]), { headers });
  }
}
