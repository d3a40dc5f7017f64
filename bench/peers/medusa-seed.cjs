// Copied into Medusa's folder as src/scripts/seed.js and run by "medusa exec". Creates a region, a shipping option, a
// stock location and PRODUCTS products, and writes their ids to the file SEED_FILE for the benchmark.
const { writeFileSync } = require('node:fs');
const flows = require('@medusajs/medusa/core-flows');
const { ContainerRegistrationKeys, Modules, ProductStatus } = require('@medusajs/framework/utils');

const count = Number(process.env.PRODUCTS);

async function makeStore(container) {
  const query = container.resolve(ContainerRegistrationKeys.QUERY);
  const first = async (entity, fields, options = {}) => (await query.graph({ entity, fields, ...options })).data[0];
  await flows.createDefaultsWorkflow(container).run();
  const store = await first('store', ['id']);
  const channel = await first('sales_channel', ['id']);
  const currencies = [{ currency_code: 'usd', is_default: true }];
  await flows.updateStoresWorkflow(container).run({
    input: { selector: { id: store.id }, update: { supported_currencies: currencies } },
  });
  const us = { name: 'US', currency_code: 'usd', countries: ['us'], payment_providers: ['pp_system_default'] };
  const regions = await flows.createRegionsWorkflow(container).run({ input: { regions: [us] } });
  await flows.createTaxRegionsWorkflow(container).run({ input: [{ country_code: 'us', provider_id: 'tp_system' }] });
  let key = await first('api_key', ['id', 'token', 'type'], { filters: { type: 'publishable' } });
  if (!key) {
    const keys = [{ title: 'bench', type: 'publishable', created_by: '' }];
    const made = await flows.createApiKeysWorkflow(container).run({ input: { api_keys: keys } });
    key = made.result[0];
    await flows.linkSalesChannelsToApiKeyWorkflow(container).run({ input: { id: key.id, add: [channel.id] } });
  }
  return { channel, region: regions.result[0], key };
}

async function makeShipping(container, channel) {
  const link = container.resolve(ContainerRegistrationKeys.LINK);
  const fulfillment = container.resolve(Modules.FULFILLMENT);
  const address = { city: 'X', country_code: 'US', address_1: 'Y' };
  const places = await flows
    .createStockLocationsWorkflow(container)
    .run({ input: { locations: [{ name: 'Main', address }] } });
  const place = places.result[0];
  const linkTo = (to) =>
    link.create({ [Modules.STOCK_LOCATION]: { stock_location_id: place.id }, [Modules.FULFILLMENT]: to });
  await linkTo({ fulfillment_provider_id: 'manual_manual' });
  let [profile] = await fulfillment.listShippingProfiles({ type: 'default' });
  if (!profile) {
    const data = [{ name: 'Default', type: 'default' }];
    const made = await flows.createShippingProfilesWorkflow(container).run({ input: { data } });
    profile = made.result[0];
  }
  const zone = { name: 'US', geo_zones: [{ country_code: 'us', type: 'country' }] };
  const set = await fulfillment.createFulfillmentSets({ name: 'Main', type: 'shipping', service_zones: [zone] });
  await linkTo({ fulfillment_set_id: set.id });
  const options = await flows.createShippingOptionsWorkflow(container).run({
    input: [
      {
        name: 'Flat',
        price_type: 'flat',
        provider_id: 'manual_manual',
        service_zone_id: set.service_zones[0].id,
        shipping_profile_id: profile.id,
        type: { label: 'Standard', description: 'Standard', code: 'standard' },
        prices: [{ currency_code: 'usd', amount: 5 }],
        rules: [
          { attribute: 'enabled_in_store', value: 'true', operator: 'eq' },
          { attribute: 'is_return', value: 'false', operator: 'eq' },
        ],
      },
    ],
  });
  await flows.linkSalesChannelsToStockLocationWorkflow(container).run({ input: { id: place.id, add: [channel.id] } });
  return { place, profile, option: options.result[0] };
}

const productOf = (number, profile, channel) => ({
  title: `Product ${number}`,
  handle: `product-${number}`,
  description: 'lorem ipsum '.repeat(30),
  status: ProductStatus.PUBLISHED,
  shipping_profile_id: profile.id,
  options: [{ title: 'Size', values: ['One'] }],
  variants: [
    {
      title: 'One',
      sku: `SKU-${number}`,
      manage_inventory: true,
      options: { Size: 'One' },
      prices: [{ amount: 10 + (number % 90), currency_code: 'usd' }],
    },
  ],
  sales_channels: [{ id: channel.id }],
});

module.exports.default = async function seed({ container }) {
  const query = container.resolve(ContainerRegistrationKeys.QUERY);
  const { channel, region, key } = await makeStore(container);
  const { place, profile, option } = await makeShipping(container, channel);
  const variants = [];
  for (let from = 1; from <= count; from += 100) {
    const length = Math.min(100, count - from + 1);
    const products = Array.from({ length }, (_, index) => productOf(from + index, profile, channel));
    const { result } = await flows.createProductsWorkflow(container).run({ input: { products } });
    variants.push(...result.map((product) => product.variants[0].id));
  }
  const { data: items } = await query.graph({ entity: 'inventory_item', fields: ['id', 'sku'] });
  for (let from = 0; from < items.length; from += 100) {
    const levels = items
      .slice(from, from + 100)
      .map(({ id }) => ({ location_id: place.id, stocked_quantity: 100_000_000, inventory_item_id: id }));
    await flows.createInventoryLevelsWorkflow(container).run({ input: { inventory_levels: levels } });
  }
  const hotItem = items.find(({ sku }) => sku === `SKU-${count}`).id;
  writeFileSync(
    process.env.SEED_FILE,
    JSON.stringify({ key: key.token, region: region.id, shipping: option.id, variants, hotItem }),
  );
};
