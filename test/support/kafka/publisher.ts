import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import type { KafkaRecord } from '../../../src/events/kafka/publish/publisher.ts';

export type ReceivedRequest = { method: string; path: string; headers: Record<string, unknown>; body: string };
export type FakeResponse = { status?: number; body?: unknown };

export const utf8 = (base64: string): string => Buffer.from(base64, 'base64').toString();

export const record = (value: string, overrides: Partial<KafkaRecord> = {}): KafkaRecord => ({
  topic: 'cities',
  key: `key of ${value}`,
  value: JSON.stringify({ city: value }),
  headers: { ce_specversion: '1.0', ce_id: `id of ${value}`, ce_type: 'cities', 'content-type': 'application/json' },
  ...overrides,
});

/** Starts an HTTP server that records requests and sends the result of `respond`, which can also write to `response`. */
export async function startFakeRest(
  respond: (request: ReceivedRequest, response: ServerResponse) => FakeResponse | undefined | 'silence',
) {
  const requests: ReceivedRequest[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const { method = '', url: path = '', headers } = request;
    const received = { method, path, headers, body: Buffer.concat(parts).toString() };
    requests.push(received);
    const result = respond(received, response);
    if (result === undefined || result === 'silence') return;
    const text = typeof result.body === 'string' ? result.body : JSON.stringify(result.body ?? {});
    response.writeHead(result.status ?? 200, { 'content-type': 'application/json' }).end(text);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, requests };
}
