import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { randomFrom } from '../../bench/load/recipes.ts';
import { defaultCell, qualifyTenant } from '../../src/base/cells.ts';

type Isolate = typeof import('../../src/http/edge-cache.ts');
type EdgeCache = Pick<Cache, 'match' | 'put' | 'delete'>;

/** Loads the module again: an isolate has its own memory, and shares only the cache with the others. */
async function startIsolate(): Promise<Isolate> {
  vi.resetModules();
  return import('../../src/http/edge-cache.ts');
}

const useCache = (cache: EdgeCache): void => void vi.stubGlobal('caches', { default: cache });

let tenants = 0;
let tenant = qualifyTenant('', defaultCell);
const inDefaultCell = { db: { cell: defaultCell } };
beforeEach(() => {
  tenant = qualifyTenant(`tenant-${tenants++}`, defaultCell);
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

type ReadOptions = { by?: 'sku' | 'id'; sku?: string; now?: number };

/** A read as the route makes it: the lookup, the database if there is no hit, and then the cache. */
async function read(
  isolate: Isolate,
  readDatabase: () => Promise<string> | string,
  { by = 'sku', sku = 'SKU 1/ä', now = Date.now() }: ReadOptions = {},
): Promise<{ body: string; isHit: boolean }> {
  const id = `id of ${sku}`;
  const { cached, tokens } = await isolate.lookUpProduct(tenant, by, by === 'sku' ? sku : id, new Date(now));
  if (cached) return { body: cached.body, isHit: true };
  const body = await readDatabase();
  isolate.rememberSku(tenant, { id, sku });
  if (tokens) await isolate.cacheProduct(tenant, sku, { body, etag: `"${body}"`, readAt: now, tokens });
  return { body, isHit: false };
}

const hit = (body: string) => ({ body, isHit: true });
const miss = (body: string) => ({ body, isHit: false });

describe("with Cloudflare's Cache API", () => {
  let miniflare: Miniflare;
  let real: EdgeCache;
  let operations: string[];
  /** Runs before an operation of the cache takes effect. */
  let delay: (operation: string) => Promise<void> | undefined;
  beforeAll(async () => {
    const script = 'export default { fetch: () => new Response() }';
    miniflare = new Miniflare(convertV4MiniflareOptions({ modules: true, script }));
    real = ((await miniflare.getCaches()) as unknown as { default: EdgeCache }).default;
  });
  afterAll(() => miniflare.dispose());
  beforeEach(() => {
    operations = [];
    delay = () => undefined;
    const run = async (name: string, url: unknown): Promise<void> => {
      const operation = `${name} ${String(url).split('/').slice(4).join('/')}`;
      operations.push(operation);
      await delay(operation);
    };
    useCache({
      match: (url) => run('match', url).then(() => real.match(url)),
      put: (url, response) => run('put', url).then(() => real.put(url, response)),
      delete: (url) => run('delete', url).then(() => real.delete(url)),
    });
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() });
  });
  const pass = (ms: number): void => void vi.setSystemTime(Date.now() + ms);
  const countLookups = async (action: () => Promise<unknown>): Promise<number> => {
    operations = [];
    await action();
    return operations.filter((operation) => operation.startsWith('match')).length;
  };
  /** Stops the next operation of this name until the returned function is called. */
  function holdNext(prefix: string): { reached: Promise<void>; release: () => void } {
    let release = (): void => undefined;
    let reach = (): void => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const reached = new Promise<void>((resolve) => {
      reach = resolve;
    });
    delay = (operation) => {
      if (!operation.startsWith(prefix)) return undefined;
      delay = () => undefined;
      reach();
      return released;
    };
    return { reached, release };
  }
  const many = (count: number): string[] => ['SKU 1/ä', ...Array.from({ length: count - 1 }, (_, n) => `OTHER-${n}`)];

  test('a hit needs one lookup, and a second one in an isolate that has not served the product', async () => {
    const [one, other] = [await startIsolate(), await startIsolate()];
    await read(one, () => 'old');
    pass(10_000); // the tenant had no large change for 10 s
    await read(one, () => 'not read');
    expect(await countLookups(() => read(one, () => 'not read'))).toBe(1);
    await read(other, () => 'old', { sku: 'ANOTHER' });
    expect(await countLookups(async () => expect(await read(other, () => 'not read')).toEqual(hit('old')))).toBe(2);
    expect(await countLookups(async () => expect(await read(other, () => 'not read')).toEqual(hit('old')))).toBe(1);
  });

  test('no lookup of a product needs more than two, whatever an isolate remembers', async () => {
    const [one, other] = [await startIsolate(), await startIsolate()];
    for (const isolate of [one, other, one, other]) {
      for (const wait of [0, 6_000, 6_000, 300, 600]) {
        pass(wait);
        const lookUp = () => isolate.lookUpProduct(tenant, 'sku', 'SKU 1/ä', new Date());
        expect(await countLookups(lookUp)).toBeLessThanOrEqual(2);
        await read(isolate, () => 'old');
      }
      await one.invalidateProducts(inDefaultCell, tenant, many(isolate === one ? 1 : 6));
    }
  });

  test('a product is served for 30 s from when it was read, not from when it was stored', async () => {
    const [one, other] = [await startIsolate(), await startIsolate()];
    const began = Date.now();
    await read(one, () => {
      pass(4_000);
      return 'old';
    });
    pass(6_000); // the tenant's token is now 10 s old
    for (const isolate of [one, other]) await read(isolate, () => 'x', { sku: 'ANOTHER' });
    expect(await read(one, () => 'new', { now: began + 29_999 })).toEqual(hit('old'));
    expect(await read(other, () => 'new', { now: began + 29_999 })).toEqual(hit('old'));
    expect(await read(one, () => 'new', { now: began + 30_000 })).toEqual(miss('new'));
    const { cached } = await other.lookUpProduct(tenant, 'sku', 'ANOTHER', new Date(began + 39_999));
    expect(cached).toBeDefined();
  });

  test('the first read by id teaches an isolate the SKU, and both ways then share what is cached', async () => {
    const isolate = await startIsolate();
    expect(await read(isolate, () => 'old', { by: 'id' })).toEqual(miss('old'));
    expect(await read(isolate, () => 'old', { by: 'id' })).toEqual(miss('old'));
    expect(await read(isolate, () => 'not read', { by: 'id' })).toEqual(hit('old'));
    expect(await read(isolate, () => 'not read', { by: 'sku' })).toEqual(hit('old'));
    await isolate.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
    expect(await read(isolate, () => 'new', { by: 'id' })).toEqual(miss('new'));
  });

  test.each([1, 5, 6, 40])('no isolate serves a product from before a change of %i products', async (count) => {
    const [one, other, writer] = [await startIsolate(), await startIsolate(), await startIsolate()];
    await read(one, () => 'old');
    pass(10_000);
    for (const isolate of [one, other]) await read(isolate, () => 'x', { sku: 'ANOTHER' });
    for (const isolate of [one, other]) expect(await read(isolate, () => 'not read')).toEqual(hit('old'));
    await writer.invalidateProducts(inDefaultCell, tenant, many(count));
    expect(await read(one, () => 'new')).toEqual(miss('new'));
    expect((await read(other, () => 'new')).body).toBe('new');
  });

  test('a read that began before a change and is cached after it is never served', async () => {
    const [slow, other, writer] = [await startIsolate(), await startIsolate(), await startIsolate()];
    for (const count of [1, 6]) {
      await read(slow, () => 'old');
      await writer.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
      await read(slow, async () => {
        await writer.invalidateProducts(inDefaultCell, tenant, many(count)); // committed after this read saw the old state
        return 'old';
      });
      expect(await read(slow, () => 'new')).toEqual(miss('new'));
      await writer.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
      expect(await read(other, () => 'new')).toEqual(miss('new'));
    }
  });

  test('a read that stores its product late does not replace a newer one', async () => {
    const [slow, fast, writer] = [await startIsolate(), await startIsolate(), await startIsolate()];
    await read(fast, () => 'old');
    await writer.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
    pass(10_000);
    const held = holdNext('put product');
    const late = read(slow, () => 'old');
    await held.reached;
    await writer.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
    expect(await read(fast, () => 'new')).toEqual(miss('new'));
    held.release();
    await late;
    expect(await read(fast, () => 'not read')).toEqual(hit('new'));
    expect((await read(slow, () => 'new')).body).toBe('new');
  });

  test('a token that arrives after the change does not make the old state valid', async () => {
    const [slow, writer] = [await startIsolate(), await startIsolate()];
    const held = holdNext('put token/');
    let state = 'old';
    const late = read(slow, () => state);
    await held.reached;
    state = 'new';
    await writer.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
    held.release();
    expect(await late).toEqual(miss('new'));
    expect(await read(slow, () => 'not read')).toEqual(hit('new'));
  });

  test('two changes whose invalidations arrive in the wrong order both count', async () => {
    const [reader, writer, other] = [await startIsolate(), await startIsolate(), await startIsolate()];
    const held = holdNext('delete');
    const first = writer.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
    await held.reached;
    await read(reader, async () => {
      await other.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
      return 'between';
    });
    held.release();
    await first;
    expect(await read(reader, () => 'new')).toEqual(miss('new'));
  });

  test('a large change waits until no isolate relies on a token that it remembers, and the next one need not', async () => {
    const [reader, writer] = [await startIsolate(), await startIsolate()];
    await read(reader, () => 'old');
    pass(10_000);
    await read(reader, () => 'not read');
    expect(await countLookups(() => read(reader, () => 'not read'))).toBe(1);
    let waits = 0;
    const { setTimeout: start } = globalThis;
    const timers = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((...call: Parameters<typeof start>) => {
      if (new Error().stack?.includes('edge-tokens.ts')) waits++;
      return start(...call);
    }) as typeof setTimeout);
    await writer.invalidateProducts(inDefaultCell, tenant, many(41));
    pass(1_000);
    expect(waits).toBe(1);
    expect(await read(reader, () => 'new')).toEqual(miss('new'));
    expect(await read(reader, () => 'not read')).toEqual(hit('new'));
    await writer.invalidateProducts(inDefaultCell, tenant, many(41));
    expect(waits).toBe(1);
    timers.mockRestore();
    expect(await read(reader, () => 'newer')).toEqual(miss('newer'));
  });

  test('an import of many products costs one operation of the cache a batch', async () => {
    const writer = await startIsolate();
    const batch = (count: number) => async (): Promise<number> => {
      operations = [];
      await writer.invalidateProducts(inDefaultCell, tenant, many(count));
      return operations.length;
    };
    expect(await batch(5)()).toBe(5);
    expect(await batch(40)()).toBe(41);
    pass(1_000);
    expect(await batch(250)()).toBe(1);
    expect(await batch(6)()).toBe(1);
  });

  test('the clocks of two machines may differ', async () => {
    const [reader, writer] = [await startIsolate(), await startIsolate()];
    for (const difference of [-20_000, 20_000]) {
      await read(reader, async () => {
        pass(difference); // the writer's clock
        await writer.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
        pass(-difference);
        return 'old';
      });
      expect(await read(reader, () => 'new')).toEqual(miss('new'));
      expect(await read(reader, () => 'not read')).toEqual(hit('new'));
      await writer.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
    }
  });

  test('a product is not served if the cache has lost a token', async () => {
    const isolate = await startIsolate();
    for (const lost of [`token/${encodeURIComponent('SKU 1/ä')}`, 'token']) {
      await read(isolate, () => lost);
      expect(await read(isolate, () => 'not read')).toEqual(hit(lost));
      expect(await real.delete(`https://edge.fusioncommerce.internal/${tenant}/${lost}`)).toBe(true);
      expect(await read(isolate, () => 'new')).toEqual(miss('new'));
      await isolate.invalidateProducts(inDefaultCell, tenant, ['SKU 1/ä']);
    }
  });

  test('after many reads that found no token at once, the next reads are hits or cache the product anew', async () => {
    const isolates = [await startIsolate(), await startIsolate()];
    const all = Array.from({ length: 16 }, (_, n) => read(isolates[n % 2] as Isolate, () => 'old'));
    expect(await Promise.all(all)).toEqual(all.map(() => miss('old')));
    pass(10_000);
    for (const isolate of isolates) {
      await read(isolate, () => 'x', { sku: 'ANOTHER' });
      // One of the sixteen may have stored the product's token last, and another one the tenant's. Then none was cached
      // with tokens that stayed, and this read caches the product.
      await read(isolate, () => 'old');
      expect(await read(isolate, () => 'not read')).toEqual(hit('old'));
    }
  });

  test('another tenant, and one with the same id in another cell, keeps its products', async () => {
    const isolate = await startIsolate();
    await read(isolate, () => 'old');
    await isolate.invalidateProducts(inDefaultCell, 'acme', many(6));
    await isolate.invalidateProducts(inDefaultCell, tenant, ['ANOTHER']);
    await isolate.invalidateProducts({ db: { cell: 'eu1' } }, tenant, many(6));
    await isolate.invalidateProducts({ db: { cell: 'eu1' } }, tenant, ['SKU 1/ä']);
    expect(await read(isolate, () => 'not read')).toEqual(hit('old'));
  });

  test('a broken cache cannot make a committed change fail', async () => {
    const isolate = await startIsolate();
    delay = () => Promise.reject(new Error('Too many API requests by a single Worker invocation.'));
    for (const count of [1, 6, 41]) await isolate.invalidateProducts(inDefaultCell, tenant, many(count));
  });
});

