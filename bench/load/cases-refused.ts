import type { Case } from './case.ts';
import type { RejectedRequest } from './job.ts';

const size = 1_000_000;
const json = { 'content-type': 'application/json' };

const padToSize = (text: string): string => text.padEnd(size);
const repeatToSize = (item: string, wrap: (items: string) => string): string =>
  wrap(item.repeat(Math.floor(size / item.length)));

/** A case whose requests are all rejected with the status of its recipe. */
const rejectedCase = (
  name: string,
  title: string,
  request: () => Omit<RejectedRequest, 'kind'>,
  sendsKey = true,
): Case => ({
  name: `refused-${name}`,
  title: `rejected: ${title}`,
  against: ['limit-static'],
  sinks: 'none',
  counted: false,
  run(bench, turn) {
    const headers: Record<string, string> = sendsKey ? { authorization: `Bearer ${bench.fixture.secretKey}` } : {};
    return bench.load.run({ ...turn, url: bench.fixture.api, headers, recipe: { kind: 'rejected', ...request() } });
  },
});

const createProduct = (body: string, status: number) => () => ({
  ...{ method: 'POST' as const, path: '/v1/products', headers: json, body, status },
});

/** Rejected requests, most of them with a body of 1 MB. Their CPU is compared with that of a static response. */
export const rejectedCases: Case[] = [
  rejectedCase('key', '1 MB with an unknown key', () => ({
    ...{ method: 'POST', path: '/v1/products', headers: json, body: padToSize('{}'), status: 401, newKeys: true },
  })),
  rejectedCase('small', 'a small body with an unknown key', () => ({
    ...{ method: 'POST', path: '/v1/products', headers: json, body: '{}', status: 401, newKeys: true },
  })),
  rejectedCase(
    'webhook',
    '1 MB with a forged signature',
    () => {
      const signature = `t=${Math.floor(Date.now() / 1000)},v1=${'0'.repeat(64)}`;
      const headers = { ...json, 'stripe-signature': signature };
      return { method: 'POST', path: '/webhooks/stripe', headers, body: padToSize('{}'), status: 400 };
    },
    false,
  ),
  rejectedCase(
    'unsigned',
    '1 MB without a signature',
    () => ({
      ...{ method: 'POST', path: '/webhooks/stripe', headers: json, body: padToSize('{}'), status: 400 },
    }),
    false,
  ),
  rejectedCase(
    'json',
    '1 MB that is not JSON',
    createProduct(
      repeatToSize('x', (text) => `{"name":"${text}`),
      400,
    ),
  ),
  rejectedCase(
    'deep',
    '1 MB of brackets',
    createProduct(
      repeatToSize('[', (text) => text),
      400,
    ),
  ),
  rejectedCase(
    'members',
    '1 MB of unknown fields',
    createProduct(
      repeatToSize('"k":0,', (text) => `{${text}"z":1}`),
      413,
    ),
  ),
  rejectedCase(
    'numbers',
    '1 MB of numbers and one with an exponent',
    createProduct(
      repeatToSize('1,', (text) => `{"z":"1e5","a":[${text}1]}`),
      413,
    ),
  ),
  rejectedCase(
    'text',
    '1 MB in one string',
    createProduct(
      repeatToSize('x', (text) => `{"name":"${text.slice(100)}"}`),
      422,
    ),
  ),
  rejectedCase('cursor', 'a forged cursor', () => ({
    ...{ method: 'GET', path: '/v1/products?cursor=NjFlYTI5ZjYyN2VlOThhNQA', headers: {}, status: 400 },
  })),
  rejectedCase('csv', '1 MB of CSV with a wrong header line', () => ({
    ...{ method: 'POST', path: '/v1/products/import', headers: { 'content-type': 'text/csv' } },
    ...{ body: repeatToSize('a,', (text) => `${text}\n`), status: 422 },
  })),
];
