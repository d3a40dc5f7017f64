import { join } from 'node:path';
import pg from 'pg';
import { CheckoutRejected, HttpClient } from './http.ts';
import { versionOf } from './install.ts';
import { untilIdle } from './load.ts';
import type { PeerOptions } from './peer.ts';
import { runProgram, startProgram, waitUntilReady } from './process.ts';
import { products, type System } from './system.ts';

const customer =
  'mutation($i:CreateCustomerInput!){setCustomerForOrder(input:$i){__typename ...on ErrorResult{message}}}';
const steps = {
  addItemToOrder:
    'mutation($v:ID!){addItemToOrder(productVariantId:$v,quantity:1){__typename ...on ErrorResult{errorCode}}}',
  setCustomerForOrder: customer,
  setOrderShippingAddress:
    'mutation($i:CreateAddressInput!){setOrderShippingAddress(input:$i){__typename ...on ErrorResult{message}}}',
  eligibleShippingMethods: '{eligibleShippingMethods{id name priceWithTax}}',
  setOrderShippingMethod:
    'mutation($id:[ID!]!){setOrderShippingMethod(shippingMethodId:$id){__typename ...on ErrorResult{message}}}',
  transitionOrderToState:
    'mutation{transitionOrderToState(state:"ArrangingPayment"){__typename ...on OrderStateTransitionError{message}}}',
  addPaymentToOrder:
    'mutation{addPaymentToOrder(input:{method:"dummy",metadata:{}}){__typename ...on Order{state} ...on ErrorResult{message}}}',
};
type Step = keyof typeof steps;

const address = {
  fullName: 'Ada Buyer',
  streetLine1: '1 Main St',
  city: 'X',
  province: 'NY',
  postalCode: '10001',
  countryCode: 'US',
};

type Reply = { data?: Record<string, unknown>; errors?: { message: string }[] };
type Outcome = { __typename?: string; errorCode?: string; message?: string; state?: string };

/** Creates Vendure's tables and products in a database, and starts its server. */
export async function startVendure({ dir, port, databaseUrl, pool, started }: PeerOptions): Promise<System> {
  const script = join(import.meta.dirname, 'vendure-server.cjs');
  const env = {
    PEER_DIR: dir,
    DATABASE_URL: databaseUrl,
    PORT: String(port),
    PRODUCTS: String(products),
    NODE_ENV: 'production',
  };
  const populate = { cwd: dir, env: { ...env, POPULATE: '1' }, started };
  await runProgram(process.execPath, [script], populate);
  const server = startProgram(process.execPath, [script], { cwd: dir, env });
  started(server);
  const http = new HttpClient(`http://127.0.0.1:${port}`);
  const shopPool = new pg.Pool({ connectionString: databaseUrl, max: 1 });
  shopPool.on('error', () => undefined);

  async function request(step: Step, token: string | undefined, variables: unknown = {}) {
    const response = await http.send(
      'POST',
      '/shop-api',
      { 'content-type': 'application/json', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      JSON.stringify({ query: steps[step], variables }),
    );
    const { data, errors } = JSON.parse(response.text) as Reply;
    const result = data?.[step];
    if (!result) throw new CheckoutRejected(step, errors?.[0]?.message ?? `status ${response.status}`);
    const { __typename: type, errorCode, message } = result as Outcome;
    if (type !== undefined && type !== 'Order') throw new CheckoutRejected(step, errorCode ?? message ?? type);
    return { result, token: String(response.headers['vendure-auth-token'] ?? token) };
  }

  await waitUntilReady(server, async () => {
    const body = JSON.stringify({ query: '{product(id:1){id}}' });
    const { status, text } = await http.send('POST', '/shop-api', { 'content-type': 'application/json' }, body);
    return status === 200 && text.includes('"id"');
  });

  let buyers = 0;
  return {
    name: 'Vendure',
    version: versionOf('vendure'),
    database: new URL(databaseUrl).pathname.slice(1),
    requests: () => http.requests,
    cpu: server.cpu,
    settle: () => untilIdle(pool, new URL(databaseUrl).pathname.slice(1)),
    async checkout(product) {
      const buyer = { firstName: 'Ada', lastName: 'Buyer', emailAddress: `buyer-${++buyers}@example.com` };
      const { token } = await request('addItemToOrder', undefined, { v: String(product) });
      await request('setCustomerForOrder', token, { i: buyer });
      await request('setOrderShippingAddress', token, { i: address });
      const methods = await request('eligibleShippingMethods', token);
      await request('setOrderShippingMethod', token, { id: [(methods.result as { id: string }[])[0]?.id] });
      await request('transitionOrderToState', token);
      const { result } = await request('addPaymentToOrder', token);
      const { state } = result as Outcome;
      if (state !== 'PaymentSettled') throw new CheckoutRejected('addPaymentToOrder', `the order is ${state}`);
    },
    async stock(units) {
      await shopPool.query(
        'update stock_level set "stockOnHand" = $1, "stockAllocated" = 0 where "productVariantId" = $2',
        [units, products],
      );
    },
    async sold() {
      const { rows } = await shopPool.query<{ n: number }>(
        `select coalesce(sum(l.quantity), 0)::int as n from "order" o join order_line l on l."orderId" = o.id
         where o.state = 'PaymentSettled' and l."productVariantId" = $1`,
        [products],
      );
      return rows[0]?.n ?? 0;
    },
    async stop() {
      http.close();
      await shopPool.end();
      await server.stop();
    },
  };
}
