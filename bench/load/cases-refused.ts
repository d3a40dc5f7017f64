import type { Case } from './cases.ts';
import type { Refused } from './job.ts';

const size = 1_000_000;
const json = { 'content-type': 'application/json' };

const padded = (text: string): string => text.padEnd(size);
const list = (item: string, around: (items: string) => string): string =>
  around(item.repeat(Math.floor(size / item.length)));

/** A case of requests that are all refused with this status. */
const refused = (name: string, title: string, request: () => Omit<Refused, 'kind'>, key = true): Case => ({
  name: `refused-${name}`,
  title: `refused: ${title}`,
  against: ['limit-static'],
  sinks: 'none',
  counted: false,
  run(bench, turn) {
    const headers: Record<string, string> = key ? { authorization: `Bearer ${bench.fixture.secretKey}` } : {};
    return bench.load.run({ ...turn, url: bench.fixture.api, headers, recipe: { kind: 'refused', ...request() } });
  },
});

const product = (body: string, status: number) => () => ({
  ...{ method: 'POST' as const, path: '/v1/products', headers: json, body, status },
});

/** Requests that are refused, most of them with a body of 1 MB. Their CPU is compared with that of a static answer. */
export const refusedCases: Case[] = [
  refused('key', '1 MB with an unknown key', () => ({
    ...{ method: 'POST', path: '/v1/products', headers: json, body: padded('{}'), status: 401, newKeys: true },
  })),
  refused('small', 'a small body with an unknown key', () => ({
    ...{ method: 'POST', path: '/v1/products', headers: json, body: '{}', status: 401, newKeys: true },
  })),
  refused(
    'webhook',
    '1 MB with a forged signature',
    () => {
      const signature = `t=${Math.floor(Date.now() / 1000)},v1=${'0'.repeat(64)}`;
      const headers = { ...json, 'stripe-signature': signature };
      return { method: 'POST', path: '/webhooks/stripe', headers, body: padded('{}'), status: 400 };
    },
    false,
  ),
  refused(
    'unsigned',
    '1 MB without a signature',
    () => ({
      ...{ method: 'POST', path: '/webhooks/stripe', headers: json, body: padded('{}'), status: 400 },
    }),
    false,
  ),
  refused(
    'json',
    '1 MB that is not JSON',
    product(
      list('x', (text) => `{"name":"${text}`),
      400,
    ),
  ),
  refused(
    'deep',
    '1 MB of brackets',
    product(
      list('[', (text) => text),
      400,
    ),
  ),
  refused(
    'members',
    '1 MB of unknown members',
    product(
      list('"k":0,', (text) => `{${text}"z":1}`),
      413,
    ),
  ),
  refused(
    'numbers',
    '1 MB of numbers beside an exponent',
    product(
      list('1,', (text) => `{"z":"1e5","a":[${text}1]}`),
      413,
    ),
  ),
  refused(
    'text',
    '1 MB of one text',
    product(
      list('x', (text) => `{"name":"${text.slice(100)}"}`),
      422,
    ),
  ),
  refused('cursor', 'a forged cursor', () => ({
    ...{ method: 'GET', path: '/v1/products?cursor=NjFlYTI5ZjYyN2VlOThhNQA', headers: {}, status: 400 },
  })),
  refused('csv', '1 MB of CSV with a wrong first line', () => ({
    ...{ method: 'POST', path: '/v1/products/import', headers: { 'content-type': 'text/csv' } },
    ...{ body: list('a,', (text) => `${text}\n`), status: 422 },
  })),
];
