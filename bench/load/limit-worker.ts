import { neon, neonConfig } from '@neondatabase/serverless';
import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/neon-http';

type Variables = { DATABASE_URL: string; NEON_HTTP_URL: string };

let count = 0;

const cachedUrl = 'https://bench.fusioncommerce.internal/product';
const cachedProduct = JSON.stringify({
  id: '0'.repeat(36),
  sku: 'BENCH-1',
  name: 'A product',
  price: 10,
  currency: 'USD',
});

/** Returns a text of the cache, with one lookup. The first request stores it. */
async function readCache(): Promise<Response> {
  const cache = (caches as unknown as { default: Cache }).default;
  const found = await cache.match(cachedUrl);
  const body = (await found?.text()) ?? cachedProduct;
  if (!found) await cache.put(cachedUrl, new Response(body, { headers: { 'cache-control': 'max-age=3600' } }));
  return new Response(body, { headers: { 'content-type': 'application/json' } });
}

/**
 * A bare Worker on the same stack (workerd, Drizzle, Neon's driver, the bridge). It returns a static response or a
 * cached one, reads one row by its primary key, or inserts one row. It checks no API key and writes no event. The API
 * is compared with it.
 */
const worker = {
  async fetch(request: Request, variables: Variables): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === '/static') return Response.json({ ok: true });
    if (pathname === '/cached') return readCache();
    neonConfig.fetchEndpoint = variables.NEON_HTTP_URL;
    const db = drizzle(neon(variables.DATABASE_URL));
    count = (count + 7919) % 10_000;
    const statement =
      pathname === '/select'
        ? sql`select id, name, price from bench.rows where id = ${count + 1}`
        : sql`insert into bench.rows (tenant_id, name, price) values (${'t1'}, ${`row ${count}`}, ${'10.00'}) returning id`;
    const { rows } = await db.execute(statement);
    return Response.json(rows[0], { status: pathname === '/select' ? 200 : 201 });
  },
};

export { worker as default };
