import type { PlannedProduct } from './planned.ts';
import { grouped } from './progress.ts';

/** The only option of every group. */
export const optionName = 'Variant';

/** The API's limit of the products in a group. */
export const maxVariants = 250;

/**
 * Groups the SKUs that are the same digits and then one or two letters, such as 85123A and 85123a. Sets `group` of each
 * product whose digits at least two SKUs have. The group has the name of its first product.
 * @returns notes about groups that are too large
 */
export function groupVariants(products: Map<string, PlannedProduct>): string[] {
  const byStem = new Map<string, { product: PlannedProduct; variant: string }[]>();
  for (const product of products.values()) {
    const [, stem, variant] = /^(\d{4,6})([A-Za-z]{1,2})$/.exec(product.sku) ?? [];
    if (stem === undefined || variant === undefined) continue;
    const members = byStem.get(stem) ?? [];
    byStem.set(stem, members);
    members.push({ product, variant });
  }
  const notes: string[] = [];
  for (const [slug, members] of byStem) {
    const [first] = members;
    if (!first || members.length === 1) continue;
    for (const { product, variant } of members.slice(0, maxVariants))
      product.group = { slug, name: first.product.name, variant };
    const rest = members.length - maxVariants;
    if (rest > 0) notes.push(`${grouped(rest)} SKUs of the stem ${slug} are in no group: a group has ${maxVariants}.`);
  }
  return notes;
}
