import { randomUUID } from 'node:crypto';
import { textOf } from './journal.ts';
import type { Story } from './shop.ts';

const otherTenant = (tenant: string) => (tenant === 'default' ? 'acme' : 'default');

/** Units come and go by hand: counted once each, however often the request is repeated. */
export async function adjusting(story: Story): Promise<void> {
  const { shop, tenant, draw } = story;
  const all = shop.skus[tenant] ?? [];
  const { sku } = draw.pick(draw.chance(0.6) ? all.filter(({ hot }) => hot) : all);
  const key = story.unique('adjustment');
  await story.ask('inventory.adjust', 'POST', `/v1/inventory/${sku}/adjustments`, {
    key,
    body: { delta: draw.chance(0.75) ? draw.int(5, 40) : -draw.int(1, 60), reason: key },
  });
}

/** A product is made, changed, counted anew, archived, and back again by an import. */
export async function editing(story: Story): Promise<void> {
  const { draw } = story;
  const sku = story.unique('edited');
  const made = await story.ask('products.create', 'POST', '/v1/products', {
    key: story.unique('product'),
    body: { sku, name: `Edited ${sku}`, price: draw.int(1, 90), currency: 'USD', inventory: draw.int(0, 50) },
  });
  const id = textOf(made?.body, 'id');
  if (id === '') return;
  const change = (body: Record<string, unknown>) =>
    story.ask('products.update', 'PATCH', `/v1/products/${id}`, { body });
  const count = () =>
    story.ask('inventory.set', 'PUT', `/v1/inventory/${sku}`, { body: { quantity: draw.int(0, 80) } });
  for (let step = draw.int(1, 5); step > 0 && !story.shop.closing; step--) {
    const next = draw.weigh({ renames: 30, reprices: 20, counts: 20, archives: 10, imports: 20 });
    if (next === 'renames') await Promise.all([change({ name: story.unique('name') }), draw.chance(0.4) && count()]);
    if (next === 'reprices') await change({ price: draw.int(1, 90) });
    if (next === 'counts') await count();
    if (next === 'archives') await change({ status: draw.chance(0.5) ? 'archived' : 'active' });
    if (next === 'imports') await importing(story, [sku]);
  }
}

/** An import of products of which some are there already and one line is none. */
export async function importing(story: Story, known: string[] = []): Promise<void> {
  const { draw } = story;
  const skus = [...known, ...Array.from({ length: draw.int(1, 6) }, () => story.unique('imported'))];
  const lines = skus.map((sku) =>
    JSON.stringify({
      sku,
      name: `Imported ${sku}`,
      price: draw.int(1, 50),
      currency: 'USD',
      inventory: draw.int(0, 9),
    }),
  );
  // Without a key: what an import did before it was cut off it does again, to the same end.
  await story.ask('products.import', 'POST', '/v1/products/import', {
    raw: [...lines, '{"sku":'].join('\n'),
    headers: { 'content-type': 'application/x-ndjson' },
  });
}

/** What has to be refused, and must change nothing. */
export async function trespassing(story: Story): Promise<void> {
  const { shop, tenant, draw } = story;
  const key = story.unique('refused');
  const sold = draw.pick(shop.skus[tenant] ?? []);
  const order = (items: object[]) => ({ customerId: story.name, purchaseOrderNumber: key, items });
  const place = (body: object, more = {}) => story.ask('orders.place', 'POST', '/v1/orders', { key, body, ...more });
  const what = draw.weigh({ unknown: 1, price: 1, tooMany: 1, reused: 1, foreign: 1, keyless: 1, stranger: 1 });
  if (what === 'unknown') await place(order([{ sku: `none-${key}`, quantity: 1 }]));
  if (what === 'price') await place(order([{ sku: sold.sku, quantity: 1, price: sold.price + 1 }]));
  if (what === 'tooMany') await place(order([{ sku: sold.sku, quantity: 1_000_000 }]));
  if (what === 'reused') {
    await place(order([{ sku: sold.sku, quantity: 1 }]));
    await place(order([{ sku: sold.sku, quantity: 2 }]));
  }
  if (what === 'foreign') {
    const placed = await place(order([{ sku: sold.sku, quantity: 1 }]));
    const id = textOf(placed?.body, 'id') || randomUUID();
    const body = { reason: 'not mine' };
    const more = { key: story.unique('foreign'), body, tenant: otherTenant(tenant) };
    await story.ask('orders.cancel', 'POST', `/v1/orders/${id}/cancel`, more);
  }
  if (what === 'keyless') {
    await story.ask('orders.place', 'POST', '/v1/orders', { body: order([{ sku: sold.sku, quantity: 1 }]) });
  }
  if (what === 'stranger') {
    const headers = { authorization: 'Bearer sk_dev_nobody' };
    await place(order([{ sku: sold.sku, quantity: 1 }]), { headers });
  }
}
