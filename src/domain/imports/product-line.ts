import * as z from 'zod';
import { exact, slug as slugField, text } from '../../base/fields.ts';
import { RefusedUrl, readPublicUrl, type UrlRules } from '../../base/public-url.ts';
import { newProduct } from '../catalog/products.ts';
import type { LineCode } from './split-lines.ts';

const { sku, name, description, price, currency, inventory, options, slug, weight, taxCategory, ...others } =
  newProduct.shape;
const { compareAtPrice, metadata } = others;

export const maxImages = 20;
const imageUrl = exact(2_000);

/** One line of an import. Every field except the SKU is optional, since an existing product may be updated in part. */
const productLine = z.strictObject({
  sku,
  name: name.optional(),
  description,
  price: price.optional(),
  currency: currency.optional(),
  inventory: inventory.optional(),
  status: z.enum(['active', 'archived']).optional(),
  ...{ slug, weight, taxCategory, compareAtPrice },
  group: slugField.nullable().optional(),
  groupName: text(500).optional(),
  options: options.refine((values) => Object.keys(values ?? {}).length <= 10, { error: 'must have at most 10 names' }),
  collections: z.array(slugField).max(100).optional(),
  image: z.array(imageUrl).max(maxImages).optional(),
  metadata,
});

export const lineFields = Object.keys(productLine.shape);

/** An image to fetch, with its alternative text. */
export type ImageRequest = { url: string; alt?: string | undefined };

/** A line as the database takes it. `optionNames`: in the line's order, which jsonb does not keep. */
export type ImportedProduct = Omit<z.infer<typeof productLine>, 'image'> & {
  optionNames?: string[];
  images?: ImageRequest[];
};

/** The result of reading a line: a product and its size in characters, or an error. `line` counts from 1. */
export type ImportLine =
  | { line: number; size: number; product: ImportedProduct }
  | { line: number; code: LineCode; detail: string };

export type Rejection = Extract<ImportLine, { code: LineCode }>;

const maxDetailLength = 200;
export const maxFaults = 10;

/** A value as the report quotes it: shortened, and without the content of lists and objects. */
export function quoteValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  return String(value);
}

/** A rejected line. The report is stored for its Idempotency-Key, so the detail has no text that cannot be stored. */
export const toRejection = (line: number, detail: string): Rejection => ({
  line,
  code: 'validation_failed',
  detail: detail.slice(0, maxDetailLength).toWellFormed().replaceAll('\0', '\uFFFD'),
});

const valueAt = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (inner, step) => (typeof inner === 'object' && inner !== null ? Reflect.get(inner, step) : undefined),
    value,
  );

/** Describes what is wrong with a line: its SKU, and each invalid field with its value. */
function describeIssues(issues: z.core.$ZodIssue[], value: unknown): string {
  const faults = issues.slice(0, maxFaults).map(({ path, message }) => {
    if (path.length === 0) return `The line ${message}`;
    const invalidValue = valueAt(value, path);
    return `${path.join('.')} ${message}${invalidValue === undefined ? '' : `, and not ${quoteValue(invalidValue)}`}`;
  });
  const hasValidSku = !issues.some(({ path }) => path[0] === 'sku');
  return `${skuPrefix(hasValidSku ? valueAt(value, ['sku']) : undefined)}${faults.join('; ')}`;
}

const skuPrefix = (given: unknown): string =>
  typeof given === 'string' && given !== '' ? `${quoteValue(given)}: ` : '';

/** Why the image of a URL cannot be fetched; undefined if it can. The name is looked up in DNS before each fetch. */
export function urlFault(url: string, rules: UrlRules): string | undefined {
  if (!imageUrl.safeParse(url).success) return 'The URL has more than 2,000 characters, or control characters.';
  try {
    readPublicUrl(url, rules);
    return undefined;
  } catch (error) {
    if (error instanceof RefusedUrl) return error.message;
    throw error;
  }
}

/** Validates a line with the schema of a product. */
export function validateLine(line: number, size: number, value: unknown, rules: UrlRules): ImportLine {
  const result = productLine.safeParse(value);
  if (!result.success) return toRejection(line, describeIssues(result.error.issues, value));
  const { image, ...product } = result.data;
  for (const url of image ?? []) {
    const fault = urlFault(url, rules);
    if (fault !== undefined) return toRejection(line, `${skuPrefix(product.sku)}image ${quoteValue(url)}: ${fault}`);
  }
  const optionNames = Object.keys(product.options ?? {});
  return {
    line,
    size,
    product: {
      ...product,
      ...(optionNames.length === 0 ? {} : { optionNames }),
      ...(image === undefined ? {} : { images: image.map((url) => ({ url })) }),
    },
  };
}
