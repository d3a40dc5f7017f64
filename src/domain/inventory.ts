import * as z from 'zod';
import type { Budget } from '../base/budget.ts';
import { ApiError } from '../base/errors.ts';
import { count, sku, text, time, unitsMoved } from '../base/fields.ts';
import type { Context } from '../context.ts';
import { type StockRow, stockBySku, stockPage } from '../db/inventory/queries.ts';
import type { Event } from './events.ts';
import { toMessage } from './events.ts';
import { runWrite } from './refusals.ts';

export const stock = z
  .object({
    sku,
    quantity: z.number().int().meta({ description: 'Units that can still be sold' }),
    reserved: z.number().int().meta({ description: 'Units held by orders that are not paid yet' }),
    version: z.number().int(),
    lowStockThreshold: z.number().int().nullable().meta({
      description: '`inventory.low` is emitted when the quantity falls to this number',
    }),
    updatedAt: time,
  })
  .meta({ id: 'Stock' });

export type Stock = z.infer<typeof stock>;

export const stockCount = z
  .strictObject({
    quantity: count,
    lowStockThreshold: count.nullable().meta({
      description: 'Emit `inventory.low` when the quantity falls to this number. `null`: never',
    }),
  })
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must have a quantity or a lowStockThreshold' });

export const stockAdjustment = z.strictObject({ delta: unitsMoved, reason: text(255) });

export const toStock = (row: StockRow): Stock => ({
  sku: row.sku,
  quantity: row.quantity,
  reserved: row.reserved,
  version: row.version,
  lowStockThreshold: row.lowStockThreshold,
  updatedAt: row.updatedAt,
});

async function write(context: Context, name: 'set_stock' | 'adjust_stock', input: unknown) {
  const { tenant, answer, replayed } = await runWrite<StockRow>(context, `inventory.${name}`, input);
  return { stock: toStock(answer), tenant, replayed };
}

/**
 * Sets the sellable units of a SKU to an absolute count, its threshold of low stock, or both. Held units stay held.
 * @throws ApiError not_found, version_mismatch (the version is none of `ifMatch`), validation_failed (the count plus
 * the held units exceeds the maximum)
 */
export const setStock = (
  context: Context,
  stockSku: string,
  change: z.infer<typeof stockCount>,
  ifMatch: number[] | undefined,
) => write(context, 'set_stock', { sku: stockSku, ...change, ifMatch });

/**
 * Adds `delta` units (negative: takes them out) in one conditional update.
 * @throws ApiError not_found, insufficient_inventory (it would go below zero), validation_failed (the count plus the
 * held units exceeds the maximum)
 */
export const adjustStock = (context: Context, stockSku: string, change: z.infer<typeof stockAdjustment>) =>
  write(context, 'adjust_stock', { sku: stockSku, ...change });

/** @throws ApiError not_found */
export async function readStock(context: Context, stockSku: string): Promise<Stock> {
  const { rows } = await context.db.read(context.call, 'inventory:read', (db) => stockBySku(db, stockSku));
  if (!rows[0]) throw new ApiError('not_found');
  return toStock(rows[0].stock);
}

/** Stock, ordered by SKU. */
export async function listStock(context: Context, after: string | undefined, limit: number): Promise<Stock[]> {
  const { rows } = await context.db.read(context.call, 'inventory:read', (db) => stockPage(db, after, limit));
  return rows.map((row) => toStock(row.stock));
}

/**
 * Repairs what a lost message would leave behind: decides holds that have been pending for two minutes, and returns the
 * orders that were rejected for lack of stock but not failed yet.
 */
export async function decideOverdueHolds(context: Context, budget: Budget) {
  const input = { idleSeconds: 120, holdSeconds: context.settings.RESERVATION_TTL_SECONDS, limit: 200 };
  let total = 0;
  const changed: { tenant: string; skus: string[] }[] = [];
  const refused = new Map<string, Set<string>>();
  while (budget.spend()) {
    const { decided, tenants } = await context.db.run<{
      decided: number;
      tenants: { tenant: string; skus: string[]; refused: string[] }[];
    }>('inventory.decide_forgotten', context.call, input);
    total += decided;
    for (const { tenant, skus, refused: orders } of tenants) {
      changed.push({ tenant, skus });
      refused.set(tenant, new Set([...(refused.get(tenant) ?? []), ...orders]));
    }
    if (decided === 0) break;
  }
  return { decided: total, changed, refused };
}

/**
 * Decides the holds of orders that were placed with `Prefer: respond-async`, all of one tenant's in one call. Applied
 * once for each event id. An order that was cancelled in the meantime gets no hold.
 * @returns the SKUs whose stock has changed
 */
export async function reserveOrders(context: Context, tenant: string, created: Event[]): Promise<string[]> {
  const { skus } = await context.db.run<{ decided: number; skus: string[] }>('inventory.reserve_orders', context.call, {
    tenant,
    holdSeconds: context.settings.RESERVATION_TTL_SECONDS,
    messages: created.map(toMessage),
  });
  return skus;
}
