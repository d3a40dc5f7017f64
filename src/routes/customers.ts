import { Hono } from 'hono';
import * as z from 'zod';
import { email, id, page } from '../base/fields.ts';
import {
  createCustomer,
  customer,
  customerChange,
  listCustomers,
  newCustomer,
  readCustomer,
  updateCustomer,
} from '../domain/customers/customers.ts';
import { customerExport, eraseCustomer, exportCustomer } from '../domain/customers/personal-data.ts';
import type { AppEnv } from '../http/app-env.ts';
import { showDownload } from '../http/download.ts';
import { showResource, versionsIn } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { byId, positionOf, showPage } from '../http/paging.ts';
import { listOf, sampleCustomer, sampleOrder } from './examples.ts';

const params = z.object({ id });

/** Customers: `/v1/customers`. */
export const customers = new Hono<AppEnv>();

customers.post(
  '/',
  operation({
    id: 'createCustomer',
    tag: 'Customers',
    summary: 'Create a customer',
    description: 'An e-mail address belongs to one customer of the tenant, whatever its upper and lower case.',
    scope: 'customers:write',
    idempotency: 'optional',
    body: newCustomer,
    example: { email: 'ada@example.com', name: 'Ada Lovelace', group: 'wholesale' },
    responses: { 201: { description: 'The customer', schema: customer, example: sampleCustomer } },
    errors: ['email_taken'],
  }),
  async (c) => {
    const { customer: added, version, replayed } = await createCustomer(c.var.context, c.req.valid('json'));
    c.header('Location', `/v1/customers/${added.id}`);
    return showResource(c, added, { status: 201, version, replayed });
  },
);

customers.get(
  '/',
  operation({
    id: 'listCustomers',
    tag: 'Customers',
    summary: 'List customers, newest first',
    scope: 'customers:read',
    query: z.object({ ...page, email: email.optional().meta({ description: 'In upper or lower case' }) }),
    responses: { 200: { description: 'One page', schema: listOf(customer) } },
    errors: ['invalid_cursor'],
  }),
  async (c) => {
    const { limit, cursor, ...filter } = c.req.valid('query');
    const rows = await listCustomers(c.var.context, filter, positionOf(c, cursor, byId), limit + 1);
    return showPage(c, { rows, limit, position: (row) => row.id });
  },
);

customers.get(
  '/:id/export',
  operation({
    id: 'exportCustomer',
    tag: 'Customers',
    summary: 'Download everything that is stored about a customer',
    description: 'The customer, its carts, its places in campaigns and its orders, newest first. Streamed as JSON.',
    scope: 'customers:read',
    params,
    responses: {
      200: {
        description: 'The file',
        schema: customerExport,
        example: { customer: sampleCustomer, carts: [], places: [], waiting: [], orders: [sampleOrder] },
      },
    },
    errors: ['not_found'],
  }),
  async (c) => {
    const { id: customerId } = c.req.valid('param');
    const body = await exportCustomer(c.var.context, customerId);
    return showDownload(c, { body, type: 'application/json', fileName: `customer-${customerId}.json` });
  },
);

customers.get(
  '/:id',
  operation({
    id: 'getCustomer',
    tag: 'Customers',
    summary: 'Read a customer',
    description: 'A customer’s session reads that customer, without `metadata`, which is the merchant’s.',
    scope: 'customers:read',
    shoppers: ['session'],
    params,
    responses: { 200: { description: 'The customer', schema: customer, example: sampleCustomer } },
    errors: ['not_found'],
  }),
  async (c) => {
    const { customer: found, version } = await readCustomer(c.var.context, c.req.valid('param').id);
    return showResource(c, found, { version });
  },
);

customers.patch(
  '/:id',
  operation({
    id: 'updateCustomer',
    tag: 'Customers',
    summary: 'Change a customer',
    description:
      '`addresses` and `metadata` are replaced as a whole: send an address with its `id` to keep it. `group` decides ' +
      'which price lists apply to orders that are placed from now on. A customer’s session can change `name`, `phone` and ' +
      '`addresses` of that customer.',
    scope: 'customers:write',
    shoppers: ['session'],
    ifMatch: true,
    params,
    body: customerChange,
    example: { group: 'wholesale' },
    responses: { 200: { description: 'The changed customer', schema: customer, example: sampleCustomer } },
    errors: ['not_found', 'version_mismatch', 'email_taken'],
  }),
  async (c) => {
    const versions = versionsIn(c.req.header('if-match'));
    const { id: customerId } = c.req.valid('param');
    const { customer: changed, version } = await updateCustomer(
      c.var.context,
      customerId,
      c.req.valid('json'),
      versions,
    );
    return showResource(c, changed, { version });
  },
);

customers.delete(
  '/:id',
  operation({
    id: 'eraseCustomer',
    tag: 'Customers',
    summary: 'Erase a customer',
    description:
      'Erases the personal data of the customer: the customer itself with its sessions, and the e-mail, names, addresses ' +
      'and metadata in its orders, carts, places in campaigns, labels and stored responses. Ids, items and amounts stay. ' +
      'While an order is not shipped or a place in a campaign is not finished, the response is 409 `conflict`. Data at ' +
      'Stripe and at carriers is not erased.',
    scope: 'customers:write',
    params,
    responses: { 204: { description: 'The customer is erased' } },
    errors: ['not_found', 'conflict'],
  }),
  async (c) => {
    await eraseCustomer(c.var.context, c.req.valid('param').id);
    return c.body(null, 204);
  },
);
