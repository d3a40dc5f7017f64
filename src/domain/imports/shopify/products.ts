import { remark } from '../../../base/fields.ts';
import type { UrlRules } from '../../../base/public-url.ts';
import {
  type ImageRequest,
  type ImportedProduct,
  type ImportLine,
  maxImages,
  quoteValue,
  toRejection,
  urlFault,
  validateLine,
} from '../product-line.ts';
import type { Column, Header, Row } from './columns.ts';
import { deriveSku } from './names.ts';
import { toPlainText } from './plain-text.ts';

const optionNumbers = [1, 2, 3] as const;
const valueColumns = optionNumbers.map((n) => `option${n}Value` as const);
const defaultTitle = 'Default Title';
const maxDescription = 10_000;

/** A product with all its rows. `slug`: its handle, as our slugs are written. */
export type ProductRows = { handle: string; slug: string; rows: Row[] };

type Rules = { header: Header; currency: string; urls: UrlRules };

/** What the first row says about all variants. */
type Common = {
  title: string | undefined;
  fields: Record<string, unknown>;
  metadata: Record<string, string>;
  options: Partial<Record<1 | 2 | 3, string>> | undefined;
};

/** A row that is rejected. The message becomes the detail. */
class RowFault extends Error {}

const remarks = { 40: remark(40), 500: remark(500) };
const cut = (text: string | undefined): string | undefined =>
  text === undefined ? undefined : remarks[500].parse(text);

const isVariant = ({ cells }: Row): boolean =>
  cells.title !== undefined ||
  cells.sku !== undefined ||
  cells.price !== undefined ||
  cells.variantImage !== undefined ||
  valueColumns.some((column) => cells[column] !== undefined);

/** Leaves out what is empty. */
const withoutUndefined = <T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;

function readNumber({ header }: Rules, { cells }: Row, column: Column, format: RegExp, expected: string) {
  const text = cells[column];
  if (text === undefined) return undefined;
  if (!format.test(text))
    throw new RowFault(`${header.label(column)} must be ${expected}, and not ${quoteValue(text)}.`);
  return Number(text);
}

const price = /^\d{1,8}(\.\d{0,2}0*)?$/;
const readPrice = (rules: Rules, row: Row, column: Column) =>
  readNumber(rules, row, column, price, 'an amount such as 29.99');

function statusOf({ status, published }: Row['cells']): 'active' | 'archived' | undefined {
  if (/^(draft|archived)$/i.test(status ?? '') || /^false$/i.test(published ?? '')) return 'archived';
  return status === undefined && published === undefined ? undefined : 'active';
}

/** The names of the options, from the first row that has them. Undefined if the product has none. */
function optionsOf(variants: Row[]): Common['options'] {
  const isPlain = variants.every(({ cells }) => {
    const [first, ...others] = valueColumns.map((column) => cells[column]);
    return (first ?? defaultTitle).toLowerCase() === defaultTitle.toLowerCase() && others.every((value) => !value);
  });
  if (isPlain) return undefined;
  return withoutUndefined(
    Object.fromEntries(
      optionNumbers.map((n) => [n, variants.map(({ cells }) => cells[`option${n}Name`]).find((name) => name)]),
    ),
  );
}

function commonOf(rows: Row[], variants: Row[]): Common {
  const cells = rows.find((row) => row.cells.title !== undefined)?.cells ?? {};
  const text = cells.body === undefined ? '' : toPlainText(cells.body).normalize('NFC');
  const description = text
    .slice(0, maxDescription)
    .replace(/[\ud800-\udbff]$/, '')
    .trim();
  const { vendor, type, tags, productCategory, seoTitle, seoDescription } = cells;
  return {
    title: cut(cells.title),
    fields: withoutUndefined({ description: description || undefined, status: statusOf(cells) }),
    metadata: withoutUndefined({
      vendor: cut(vendor),
      type: cut(type),
      tags: cut(tags),
      productCategory: cut(productCategory),
      seoTitle: cut(seoTitle),
      seoDescription: cut(seoDescription),
    }) as Record<string, string>,
    options: optionsOf(variants),
  };
}

function readOptions({ header }: Rules, { cells }: Row, names: NonNullable<Common['options']>) {
  const options = new Map<string, string>();
  for (const n of optionNumbers) {
    const [name, value] = [names[n], cells[`option${n}Value`]];
    const column = header.label(`option${n}Value`);
    if (name === undefined && value === undefined) continue;
    if (value === undefined)
      throw new RowFault(`${column} is required: the product has the option ${quoteValue(name)}.`);
    if (name === undefined) throw new RowFault(`${column} needs the name of the option in the product's first row.`);
    if (options.has(name)) throw new RowFault(`The product has the option ${quoteValue(name)} twice.`);
    options.set(name, value);
  }
  if (options.size === 0) throw new RowFault('The row needs option values, because its product has several variants.');
  return options;
}

const altOf = (alt: string | undefined) => (alt === undefined ? {} : { alt });

