import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import easyPostBought from '../fixtures/carriers/easypost-bought.json' with { type: 'json' };
import easyPostQuoted from '../fixtures/carriers/easypost-shipment.json' with { type: 'json' };
import voided from '../fixtures/carriers/shippo-refund.json' with { type: 'json' };
import quoted from '../fixtures/carriers/shippo-shipment.json' with { type: 'json' };
import bought from '../fixtures/carriers/shippo-transaction.json' with { type: 'json' };
import refused from '../fixtures/carriers/shippo-transaction-error.json' with { type: 'json' };

/** A fake of Shippo’s API that responds in the documented formats. */
export type FakeShippo = {
  url: string;
  /** The outcome of each purchase: `unavailable` is a 503, `reject` the documented error. */
  purchaseOutcome: (to: {
    name: string;
    street1: string;
  }) => 'sell' | 'reject' | 'unavailable' | Promise<'sell' | 'reject' | 'unavailable'>;
  /** The ids of our shipments, one for each label that was sold. */
  sold: string[];
  /** The number of attempted purchases. */
  tried: number;
  /** The outcome of requests to void a label. */
  voidOutcome: 'void' | 'reject' | 'unavailable';
  /** The ids of our shipments, one for each label that was voided. */
  voided: string[];
  /** The header `Authorization` of each call, with its path. Each key is an account with labels of its own. */
  calls: { key: string; path: string }[];
  /** By our shipment’s id: the key that bought its label, and the request for it. */
  buyers: Map<string, string>;
  requests: Map<string, unknown>;
  /** The keys that get 401. */
  rejectedKeys: Set<string>;
  close: () => Promise<void>;
};

export async function startFakeShippo(): Promise<FakeShippo> {
  const purchases: (typeof bought & { key: string })[] = [];
  const addresses = new Map<string, { name: string; street1: string }>();
  const shippo: FakeShippo = {
    url: '',
    purchaseOutcome: () => 'sell',
    sold: [],
    tried: 0,
    voidOutcome: 'void',
    voided: [],
    calls: [],
    buyers: new Map(),
    requests: new Map(),
    rejectedKeys: new Set(),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  const buy = async (key: string, metadata: string) => {
    shippo.tried++;
    const purchaseOutcome = await shippo.purchaseOutcome(addresses.get(metadata) ?? { name: '', street1: '' });
    if (purchaseOutcome === 'unavailable') return undefined;
    if (purchaseOutcome === 'reject') return { ...refused, metadata };
    shippo.sold.push(metadata);
    const number = `9200190306${String(shippo.sold.length).padStart(16, '0')}`;
    const made = { ...bought, object_id: `tx${shippo.sold.length}`, tracking_number: number, metadata };
    shippo.buyers.set(metadata, key);
    purchases.push({ ...made, key });
    return made;
  };
  const voidLabel = (transaction: string) => {
    const purchase = purchases.find(({ object_id: id }) => id === transaction);
    if (!purchase || shippo.voidOutcome === 'unavailable') return undefined;
    if (shippo.voidOutcome === 'reject') return { ...voided, transaction, status: 'ERROR' };
    purchase.status = 'REFUNDPENDING';
    shippo.voided.push(purchase.metadata);
    return { ...voided, transaction };
  };
  const server = createServer(async (request, response) => {
    const body = JSON.parse((await text(request)) || '{}');
    const path = new URL(request.url ?? '', 'http://shippo').pathname;
    const key = (request.headers.authorization ?? '').replace('ShippoToken ', '');
    shippo.calls.push({ key, path });
    if (shippo.rejectedKeys.has(key)) {
      response.writeHead(401, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ detail: `Invalid token ${key}` }));
      return;
    }
    const own = purchases.filter((purchase) => purchase.key === key);
    let answer: unknown;
    if (request.method === 'POST' && path === '/shipments') {
      addresses.set(body.metadata, body.address_to);
      shippo.requests.set(body.metadata, body);
      answer = { ...quoted, metadata: body.metadata };
    } else if (request.method === 'POST' && path === '/transactions') answer = await buy(key, body.metadata);
    else if (request.method === 'POST' && path === '/refunds') answer = voidLabel(body.transaction);
    else if (path === '/transactions') answer = { next: null, previous: null, results: own };
    else answer = own.find((purchase) => path === `/transactions/${purchase.object_id}`);
    response.writeHead(answer === undefined ? 503 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? { detail: 'Service unavailable' }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  shippo.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return shippo;
}

/** A fake of EasyPost’s API with one shipment. `keys`: the key of each call. */
export type FakeEasyPost = { url: string; keys: string[]; voided: number; close: () => Promise<void> };

export async function startFakeEasyPost(): Promise<FakeEasyPost> {
  let reference = '';
  const easyPost: FakeEasyPost = {
    url: '',
    keys: [],
    voided: 0,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  const server = createServer(async (request, response) => {
    const body = JSON.parse((await text(request)) || '{}');
    const [, encoded = ''] = (request.headers.authorization ?? '').split(' ');
    easyPost.keys.push(atob(encoded).replace(/:$/, ''));
    const path = request.url ?? '';
    const found = { ...easyPostBought, reference };
    let answer: unknown;
    if (path === '/shipments') {
      reference = body.shipment.reference;
      answer = { ...easyPostQuoted, reference };
    } else if (path.endsWith('/buy') || path === `/shipments/${found.id}`) answer = found;
    else if (path.endsWith('/refund')) {
      easyPost.voided++;
      answer = { ...found, refund_status: 'submitted' };
    }
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? { error: { code: 'NOT_FOUND', message: 'Not found.', errors: [] } }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  easyPost.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return easyPost;
}
