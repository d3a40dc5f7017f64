import { type Database, importedProducts, nameOfPriceList, traceOf } from '../database.ts';
import { optionName } from '../groups.ts';
import { markOf, type Plan } from '../plan.ts';
import { grouped, pounds } from '../progress.ts';
import { digestOf, penceOf } from './compare.ts';
import type { Findings } from './findings.ts';
import type { AuditedEvent } from './orders.ts';

/** Checks that each variant that this replay has imported is in its product group with its option. */
export async function auditGroups({ client, tenant }: Database, plan: Plan, findings: Findings): Promise<void> {
  const check = findings.check('variants in their groups');
  const variants = [...plan.products.values()].filter(({ group }) => group !== undefined);
  const { rows } = await client.query<{ sku: string; slug: string | null; options: Record<string, string> }>(
    `select p.sku, g.slug, p.options from (${importedProducts}) o
     join catalog.products p on p.id = o.id left join catalog.product_groups g on g.id = p.group_id
     where p.sku = any($3)`,
    [tenant, traceOf(plan), variants.map(({ sku }) => sku)],
  );
  let found = 0;
  for (const { sku, slug, options } of rows) {
    const group = plan.products.get(sku)?.group;
    const wanted = { [optionName]: group?.variant };
    if (slug !== group?.slug) check.differ(`${sku}: in ${slug ?? 'no group'} instead of ${group?.slug}`);
    else if (digestOf(options) !== digestOf(wanted))
      check.differ(`${sku}: ${JSON.stringify(options)} instead of ${JSON.stringify(wanted)}`);
    else found++;
  }
  check.close(grouped(rows.length), grouped(found));
}

type ListRow = {
  id: string;
  currency: string;
  audience: string;
  audienceId: string | null;
  isAlwaysValid: boolean;
  priceCount: number;
};

/**
 * Checks that the price list exists once, belongs to the organization of the orders and has exactly the prices of the
 * plan, each set once. Adds its events to `events`.
 */
export async function auditPriceList(
  { client, tenant }: Database,
  plan: Plan,
  events: Map<string, AuditedEvent>,
  findings: Findings,
): Promise<void> {
  const check = findings.check('prices in the price list');
  const lists = await client.query<ListRow>(
    `select id, currency, audience, audience_id as "audienceId", price_count as "priceCount",
       starts_at is null and ends_at is null as "isAlwaysValid"
     from catalog.price_lists where tenant_id = $1 and name = $2`,
    [tenant, nameOfPriceList(plan)],
  );
  const ids = lists.rows.map(({ id }) => id);
  const wantedLists = plan.prices.length > 0 ? 1 : 0;
  if (ids.length !== wantedLists)
    check.differ(`found ${ids.length} price lists named ${nameOfPriceList(plan)} instead of ${wantedLists}`);
  const prices = await client.query<{ sku: string; minQuantity: number; price: string }>(
    `select sku, min_quantity as "minQuantity", price::text from catalog.prices where list_id = any($1)`,
    [ids],
  );
  for (const { currency, audience, audienceId, isAlwaysValid, priceCount } of lists.rows) {
    if (currency !== 'GBP') check.differ(`its currency is ${currency} instead of GBP`);
    if (audience !== 'organization' || audienceId !== markOf(plan))
      check.differ(`it is for ${[audience, audienceId].filter(Boolean).join(' ')} instead of ${markOf(plan)}`);
    if (!isAlwaysValid) check.differ('it has a start or an end');
    if (ids.length === 1 && priceCount !== prices.rows.length)
      check.differ(`it counts ${priceCount} prices, but has ${prices.rows.length}`);
  }

  const placeOf = (row: { sku: string; minQuantity: number }): string => `${row.sku} from ${row.minQuantity}`;
  const wanted = new Map(plan.prices.map((row) => [placeOf(row), BigInt(row.pence)]));
  for (const row of prices.rows) {
    const pence = wanted.get(placeOf(row));
    if (pence === undefined) check.differ(`${placeOf(row)}: ${row.price}, which the file does not give`);
    else if (penceOf(row.price) !== pence) check.differ(`${placeOf(row)}: ${row.price} instead of ${pounds(pence)}`);
    wanted.delete(placeOf(row));
  }
  for (const place of wanted.keys()) check.differ(`${place} is missing`);
  const changes = await addListEvents({ client, tenant }, ids, events);
  if (changes !== plan.prices.length)
    check.differ(`its events count ${changes} changed prices instead of ${plan.prices.length}`);
  check.close(grouped(plan.prices.length), grouped(prices.rows.length));
}

/** Adds the events of price lists to `events`. @returns how many prices they say were changed */
async function addListEvents(
  { client, tenant }: Database,
  ids: string[],
  events: Map<string, AuditedEvent>,
): Promise<number> {
  const { rows } = await client.query<{ id: string; key: string; payload: { changedPrices: number }; time: string }>(
    `select id, key, payload, extract(epoch from time) * 1000 as time from platform.events
     where tenant_id = $1 and topic = 'price-list.updated' and key = any($2)`,
    [tenant, ids],
  );
  for (const { id, key, payload, time } of rows)
    events.set(id, { topic: 'price-list.updated', key, digest: digestOf(payload), time: Number(time) });
  return rows.reduce((sum, { payload }) => sum + payload.changedPrices, 0);
}
