import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { country, id, text, time, word } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import type { Context } from '../../context.ts';
import { type TaxRateFilter, type TaxRateRow, taxRateById, taxRatePage } from '../../db/orders/tax-rates.ts';
import { runWrite } from '../refusals.ts';

export const taxRate = z
  .object({
    id,
    name: z.string(),
    country: z.string(),
    region: z.string().nullable().meta({ description: 'ISO 3166-2 without the country, such as CA' }),
    category: z.string().nullable(),
    rate: z.number().meta({ description: 'Percent' }),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'TaxRate' });

export type TaxRate = z.infer<typeof taxRate>;

const region = z
  .string()
  .regex(/^([A-Za-z]{2}-)?[A-Za-z0-9]{1,3}$/, {
    error: 'must be a region of ISO 3166-2, such as US-CA or CA',
  })
  .meta({ description: 'ISO 3166-2, with or without the country: US-CA or CA. null: the whole country' });

const fields = {
  name: text(100).meta({ description: 'As the buyer reads it', examples: ['VAT'] }),
  country,
  region: region.nullable().optional(),
  category: word(100).nullable().optional().meta({
    description: 'The `taxCategory` of products and shipping options. null: all that have no rate of their own',
  }),
  rate: z
    .number()
    .min(0)
    .max(100)
    .refine((value) => /^\d+(\.\d{1,4})?$/.test(String(value)), {
      error: 'must be a percentage with at most four decimals, such as 20 or 8.875',
    })
    .meta({ description: 'Percent, at most four decimals', examples: [8.875] }),
};

export const newTaxRate = z.strictObject(fields);

export const taxRateChange = z
  .strictObject(fields)
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

const toTaxRate = (row: TaxRateRow): TaxRate => ({
  id: row.id,
  name: row.name,
  country: row.country,
  region: row.region,
  category: row.category,
  rate: row.rate,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

async function write(context: Context, name: 'create_tax_rate' | 'update_tax_rate', input: unknown) {
  const { answer, replayed } = await runWrite<TaxRateRow & { version: number }>(context, `orders.${name}`, input);
  return { taxRate: toTaxRate(answer), version: answer.version, replayed };
}

/** @throws ApiError conflict (there is a rate for the same), validation_failed (a region of another country) */
export const createTaxRate = (context: Context, input: z.infer<typeof newTaxRate>) =>
  write(context, 'create_tax_rate', { ...input, id: newId(context.now()) });

/**
 * Changes only the given fields. Orders that were placed keep their tax.
 * @throws ApiError not_found, version_mismatch, conflict, validation_failed (a region of another country)
 */
export const updateTaxRate = (
  context: Context,
  rateId: string,
  change: z.infer<typeof taxRateChange>,
  ifMatch: number[] | undefined,
) => write(context, 'update_tax_rate', { id: rateId, ifMatch, change });

/** Orders that were placed keep their tax. @throws ApiError not_found, version_mismatch */
export async function deleteTaxRate(context: Context, rateId: string, ifMatch: number[] | undefined): Promise<void> {
  await context.db.run('orders.delete_tax_rate', context.call, { id: rateId, ifMatch });
}

/** @throws ApiError not_found */
export async function readTaxRate(context: Context, rateId: string) {
  const { rows } = await context.db.read(context.call, 'tax:read', (db) => taxRateById(db, rateId));
  const [found] = rows;
  if (!found) throw new ApiError('not_found');
  return { taxRate: toTaxRate(found.taxRate), version: found.version };
}

/** Tax rates, newest first. */
export async function listTaxRates(
  context: Context,
  filter: TaxRateFilter,
  before: string | undefined,
  limit: number,
): Promise<TaxRate[]> {
  const { rows } = await context.db.read(context.call, 'tax:read', (db) => taxRatePage(db, filter, before, limit));
  return rows.map((row) => toTaxRate(row.taxRate));
}
