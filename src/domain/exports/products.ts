import type { Context } from '../../context.ts';
import { type ExportedProductRow, exportedProducts, optionNames } from '../../db/catalog/exports.ts';
import { csvRecord, type Export, type ExportFormat, pageSize, streamRows, toExport } from './format.ts';

/** The columns of an export, in their order. An import takes the same ones. */
const columns = [
  ...['sku', 'name', 'description', 'price', 'currency', 'compareAtPrice', 'inventory', 'status', 'slug', 'weight'],
  ...['taxCategory', 'group', 'groupName', 'collections', 'image', 'metadata'],
] as const;

/** A product as a line of an import. `origin`: where its images are served. */
function toLine({ product, group, groupName, optionNames, collections }: ExportedProductRow, origin: string) {
  const { sku, name, description, price, currency, compareAtPrice, inventory, status, slug, weight } = product;
  return {
    ...{ sku, name, description, price, currency, compareAtPrice, inventory, status, slug, weight },
    taxCategory: product.taxCategory,
    ...{ group, groupName, collections },
    options: Object.fromEntries((optionNames ?? []).map((name) => [name, product.options[name]])),
    image: product.images.map(({ path }) => origin + path),
    metadata: product.metadata,
  };
}

type ExportLine = ReturnType<typeof toLine>;

/** An export without what a product does not have. A line without a group must not name its options. */
function toJsonLine({ options, ...line }: ExportLine): string {
  const fields = { ...line, ...(line.group === null ? {} : { options }) };
  return `${JSON.stringify(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)))}\n`;
}

function toCsvLine(line: ExportLine, names: string[]): string {
  const isEmpty = Object.keys(line.metadata).length === 0;
  const fields = columns.map((column) => {
    if (column === 'collections' || column === 'image') return line[column].join(' ');
    return column === 'metadata' ? (isEmpty ? '' : JSON.stringify(line.metadata)) : line[column];
  });
  // An option may have the name of what every object inherits, such as `constructor`.
  return csvRecord([...fields, ...names.map((name) => (Object.hasOwn(line.options, name) ? line.options[name] : ''))]);
}

/**
 * Every product, newest first, in the format that an import takes. `origin`: where images are served, if PUBLIC_URL is
 * not set. The names of all options are read first for CSV, whose first line has a column for each.
 * @throws ApiError forbidden
 */
export async function exportProducts(context: Context, format: ExportFormat, requestOrigin: string): Promise<Export> {
  const { call, db, settings } = context;
  const origin = settings.PUBLIC_URL?.replace(/\/+$/, '') ?? requestOrigin;
  const readRows = <T>(build: Parameters<typeof db.read<T>>[2]) => db.read(call, 'catalog:write', build);
  const names = format === 'csv' ? ((await readRows((reader) => optionNames(reader))).rows[0]?.names ?? []) : [];
  const readPage = async (before: string | undefined) => {
    const { rows } = await readRows((reader) => exportedProducts(reader, before, pageSize));
    return rows.map((row) => ({ ...row, id: row.product.id }));
  };
  const header = format === 'csv' ? csvRecord([...columns, ...names.map((name) => `option:${name}`)]) : '';
  const body = await streamRows(readPage, header, (row) => {
    const line = toLine(row, origin);
    return format === 'csv' ? toCsvLine(line, names) : toJsonLine(line);
  });
  return toExport(context, { name: 'products', format, body });
}
