import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { CachedCard } from '../../src/http/edge-cards.ts';

type Isolate = typeof import('../../src/http/edge-cards.ts');

/** Loads the module again: an isolate has its own memory, and shares only the cache with the others. */
async function startIsolate(): Promise<Isolate> {
  vi.resetModules();
  return import('../../src/http/edge-cards.ts');
}

const start = Date.parse('2026-02-01T12:00:00.000Z');
const at = (ms: number): Date => new Date(start + ms);
let maxAges: (string | null)[];
beforeEach(() => {
  maxAges = [];
  const stored = new Map<string, Response>();
  vi.stubGlobal('caches', {
    default: {
      match: async (url: string) => stored.get(url)?.clone(),
      put: async (url: string, response: Response) => {
        maxAges.push(response.headers.get('cache-control'));
        stored.set(url, response);
      },
    },
  });
});
afterEach(() => vi.unstubAllGlobals());

const found = { row: { title: 'Tea', joined: 1 }, tenant: 'default' } as unknown as CachedCard['found'];
const card: CachedCard = { ...(found && { found }), readAt: start };

test('a card is served for 15 s after its read began, also by an isolate that found it in the data center', async () => {
  const [reader, other] = [await startIsolate(), await startIsolate()];
  expect(await reader.lookUpCard('code', at(0))).toBeUndefined();
  await reader.cacheCard('code', card);
  for (const isolate of [reader, other]) {
    expect(await isolate.lookUpCard('code', at(10_000))).toEqual(card);
    expect(await isolate.lookUpCard('code', at(14_999))).toEqual(card);
    expect(await isolate.lookUpCard('code', at(15_000))).toBeUndefined();
    expect(await isolate.lookUpCard('another', at(1))).toBeUndefined();
  }
  expect(reader.freshSeconds(card, at(4_000))).toBe(11);
  expect(maxAges).toEqual(['max-age=15']);
});

test('that no team has a code is remembered for 5 s', async () => {
  const isolate = await startIsolate();
  await isolate.cacheCard('code', { readAt: start });
  expect(await isolate.lookUpCard('code', at(4_999))).toEqual({ readAt: start });
  expect(await isolate.lookUpCard('code', at(5_000))).toBeUndefined();
  expect(maxAges).toEqual(['max-age=5']);
});
