import { neon, neonConfig } from '@neondatabase/serverless';
import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/neon-http';

type Variables = { DATABASE_URL: string; NEON_HTTP_URL: string };

let count = 0;

/**
 * The same stack with nothing in it: workerd, Drizzle, Neon's driver, the bridge, and a static answer, one row read by
 * its key, or one row inserted. No key is checked, no event is written. What the API does is compared to this.
 */
const worker = {
  async fetch(request: Request, variables: Variables): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === '/static') return Response.json({ ok: true });
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
