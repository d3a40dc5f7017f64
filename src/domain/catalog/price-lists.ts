import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { currency, id, instant, money, reference, sku, text, time, whole } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import {
  type Audience,
  type PriceListRow,
  type PricePosition,
  priceListById,
  priceListPage,
  pricePage,
} from '../../db/catalog/price-lists.ts';
import { runWrite } from '../refusals.ts';

const audience = z
  .union(
    [z.literal('all'), z.strictObject({ customerGroup: reference }), z.strictObject({ organizationId: reference })],
    { error: 'must be "all", {"customerGroup": "…"} or {"organizationId": "…"}' },
  )
  .meta({ description: 'Who gets these prices: everyone, the customers of a group, or an organization' });

export const priceList = z
  .object({
    id,
    name: z.string(),
    currency: z.string(),
    startsAt: time.nullable(),
    endsAt: time.nullable(),
    audience,
    priceCount: z.number().int().meta({ description: 'How many prices it has: 100,000 at most' }),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'PriceList' });

export type PriceList = z.infer<typeof priceList>;

type Period = { startsAt?: string | null | undefined; endsAt?: string | null | undefined };

const endsAfterStart = ({ startsAt, endsAt }: Period): boolean =>
  !startsAt || !endsAt || Date.parse(startsAt) < Date.parse(endsAt);
const wrongEnd = { path: ['endsAt'], error: 'must be after startsAt' };

const fields = {
  name: text(200),
  startsAt: instant.nullable().optional().meta({ description: 'null: applies from now on' }),
  endsAt: instant.nullable().optional().meta({ description: 'The first moment at which it no longer applies' }),
  audience,
};

export const newPriceList = z.strictObject({ ...fields, currency }).refine(endsAfterStart, wrongEnd);

export const priceListChange = z
  .strictObject(fields)
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' })
  .refine(endsAfterStart, wrongEnd);

const minQuantity = whole.min(1).max(1_000_000).meta({
  description: 'The price applies from this many units on, counted over all lines of the SKU',
});

export const listPrice = z.object({ sku, minQuantity, price: money }).meta({ id: 'ListPrice' });

export const priceChanges = z.strictObject({
  prices: z
    .array(
      z.strictObject({
        sku,
        minQuantity: minQuantity.default(1),
        price: money.nullable().meta({ description: 'null removes the price' }),
      }),
    )
    .min(1)
    .max(1_000)
    .superRefine((rows, check) => {
      const seen = new Set<string>();
      for (const [index, row] of rows.entries()) {
        const place = `${row.minQuantity} ${row.sku}`;
        if (seen.has(place))
          check.addIssue({ code: 'custom', path: [index], message: 'has the SKU and minQuantity of an earlier entry' });
        seen.add(place);
      }
    }),
});

const toPriceList = (row: PriceListRow): PriceList => ({
  id: row.id,
  name: row.name,
  currency: row.currency,
  startsAt: row.startsAt,
  endsAt: row.endsAt,
  audience: row.audience,
  priceCount: row.priceCount,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

/** The audience as the database stores it. */
function audienceFields(given: Audience | undefined) {
  if (given === undefined) return {};
  if (given === 'all') return { audience: 'all', audienceId: null };
  return 'customerGroup' in given
    ? { audience: 'group', audienceId: given.customerGroup }
    : { audience: 'organization', audienceId: given.organizationId };
}

async function write(
  context: Context,
  name: `${'create' | 'update'}_price_list` | 'set_prices',
  input: unknown,
  rows = 1,
) {
  const { answer, replayed } = await runWrite<PriceListRow & { version: number }>(
    context,
    `catalog.${name}`,
    input,
    rows,
  );
  return { list: toPriceList(answer), version: answer.version, replayed };
}

/** Adds a price list without prices and emits price-list.updated. */
export const createPriceList = (context: Context, { audience: given, ...input }: z.infer<typeof newPriceList>) =>
  write(context, 'create_price_list', { ...input, ...audienceFields(given), id: newId(context.now()) });

/**
 * Changes only the given fields. The currency cannot be changed, because the prices are in it.
 * @throws ApiError not_found, version_mismatch, validation_failed (it would end before it starts)
 */
export const updatePriceList = (
  context: Context,
  listId: string,
  { audience: given, ...change }: z.infer<typeof priceListChange>,
  ifMatch: number[] | undefined,
) => write(context, 'update_price_list', { id: listId, ifMatch, change: { ...change, ...audienceFields(given) } });

/**
 * Sets and removes prices in one transaction; prices that are not named stay.
 * @throws ApiError not_found, version_mismatch, unknown_sku, validation_failed (too many decimals or prices)
 */
export const setPrices = (
  context: Context,
  listId: string,
  { prices }: z.infer<typeof priceChanges>,
  ifMatch: number[] | undefined,
) => write(context, 'set_prices', { id: listId, ifMatch, prices }, prices.length);

/** Deletes a list with its prices. @throws ApiError not_found, version_mismatch */
export async function deletePriceList(context: Context, listId: string, ifMatch: number[] | undefined): Promise<void> {
  await context.db.run('catalog.delete_price_list', context.call, { id: listId, ifMatch });
}

/** @throws ApiError not_found */
export async function readPriceList(context: Context, listId: string) {
  const { rows } = await context.db.read(context.call, 'catalog:write', (db) => priceListById(db, listId));
  const [found] = rows;
  if (!found) throw new ApiError('not_found');
  return { list: toPriceList(found.list), version: found.version };
}

/** Price lists, newest first. */
export async function listPriceLists(context: Context, before: string | undefined, limit: number) {
  const { rows } = await context.db.read(context.call, 'catalog:write', (db) => priceListPage(db, before, limit));
  return rows.map((row) => toPriceList(row.list));
}

/** The prices of a list, by SKU and minQuantity. @throws ApiError not_found */
export async function listPrices(
  context: Context,
  listId: string,
  filter: { sku?: string | undefined },
  after: PricePosition | undefined,
  limit: number,
): Promise<z.infer<typeof listPrice>[]> {
  const { rows } = await context.db.read(context.call, 'catalog:write', (db) =>
    pricePage(db, listId, filter.sku, after, limit),
  );
  if (rows.length === 0) throw new ApiError('not_found');
  return rows.flatMap(({ sku: listed, minQuantity: from, price }) =>
    listed === null || from === null || price === null ? [] : [{ sku: listed, minQuantity: from, price }],
  );
}