describe('with a slow cache', () => {
  /** Any operation takes effect, and any answer arrives, after a random time. */
  class SlowCache implements EdgeCache {
    private readonly entries = new Map<string, { body: string; headers: Headers }>();
    private readonly random: () => number;
    constructor(random: () => number) {
      this.random = random;
    }
    private pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, this.random() * 40));
    async match(url: RequestInfo | URL): Promise<Response | undefined> {
      await this.pause();
      const entry = this.entries.get(String(url));
      await this.pause();
      return entry && new Response(entry.body, { headers: entry.headers });
    }
    async put(url: RequestInfo | URL, response: Response): Promise<void> {
      const body = await response.text();
      await this.pause();
      this.entries.set(String(url), { body, headers: response.headers });
      await this.pause();
    }
    async delete(url: RequestInfo | URL): Promise<boolean> {
      await this.pause();
      const wasThere = this.entries.delete(String(url));
      await this.pause();
      return wasThere;
    }
  }

  test.each([1, 2, 3, 4, 5, 6])(
    'a read is never older than the last change that ended before it began (seed %i)',
    async (seed) => {
      const random = randomFrom(seed);
      const below = (limit: number): number => Math.floor(random() * limit);
      vi.useFakeTimers({ toFake: ['Date', 'setTimeout'], now: Date.now() });
      useCache(new SlowCache(random));
      const isolates = [await startIsolate(), await startIsolate(), await startIsolate()];
      const pick = (): Isolate => isolates[below(isolates.length)] as Isolate;
      const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
      const skus = Array.from({ length: 60 }, (_, n) => `SKU-${n}`);
      const stored = new Map(skus.map((sku) => [sku, 0]));
      const ended = new Map(skus.map((sku) => [sku, 0]));
      const stale: string[] = [];
      let hits = 0;

      async function reader(): Promise<void> {
        for (let count = 0; count < 600; count++) {
          await sleep(below(120));
          const sku = skus[below(4)] as string;
          const oldest = ended.get(sku) ?? 0;
          const readDatabase = async (): Promise<string> => {
            await sleep(below(100));
            const version = stored.get(sku);
            await sleep(below(300));
            return String(version);
          };
          const { body, isHit } = await read(pick(), readDatabase, { sku });
          if (isHit) hits++;
          if (Number(body) < oldest) stale.push(`${sku}: ${body} after ${oldest}`);
        }
      }
      let isReading = true;
      async function writer(): Promise<void> {
        while (isReading) {
          await sleep(below(3) === 0 ? 15_000 * random() : below(1_500));
          const count = [1, 1, 1, 8, 60][below(5)] as number;
          const changed = skus.slice(0, count);
          const versions = changed.map((sku): [string, number] => [sku, (stored.get(sku) ?? 0) + 1]);
          for (const [sku, next] of versions) stored.set(sku, next);
          await sleep(below(50));
          await pick().invalidateProducts(inDefaultCell, tenant, changed);
          for (const [sku, next] of versions) ended.set(sku, Math.max(ended.get(sku) ?? 0, next));
        }
      }
      const readers = Promise.all(Array.from({ length: 6 }, reader)).then(() => {
        isReading = false;
      });
      const all = Promise.all([readers, writer(), writer()]);
      let isDone = false;
      void all.then(() => {
        isDone = true;
      });
      while (!isDone) await vi.advanceTimersByTimeAsync(1_000);
      await all;
      expect(stale).toEqual([]);
      expect(hits).toBeGreaterThan(300);
    },
  );
});

describe('a reader', () => {
  test('needs no database call for 30 s after the database accepted its key', async () => {
    const { knownReader, rememberReader } = await startIsolate();
    const at = (ms: number): Date => new Date(1_800_000_000_000 + ms);
    const tenant = qualifyTenant('default', defaultCell);
    rememberReader('hash', tenant, at(0));
    expect(knownReader('hash', at(29_999))).toEqual({ tenant, isAllowed: true });
    expect(knownReader('hash', at(30_000))).toEqual({ tenant, isAllowed: false });
    expect(knownReader('other', at(0))).toBeUndefined();
  });
});
