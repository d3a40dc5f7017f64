import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { CheckoutRejected, HttpClient } from './http.ts';
import { versionOf } from './install.ts';
import { untilIdle } from './load.ts';
import type { PeerOptions } from './peer.ts';
import { runProgram, startProgram, waitUntilReady } from './process.ts';
import { products, type System } from './system.ts';

/** The content of the file that medusa-seed.cjs writes. */
type Seed = { key: string; region: string; shipping: string; variants: string[]; hotItem: string };
type Reply = {
  cart?: { id: string };
  payment_collection?: { id: string };
  type?: string;
  message?: string;
  error?: { message?: string };
};

const address = {
  first_name: 'Ada',
  last_name: 'Buyer',
  address_1: '1 Main St',
  city: 'X',
  province: 'us-ny',
  postal_code: '10001',
  country_code: 'us',
};

/** Creates Medusa's tables and products in a database, and starts its server. */
export async function startMedusa({ dir, port, databaseUrl, pool, started }: PeerOptions): Promise<System> {
  const cli = join('node_modules', '@medusajs', 'cli', 'cli.js');
  const seedFile = join(dir, 'seed.json');
  const env = {
    DATABASE_URL: databaseUrl,
    SEED_FILE: seedFile,
    PRODUCTS: String(products),
    MEDUSA_DISABLE_TELEMETRY: '1',
    DO_NOT_TRACK: '1',
    CI: '1',
    LOG_LEVEL: 'error',
    NODE_ENV: 'production',
  };
  const run = (...args: string[]) => runProgram(process.execPath, [cli, ...args], { cwd: dir, env, started });
  await run('db:migrate', '--skip-scripts');
  await run('exec', './src/scripts/seed.js');
  const seed = JSON.parse(await readFile(seedFile, 'utf8')) as Seed;
  const server = startProgram(process.execPath, [cli, 'start', '--host', '127.0.0.1', '--port', String(port)], {
    cwd: dir,
    env,
  });
  started(server);
  const http = new HttpClient(`http://127.0.0.1:${port}`);
  const shopPool = new pg.Pool({ connectionString: databaseUrl, max: 1 });
  shopPool.on('error', () => undefined);
  const headers = { 'content-type': 'application/json', 'x-publishable-api-key': seed.key };

  async function request(step: string, method: string, path: string, body?: unknown): Promise<Reply> {
    const response = await http.send(method, path, headers, body === undefined ? undefined : JSON.stringify(body));
    const reply = (response.text.startsWith('{') ? JSON.parse(response.text) : {}) as Reply;
    if (response.status > 299) throw new CheckoutRejected(step, `${response.status} ${reply.message ?? ''}`);
    return reply;
  }

  await waitUntilReady(server, async () => {
    const { status } = await http.send('GET', '/store/products?limit=1', headers);
    return status === 200;
  });

  let buyers = 0;
  return {
    name: 'Medusa',
    version: versionOf('medusa'),
    database: new URL(databaseUrl).pathname.slice(1),
    requests: () => http.requests,
    cpu: server.cpu,
    settle: () => untilIdle(pool, new URL(databaseUrl).pathname.slice(1)),
    async checkout(product) {
      const buyer = {
        email: `buyer-${++buyers}@example.com`,
        shipping_address: address,
        billing_address: address,
      };
      const { cart } = await request('cart', 'POST', '/store/carts', { region_id: seed.region });
      const cartPath = `/store/carts/${cart?.id}`;
      const line = { variant_id: seed.variants[product - 1], quantity: 1 };
      await request('line item', 'POST', `${cartPath}/line-items`, line);
      await request('addresses', 'POST', cartPath, buyer);
      await request('shipping options', 'GET', `/store/shipping-options?cart_id=${cart?.id}`);
      await request('shipping method', 'POST', `${cartPath}/shipping-methods`, { option_id: seed.shipping });
      const payment = await request('payment', 'POST', '/store/payment-collections', { cart_id: cart?.id });
      const sessions = `/store/payment-collections/${payment.payment_collection?.id}/payment-sessions`;
      await request('payment session', 'POST', sessions, { provider_id: 'pp_system_default' });
      const completed = await request('complete', 'POST', `${cartPath}/complete`, {});
      if (completed.type !== 'order') {
        throw new CheckoutRejected('complete', completed.error?.message ?? String(completed.type));
      }
    },
    async stock(units) {
      await shopPool.query('delete from reservation_item where inventory_item_id = $1', [seed.hotItem]);
      await shopPool.query(
        `update inventory_level set stocked_quantity = $2::numeric, reserved_quantity = 0,
           raw_stocked_quantity = jsonb_build_object('value', $2::numeric::text, 'precision', 20),
           raw_reserved_quantity = '{"value": "0", "precision": 20}'
         where inventory_item_id = $1`,
        [seed.hotItem, units],
      );
    },
    async sold() {
      const { rows } = await shopPool.query<{ n: number }>(
        `select coalesce(sum(i.quantity), 0)::int as n from order_item i
         join order_line_item l on l.id = i.item_id where l.variant_id = $1`,
        [seed.variants[products - 1]],
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
