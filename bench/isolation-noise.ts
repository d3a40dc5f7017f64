import { setTimeout as sleep } from 'node:timers/promises';

/** What the noisy tenant is told: a process of its own, so that the calm one's times are not those of its event loop. */
export type NoiseJob = { api: string; key: string; campaignId: string; rate: number };

let count = 0;

const catalog = (): string =>
  [
    'sku,name,price,currency,inventory',
    ...Array.from({ length: 5_000 }, (_, n) => `BULK-${n},Bulk ${n},9.99,USD,5`),
  ].join('\n');

function request({ api, key, campaignId }: NoiseJob): Promise<Response> {
  const n = ++count;
  const post = (path: string, body: object, bearer = key): Promise<Response> =>
    fetch(api + path, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${bearer}`,
        'content-type': 'application/json',
        'idempotency-key': `noise-${process.pid}-${n}`,
      },
      body: JSON.stringify(body),
    });
  switch (n % 4) {
    case 0:
      return post(`/v1/campaigns/${campaignId}/join`, { userId: `user-${n}` });
    case 1:
      return post('/v1/orders', { customerId: 'noisy', items: [{ sku: 'NOISE', quantity: 1 }] });
    case 2:
      return post('/v1/orders', { customerId: 'nobody', items: [] }, `sk_test_${String(n).padStart(32, '0')}`);
    default:
      return fetch(`${api}/v1/orders?limit=100`, { headers: { authorization: `Bearer ${key}` } });
  }
}

async function importAll({ api, key }: NoiseJob): Promise<void> {
  const body = catalog();
  for (let n = 0; process.connected; n++) {
    const headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'text/csv',
      'idempotency-key': `import-${process.pid}-${n}`,
    };
    const response = await fetch(`${api}/v1/products/import`, { method: 'POST', headers, body }).catch(() => undefined);
    await response?.text().catch(() => undefined);
    await sleep(1_000);
  }
}

/** At its rate, whatever the answers take, as clients that do not wait for each other. */
async function make(job: NoiseJob): Promise<void> {
  void importAll(job);
  for (let next = Date.now(); process.connected; next += 1_000 / job.rate) {
    request(job).then(
      (response) => response.text().catch(() => undefined),
      () => undefined,
    );
    await sleep(Math.max(next - Date.now(), 0));
  }
}

process.on('disconnect', () => process.exit(0));
process.once('message', (job: NoiseJob) => void make(job));
