import { setTimeout as sleep } from 'node:timers/promises';
import type { Noise } from './options.ts';

/**
 * The requests of the noisy tenant. They are sent by a separate process, so that they do not delay the sales process.
 */
export type NoiseJob = {
  api: string;
  /** The keys of the flood, the import and the joins. Each key has its own rate limit. */
  keys: { flood: string; import: string; campaign: string };
  campaignId: string;
  flood: number;
  noises: Noise[];
};
export type NoiseMessage = { job: NoiseJob } | { on: boolean };
/** Number of responses in the last phase, by kind of noise and by status. */
export type NoiseCounts = Record<string, Record<string, number>>;

let on = false;
let count = 0;
let counts: NoiseCounts = {};
let phase = new AbortController(); // aborts open requests at the end of a phase

const headersOf = (key: string, address: string): Record<string, string> => ({
  authorization: `Bearer ${key}`,
  'content-type': 'application/json',
  'idempotency-key': `noise-${process.pid}-${++count}`,
  // Cloudflare sets this header; workerd alone does not.
  'cf-connecting-ip': address,
});

function countResponse(noise: string, status: string): void {
  const byStatus = counts[noise] ?? {};
  byStatus[status] = (byStatus[status] ?? 0) + 1;
  counts[noise] = byStatus;
}

async function request(noise: Noise, url: string, init: RequestInit): Promise<void> {
  try {
    const response = await fetch(url, { ...init, signal: phase.signal });
    await response.arrayBuffer();
    countResponse(noise, String(response.status));
  } catch {
    countResponse(noise, 'no response');
  }
}

const post = (noise: Noise, url: string, headers: Record<string, string>, body: object): Promise<void> =>
  request(noise, url, { method: 'POST', headers, body: JSON.stringify(body) });

const order = { customerId: 'noisy', items: [{ sku: 'NOISE', quantity: 1 }] };

function flood({ api, keys }: NoiseJob, n: number): Promise<void> {
  const headers = headersOf(keys.flood, '203.0.113.1');
  if (n % 2 === 0) return post('flood', `${api}/v1/orders`, headers, order);
  return request('flood', `${api}/v1/orders?limit=100`, { headers });
}

function sendInvalidKey({ api }: NoiseJob, n: number): Promise<void> {
  const key = `sk_test_${String(n).padStart(32, '0')}`;
  return post('invalid-keys', `${api}/v1/orders`, headersOf(key, '203.0.113.2'), order);
}

function join({ api, keys, campaignId }: NoiseJob, n: number): Promise<void> {
  const url = `${api}/v1/campaigns/${campaignId}/join`;
  return post('campaign', url, headersOf(keys.campaign, '203.0.113.3'), { userId: `user-${process.pid}-${n}` });
}

const catalog = [
  'sku,name,price,currency,inventory',
  ...Array.from({ length: 5_000 }, (_, n) => `BULK-${n},Bulk ${n},9.99,USD,5`),
].join('\n');

async function repeatImport({ api, keys }: NoiseJob): Promise<void> {
  for (;;) {
    const headers = { ...headersOf(keys.import, '203.0.113.4'), 'content-type': 'text/csv' };
    if (on) await request('import', `${api}/v1/products/import`, { method: 'POST', headers, body: catalog });
    await sleep(200);
  }
}

/** Sends `rate` requests per second while the noise is on. It does not wait for responses, like independent clients. */
async function repeat(rate: number, send: (n: number) => Promise<void>): Promise<void> {
  let next = Date.now();
  for (let n = 0; ; n++) {
    if (on) void send(n);
    next = Math.max(next + 1_000 / rate, Date.now());
    await sleep(Math.max(next - Date.now(), 0));
  }
}

function start(job: NoiseJob): void {
  const isWanted = (noise: Noise): boolean => job.noises.includes(noise);
  if (isWanted('flood')) void repeat(job.flood, (n) => flood(job, n));
  if (isWanted('invalid-keys')) void repeat(20, (n) => sendInvalidKey(job, n));
  if (isWanted('campaign')) void repeat(10, (n) => join(job, n));
  if (isWanted('import')) void repeatImport(job);
}

process.on('disconnect', () => process.exit(0));
process.on('message', (message: NoiseMessage) => {
  if ('job' in message) {
    start(message.job);
    return;
  }
  on = message.on;
  if (on) return;
  phase.abort();
  phase = new AbortController();
  process.send?.(counts);
  counts = {};
});
