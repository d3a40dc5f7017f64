import { randomUUID } from 'node:crypto';
import { addProduct, type Store } from './harness.ts';

/** Adds variants of a new product group, and returns their ids. Each has its fields, or those of the others. */
export async function addVariants(store: Store, stock: number, variants: Record<string, Record<string, unknown>>) {
  const slug = randomUUID();
  const group = await store.send('POST', '/v1/product-groups', { name: 'Shirts', options: ['Size'], slug });
  const ids: string[] = [];
  for (const [sku, { price, ...more }] of Object.entries(variants)) {
    const fields = { groupId: group.body.id, options: { Size: sku }, ...more };
    ids.push((await addProduct(store, sku, stock, (price as number | undefined) ?? 30, fields)).id);
  }
  return ids;
}
