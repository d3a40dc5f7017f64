import { nameOfPriceList } from './database.ts';
import { ReplayError } from './file.ts';
import { markOf } from './plan.ts';
import type { PlannedPrice } from './planned.ts';
import { grouped } from './progress.ts';
import type { Run } from './sell.ts';

/** The API's limit of the prices in a request. */
const pricesPerRequest = 1_000;

async function createPriceList({ plan, client }: Run): Promise<string> {
  const result = await client.send({
    path: '/v1/price-lists',
    body: {
      json: { name: nameOfPriceList(plan), currency: 'GBP', audience: { organizationId: markOf(plan) } },
    },
    idempotencyKey: `${markOf(plan)}-price-list`,
  });
  if (result.status !== 201)
    throw new ReplayError(`the price list was not created: ${result.code}, ${result.detail}. Nothing was ordered.`);
  return (result.body as { id: string }).id;
}

/**
 * Creates the price list and sets its prices, unless earlier runs have. Only the orders of this replay get its prices,
 * because it belongs to their organization.
 * @throws ReplayError if the list cannot be created or a price cannot be set; Stopped
 */
export async function setHistoricalPrices(run: Run): Promise<void> {
  const { plan, earlier, progress } = run;
  if (plan.prices.length === 0) return;
  progress.begin('Prices');
  const listId = earlier.priceList?.id ?? (await createPriceList(run));
  const isMissing = ({ sku, minQuantity }: PlannedPrice): boolean =>
    earlier.priceList?.rows.get(sku)?.has(minQuantity) !== true;
  const missing = plan.prices.filter(isMissing);
  for (let first = 0; first < missing.length; first += pricesPerRequest) {
    const rows = missing.slice(first, first + pricesPerRequest);
    const result = await run.client.send({
      method: 'PUT',
      path: `/v1/price-lists/${listId}/prices`,
      body: { json: { prices: rows.map(({ sku, minQuantity, pence }) => ({ sku, minQuantity, price: pence / 100 })) } },
      // Ignored by the API: to set a price twice changes nothing. It gives the request its own span.
      idempotencyKey: `${markOf(plan)}-prices-${plan.prices.length - missing.length + first}`,
    });
    if (result.status !== 200)
      throw new ReplayError(`the prices were not set: ${result.code}, ${result.detail}. Nothing was ordered.`);
    progress.show(() => `${grouped(first + rows.length)} of ${grouped(missing.length)} prices`);
  }
  const existing = plan.prices.length - missing.length;
  progress.end(`${grouped(missing.length)} prices set${existing > 0 ? `, ${grouped(existing)} already there` : ''}`);
}
