import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { currency, id, instant, money, sku, text, time, whole, word } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import { type DiscountFilter, type DiscountRow, discountById, discountPage } from '../../db/orders/discounts.ts';
import { runWrite } from '../refusals.ts';

const type = z.enum(['percentage', 'amount', 'free_shipping']);

export const discount = z
  .object({
    id,
    code: z.string().nullable().meta({ description: 'null: it applies by itself' }),
    name: z.string(),
    type,
    value: money.meta({ description: 'Percent, or an amount in `currency`; 0 for free shipping' }),
    currency: z.string().nullable(),
    startsAt: time.nullable(),
    endsAt: time.nullable(),
    usageLimit: whole.nullable(),
    used: whole.nullable().meta({ description: 'How many orders use it now; null without `usageLimit`' }),
    perCustomerLimit: whole.nullable(),
    minSubtotal: money.nullable(),
    skus: z.array(z.string()).nullable(),
    collections: z.array(id).nullable(),
    combinable: z.boolean(),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Discount' });

export type Discount = z.infer<typeof discount>;

/** A code of a discount. It ignores case. */
export const discountCode = word(64);

const limitOfUses = whole.min(1).max(2_000_000_000).nullable().optional();
const each = <T extends z.ZodType<string>>(item: T) =>
  z
    .array(item)
    .min(1)
    .max(1_000)
    .refine((values) => new Set(values).size === values.length, { error: 'must not contain duplicates' })
    .nullable()
    .optional();

const fields = {
  code: discountCode.nullable().optional().meta({ description: 'Ignores case. null: it applies by itself' }),
  name: text(200),
  type,
  value: money.optional().meta({
    description: 'Percent (above 0, at most 100), or an amount in `currency`. Leave it out for free shipping',
  }),
  currency: currency.nullable().optional().meta({
    description: 'Required for an amount and with `minSubtotal`. The discount is then for orders in this currency',
  }),
  startsAt: instant.nullable().optional(),
  endsAt: instant.nullable().optional().meta({ description: 'The first moment at which it no longer applies' }),
  usageLimit: limitOfUses.meta({ description: 'How many orders may use it' }),
  perCustomerLimit: limitOfUses.meta({
    description: 'How many orders of one customer may use it, counted by e-mail address, or by customerId without one',
  }),
  minSubtotal: money.nullable().optional().meta({ description: 'Of all items of the order, before discounts' }),
  skus: each(sku).meta({
    description: 'The SKUs that it applies to, with the products of `collections`. null in both: all',
  }),
  collections: each(id).meta({
    description: 'The collections whose products it applies to, without the collections below them',
  }),
};

const combinable = z.boolean().meta({ description: 'Whether it applies together with other combinable discounts' });

export const newDiscount = z.strictObject({ ...fields, combinable: combinable.default(false) });

export const discountChange = z
  .strictObject({ ...fields, combinable })
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

const toDiscount = (row: DiscountRow): Discount => ({
  id: row.id,
  code: row.code,
  name: row.name,
  type: row.type,
  value: row.value,
  currency: row.currency,
  startsAt: row.startsAt,
  endsAt: row.endsAt,
  usageLimit: row.usageLimit,
  used: row.used,
  perCustomerLimit: row.perCustomerLimit,
  minSubtotal: row.minSubtotal,
  skus: row.skus,
  collections: row.collections,
  combinable: row.combinable,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

async function write(context: Context, name: 'create_discount' | 'update_discount', input: unknown) {
  const { answer, replayed } = await runWrite<DiscountRow & { version: number }>(context, `orders.${name}`, input);
  return { discount: toDiscount(answer), version: answer.version, replayed };
}

/** @throws ApiError conflict (another discount has the code), validation_failed */
export const createDiscount = (context: Context, input: z.infer<typeof newDiscount>) =>
  write(context, 'create_discount', { ...input, id: newId(context.now()) });

/**
 * Changes only the given fields; `skus` and `collections` are replaced as a whole. A new limit counts the uses that
 * were recorded while the discount had a limit; a limit below them only ends further uses.
 * @throws ApiError not_found, version_mismatch, conflict (another discount has the code), validation_failed
 */
export const updateDiscount = (
  context: Context,
  discountId: string,
  change: z.infer<typeof discountChange>,
  ifMatch: number[] | undefined,
) => write(context, 'update_discount', { id: discountId, ifMatch, change });

/**
 * Ends a discount and frees its code. Orders that have used it keep it. @throws ApiError not_found, version_mismatch
 */
export async function deleteDiscount(context: Context, discountId: string, ifMatch: number[] | undefined) {
  await runWrite(context, 'orders.delete_discount', { id: discountId, ifMatch });
}

/** @throws ApiError not_found */
export async function readDiscount(context: Context, discountId: string) {
  const { rows } = await context.db.read(context.call, 'discounts:read', (db) => discountById(db, discountId));
  const [found] = rows;
  if (!found) throw new ApiError('not_found');
  return { discount: toDiscount(found.discount), version: found.version };
}

/** Discounts, newest first. */
export async function listDiscounts(
  context: Context,
  filter: DiscountFilter,
  before: string | undefined,
  limit: number,
) {
  const { rows } = await context.db.read(context.call, 'discounts:read', (db) =>
    discountPage(db, filter, before, limit),
  );
  return rows.map((row) => toDiscount(row.discount));
}
