import { Hono } from 'hono';
import { findProvider, logIn, newSession, openSession, session } from '../domain/customers/customer-sessions.ts';
import type { AppEnv } from '../http/app-env.ts';
import { operation } from '../http/operation.ts';
import { showResult } from '../http/result.ts';
import { sampleCustomer, sampleSession } from './examples.ts';

/** Sessions of customers: `/v1/customer-sessions`. */
export const customerSessions = new Hono<AppEnv>();

customerSessions.post(
  '/',
  operation({
    id: 'createCustomerSession',
    tag: 'Customers',
    summary: 'Log a customer in',
    description:
      'With a secret key, `customerId` names any customer. With a publishable key, a page sends the `idToken` that the ' +
      "tenant's OpenID provider gave to its buyer (`oidc` of the tenant). The customer is the one who has logged in with " +
      'it before, or the one with its e-mail address if the provider has verified it. If there is none, one is created ' +
      'with that address. The session ends after an hour, with the ID token if that is earlier, and with its customer. ' +
      'Its token replaces the key of a page: it reads the catalog, and the orders, payments and shipments of its ' +
      'customer. `token` is shown only once.',
    scope: 'customers:write',
    shoppers: ['publishable'],
    counted: 'rejected',
    idempotency: 'optional',
    body: newSession,
    example: { customerId: sampleCustomer.id },
    responses: { 201: { description: 'The session', schema: session, example: sampleSession } },
    errors: [],
  }),
  async (c) => {
    const { context } = c.var;
    const { customerId, idToken } = c.req.valid('json');
    if (idToken === undefined) {
      const { session: opened, replayed } = await openSession(context, customerId ?? '');
      return showResult(c, opened, { status: 201, replayed });
    }
    const provider = await findProvider(context);
    c.set('isKeyChecked', true); // from here on, `unauthenticated` is about the ID token
    const { session: opened, replayed } = await logIn(context, provider, idToken);
    return showResult(c, opened, { status: 201, replayed });
  },
);
