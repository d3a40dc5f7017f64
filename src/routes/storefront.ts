import { Hono } from 'hono';
import { readStorefront, storefront as storefrontSchema } from '../domain/storefront.ts';
import type { AppEnv } from '../http/app-env.ts';
import { storefrontName } from '../http/edge-cache.ts';
import { showFromEdge } from '../http/edge-response.ts';
import { operation } from '../http/operation.ts';

/** What a shop's pages need to know about their tenant: `/v1/storefront`. */
export const storefront = new Hono<AppEnv>();

storefront.get(
  '/',
  operation({
    id: 'getStorefront',
    tag: 'Tenant',
    summary: 'Read what a storefront shows of its tenant',
    description: 'Cached at the edge for at most 30 s. A change is visible at once in the data center that made it.',
    scope: 'catalog:read',
    responses: {
      200: {
        description: 'The storefront',
        schema: storefrontSchema,
        example: {
          ...{ name: 'The tea shop', country: 'DE', currency: 'EUR', pricesIncludeTax: true },
          links: { terms: 'https://tea.example/terms', privacy: 'https://tea.example/privacy', returns: null },
          stripe: { publishableKey: 'pk_test_dev', account: null },
        },
      },
    },
    errors: [],
  }),
  (c) =>
    showFromEdge(c, 'sku', storefrontName, async () => {
      const { storefront: resource, tenant } = await readStorefront(c.var.context);
      return { resource, tenant, sku: storefrontName };
    }),
);
