import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
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
  close: () => Promise<void>;
};

export async function startFakeShippo(): Promise<FakeShippo> {
  const purchases: (typeof bought)[] = [];
  const addresses = new Map<string, { name: string; street1: string }>();
  const shippo: FakeShippo = {
    url: '',
    purchaseOutcome: () => 'sell',
    sold: [],
    tried: 0,
    voidOutcome: 'void',
    voided: [],
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  const buy = async (metadata: string) => {
    shippo.tried++;
    const purchaseOutcome = await shippo.purchaseOutcome(addresses.get(metadata) ?? { name: '', street1: '' });
    if (purchaseOutcome === 'unavailable') return undefined;
    if (purchaseOutcome === 'reject') return { ...refused, metadata };
    shippo.sold.push(metadata);
    const number = `9200190306${String(shippo.sold.length).padStart(16, '0')}`;
    const made = { ...bought, object_id: `tx${shippo.sold.length}`, tracking_number: number, metadata };
    purchases.push(made);
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
    let answer: unknown;
    if (request.method === 'POST' && path === '/shipments') {
      addresses.set(body.metadata, body.address_to);
      answer = { ...quoted, metadata: body.metadata };
    } else if (request.method === 'POST' && path === '/transactions') answer = await buy(body.metadata);
    else if (request.method === 'POST' && path === '/refunds') answer = voidLabel(body.transaction);
    else if (path === '/transactions') answer = { next: null, previous: null, results: purchases };
    else answer = purchases.find((purchase) => path === `/transactions/${purchase.object_id}`);
    response.writeHead(answer === undefined ? 503 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? { detail: 'Service unavailable' }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  shippo.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return shippo;
}