/** The image of a row. @throws RowFault */
function readImage(rules: Rules, row: Row, column: 'image' | 'variantImage'): ImageRequest | undefined {
  const url = row.cells[column];
  if (url === undefined) return undefined;
  const fault = urlFault(url, rules.urls);
  if (fault !== undefined) throw new RowFault(`${rules.header.label(column)}: ${fault}`);
  return { url, ...altOf(column === 'image' ? cut(row.cells.imageAlt) : undefined) };
}

/** The line of a variant, without the product's images. @throws RowFault */
function readVariant(rules: Rules, { handle, slug }: ProductRows, common: Common, row: Row): ImportLine {
  const { cells } = row;
  const options = common.options && readOptions(rules, row, common.options);
  const values = [...(options?.values() ?? [])];
  // An apostrophe before digits keeps a spreadsheet from taking them for a number.
  const sku = cells.sku?.replace(/^'(?=\d)/, '') ?? deriveSku(handle, values);
  const quantity = readNumber(rules, row, 'quantity', /^-?\d{1,12}(\.0+)?$/, 'a whole number such as 3');
  const grams = readNumber(rules, row, 'grams', /^\d{1,9}(\.\d*)?$/, 'a number of grams such as 250');
  const amount = readPrice(rules, row, 'price');
  const metadata = withoutUndefined({ ...common.metadata, barcode: cut(cells.barcode?.replace(/^'(?=\d)/, '')) });
  readImage(rules, row, 'image');
  const value = withoutUndefined({
    sku,
    name: common.title && [common.title, ...values].join(', ').slice(0, 500),
    ...common.fields,
    price: amount,
    currency: amount === undefined ? undefined : rules.currency,
    compareAtPrice: readPrice(rules, row, 'compareAtPrice'),
    inventory: quantity === undefined ? undefined : Math.max(quantity, 0),
    weight: grams === undefined ? undefined : Math.round(grams),
    // Without the product's first row, its metadata is not known.
    metadata: common.title === undefined || Object.keys(metadata).length === 0 ? undefined : metadata,
    ...(options ? { group: slug, groupName: common.title, options: Object.fromEntries(options) } : { slug }),
  });
  return validateLine(row.line, row.size, value, rules.urls);
}

const positionOf = ({ cells }: Row): number =>
  /^\d{1,6}$/.test(cells.imagePosition ?? '') ? Number(cells.imagePosition) : Number.MAX_SAFE_INTEGER;

/** Adds what is not there yet, up to the limit. Returns whether it is there then. */
function addImage(images: ImageRequest[], image: ImageRequest, limit: number): boolean {
  if (images.some(({ url }) => url === image.url)) return true;
  if (images.length >= limit) return false;
  images.push(image);
  return true;
}

/**
 * Turns the rows of one product into lines of an import: one for each variant, with the images of the product at the
 * first one, and one for each row that is rejected. Every row is a line, or its image is that of a line.
 */
export function toLines(product: ProductRows, rules: Rules): ImportLine[] {
  const variants = product.rows.filter(isVariant);
  const common = commonOf(product.rows, variants);
  const lines: ImportLine[] = [];
  const imageRows: Row[] = [];
  const accepted: { product: ImportedProduct }[] = [];
  const attempt = (row: Row, act: () => void) => {
    try {
      act();
    } catch (error) {
      if (!(error instanceof RowFault)) throw error;
      lines.push(toRejection(row.line, error.message));
    }
  };
  for (const row of product.rows) {
    attempt(row, () => {
      if (!isVariant(row)) {
        if (!readImage(rules, row, 'image')) throw new RowFault('The row has neither a variant nor an image.');
        imageRows.push(row);
        return;
      }
      if (!common.options && accepted.length > 0) {
        throw new RowFault('The row needs option values, because its product has several variants.');
      }
      const image = readImage(rules, row, 'variantImage');
      const line = readVariant(rules, product, common, row);
      lines.push(line);
      if ('code' in line) return;
      if (image) line.product.images = [image];
      accepted.push(line);
      if (row.cells.image !== undefined) imageRows.push(row);
    });
  }
  const alts = new Map(imageRows.map(({ cells }) => [cells.image, cut(cells.imageAlt)]));
  for (const { product: each } of accepted) {
    if (each.images) each.images = each.images.map(({ url }) => ({ url, ...altOf(alts.get(url)) }));
  }
  const first = accepted[0]?.product;
  const own = first?.images?.[0];
  const images: ImageRequest[] = [];
  const isOwnListed = own === undefined || imageRows.some(({ cells }) => cells.image === own.url);
  for (const row of imageRows.toSorted((a, b) => positionOf(a) - positionOf(b) || a.line - b.line)) {
    attempt(row, () => {
      const image = readImage(rules, row, 'image');
      if (!first) throw new RowFault('The image needs a row with a variant of its product.');
      if (image && !addImage(images, image, maxImages - Number(!isOwnListed))) {
        throw new RowFault(`A product has at most ${maxImages} images.`);
      }
    });
  }
  if (own) addImage(images, own, maxImages);
  if (first && images.length > 0) first.images = images;
  return lines;
}
