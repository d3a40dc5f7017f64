import { ApiError } from '../../../base/errors.ts';
import { trimmed } from '../../../base/text.ts';

/**
 * The columns that are read, by their names in lower case: first that of the classic file, then that of today's. All
 * others are ignored. Source: https://help.shopify.com/en/manual/products/import-export/using-csv
 */
const namesOf = {
  handle: ['handle', 'url handle'],
  title: ['title'],
  body: ['body (html)', 'description'],
  vendor: ['vendor'],
  productCategory: ['product category'],
  type: ['type'],
  tags: ['tags'],
  published: ['published', 'published on online store'],
  status: ['status'],
  option1Name: ['option1 name'],
  option1Value: ['option1 value'],
  option2Name: ['option2 name'],
  option2Value: ['option2 value'],
  option3Name: ['option3 name'],
  option3Value: ['option3 value'],
  sku: ['variant sku', 'sku'],
  barcode: ['variant barcode', 'barcode'],
  grams: ['variant grams', 'weight value (grams)'],
  quantity: ['variant inventory qty', 'inventory quantity'],
  price: ['variant price', 'price'],
  compareAtPrice: ['variant compare at price', 'compare-at price'],
  image: ['image src', 'product image url'],
  imagePosition: ['image position'],
  imageAlt: ['image alt text'],
  variantImage: ['variant image', 'variant image url'],
  seoTitle: ['seo title'],
  seoDescription: ['seo description'],
} as const;

export type Column = keyof typeof namesOf;

/** A row of a file: the read fields that are not empty, and the characters of all fields, which it may keep in memory. */
export type Row = { line: number; size: number; cells: Partial<Record<Column, string>> };

/** The place of each column, and the name that the file gives it. */
export type Header = { length: number; columns: [Column, number][]; label: (column: Column) => string };

/** @throws ApiError validation_failed unless it is the first line of a product file of Shopify */
export function readHeader(fields: string[]): Header {
  const given = fields.map((field) => trimmed(field).toLowerCase());
  const columns = Object.entries(namesOf).flatMap(([column, names]): [Column, number][] => {
    const index = given.findIndex((name) => (names as readonly string[]).includes(name));
    return index === -1 ? [] : [[column as Column, index]];
  });
  const places = new Map(columns);
  if (!places.has('title') || !(places.has('handle') || places.has('price'))) {
    throw new ApiError('validation_failed', 'The first line is invalid. Nothing was changed.', {
      faults: [
        { pointer: '/1', detail: "It must be the first line of Shopify's product file, with Handle and Title." },
      ],
    });
  }
  const label = (column: Column) => trimmed(fields[places.get(column) ?? -1] ?? namesOf[column][0]);
  return { length: fields.length, columns, label };
}

export function readRow(header: Header, line: number, fields: string[]): Row {
  const cells: Row['cells'] = {};
  const size = fields.reduce((sum, field) => sum + field.length, 0);
  for (const [column, index] of header.columns) {
    const cell = trimmed(fields[index] ?? '');
    if (cell !== '') cells[column] = cell;
  }
  return { line, size, cells };
}
