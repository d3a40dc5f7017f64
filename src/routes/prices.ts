import { Hono } from 'hono';
import * as z from 'zod';
import { id } from '../base/fields.ts';
import { findPrice, foundPrice, priceQuery } from '../domain/prices.ts';
import type { AppEnv } from '../http/app-env.ts';
import { operation } from '../http/operation.ts';
import { showResult } from '../http/result.ts';
import { samplePrice } from './examples.ts';

/** The price of a product: `/v1/products/{id}/price`. */
export const prices = new Hono<AppEnv>();

prices.get(
  '/:id/price',
  operation({
    id: 'getPrice',
    tag: 'Catalog',
    summary: 'Find the price that an order would get',
    description:
      "Among the price lists that apply now, an organization's comes before a customer group's, that before one for " +
      "everyone, and that before the product's own price. Of two lists of one level the lower price applies. It is " +
      'never cached. With a publishable key it shows the prices for everyone; `customerId` and `organizationId` need a ' +
      'secret key. A customer’s session shows the prices of that customer.',
    scope: 'catalog:read',
    params: z.object({ id }),
    query: z.object(priceQuery),
    responses: { 200: { description: 'The price', schema: foundPrice, example: samplePrice } },
    errors: ['not_found', 'currency_mismatch'],
  }),
  async (c) => {
    const found = await findPrice(c.var.context, c.req.valid('param').id, c.req.valid('query'));
    return showResult(c, found); // without an ETag, so nothing stores it
  },
);
