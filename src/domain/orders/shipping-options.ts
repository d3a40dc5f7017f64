import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { country, currency, id, money, text, time, whole, word } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import { type ShippingOptionRow, shippingOptionById, shippingOptionPage } from '../../db/orders/shipping-options.ts';
import { runWrite } from '../refusals.ts';

export const shippingOption = z
  .object({
    id,
    name: z.string(),
    countries: z.array(country),
    currency: z.string(),
    price: money,
    freeFrom: money.nullable(),
    minWeight: whole.nullable(),
    maxWeight: whole.nullable(),
    minDays: whole.nullable(),
    maxDays: whole.nullable(),
    taxCategory: z.string().nullable(),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'ShippingOption' });

export type ShippingOption = z.infer<typeof shippingOption>;

const grams = whole.min(0).max(1_000_000_000).nullable().optional();
const days = whole.min(0).max(365).nullable().optional();

const fields = {
  name: text(200),
  countries: z
    .array(country)
    .min(1)
    .max(250)
    .refine((codes) => new Set(codes).size === codes.length, { error: 'must not name a country twice' })
    .meta({ description: 'The countries that it ships to' }),
  currency: currency.meta({ description: 'It is offered to orders in this currency' }),
  price: money,
  freeFrom: money.nullable().optional().meta({
    description: 'It costs nothing if the items, before discounts, cost this much or more',
  }),
  minWeight: grams.meta({ description: 'The least weight of all items, in grams' }),
  maxWeight: grams.meta({ description: 'The greatest weight of all items, in grams' }),
  minDays: days.meta({ description: 'The least number of days until it arrives, shown to the buyer' }),
  maxDays: days.meta({ description: 'The greatest number of days until it arrives, shown to the buyer' }),
  taxCategory: word(64).nullable().optional().meta({ description: 'Chooses the tax rate of the shipping price' }),
};

export const newShippingOption = z.strictObject(fields);

export const shippingOptionChange = z
  .strictObject(fields)
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

const toShippingOption = (row: ShippingOptionRow): ShippingOption => ({
  id: row.id,
  name: row.name,
  countries: row.countries,
  currency: row.currency,
  price: row.price,
  freeFrom: row.freeFrom,
  minWeight: row.minWeight,
  maxWeight: row.maxWeight,
  minDays: row.minDays,
  maxDays: row.maxDays,
  taxCategory: row.taxCategory,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

async function write(context: Context, name: 'create_shipping_option' | 'update_shipping_option', input: unknown) {
  const { answer, replayed } = await runWrite<ShippingOptionRow & { version: number }>(
    context,
    `orders.${name}`,
    input,
  );
  return { option: toShippingOption(answer), version: answer.version, replayed };
}

/** @throws ApiError validation_failed (decimals that the currency lacks, a maximum below its minimum) */
export const createShippingOption = (context: Context, input: z.infer<typeof newShippingOption>) =>
  write(context, 'create_shipping_option', { ...input, id: newId(context.now()) });

/** Changes only the given fields. @throws ApiError not_found, version_mismatch, validation_failed */
export const updateShippingOption = (
  context: Context,
  optionId: string,
  change: z.infer<typeof shippingOptionChange>,
  ifMatch: number[] | undefined,
) => write(context, 'update_shipping_option', { id: optionId, ifMatch, change });

/** Orders that were placed keep it. @throws ApiError not_found, version_mismatch */
export async function deleteShippingOption(context: Context, optionId: string, ifMatch: number[] | undefined) {
  await runWrite(context, 'orders.delete_shipping_option', { id: optionId, ifMatch });
}

/** @throws ApiError not_found */
export async function readShippingOption(context: Context, optionId: string) {
  const { rows } = await context.db.read(context.call, 'shipping:read', (db) => shippingOptionById(db, optionId));
  const [found] = rows;
  if (!found) throw new ApiError('not_found');
  return { option: toShippingOption(found.option), version: found.version };
}

/** Shipping options, newest first. */
export async function listShippingOptions(context: Context, before: string | undefined, limit: number) {
  const { rows } = await context.db.read(context.call, 'shipping:read', (db) => shippingOptionPage(db, before, limit));
  return rows.map((row) => toShippingOption(row.option));
}
