import { createHash } from 'node:crypto';

/** The part of a URL that names a product: letters and digits with single hyphens between them. Empty if there are none. */
export const toSlug = (name: string): string =>
  name
    .normalize('NFC')
    .toLowerCase()
    .replaceAll(/[^\p{Ll}\p{Lo}\p{M}\p{N}]+/gu, '-')
    .slice(0, 200)
    .replaceAll(/^-+|-+$/g, '');

const shortHash = (parts: string[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 8);

/**
 * The SKU of a variant that has none: its handle and option values. Always the same for the same ones, so that the file
 * can be imported again. If that loses a character, or is too long, a part of a hash keeps different variants apart.
 */
export function deriveSku(handle: string, values: string[]): string {
  const parts = [handle, ...values];
  const sku = parts.map(toSlug).join('_');
  const isExact = parts.every((part) => toSlug(part) === part.normalize('NFC').toLowerCase().replaceAll(' ', '-'));
  return isExact && sku.length <= 64 ? sku : `${sku.slice(0, 55)}_${shortHash(parts)}`;
}
