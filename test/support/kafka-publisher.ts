import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import type { KafkaRecord } from '../../src/events/kafka/publish/publisher.ts';

export type Asked = { method: string; path: string; headers: Record<string, unknown>; body: string };
export type Say = { status?: number; body?: unknown };

export const utf8 = (base64: string): string => Buffer.from(base64, 'base64').toString();

export const record = (value: string, more: Partial<KafkaRecord> = {}): KafkaRecord => ({
  topic: 'cities',
  key: `key of ${value}`,
  value: JSON.stringify({ city: value }),
  headers: { ce_specversion: '1.0', ce_id: `id of ${value}`, ce_type: 'cities', 'content-type': 'application/json' },
  ...more,
});

/** An HTTP server that answers what `answer` says; it may answer by itself and say nothing. */
export async function fakeRest(answer: (asked: Asked, response: ServerResponse) => Say | undefined | 'silence') {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const { method = '', url: path = '', headers } = request;
    const one = { method, path, headers, body: Buffer.concat(parts).toString() };
    asked.push(one);
    const said = answer(one, response);
    if (said === undefined || said === 'silence') return;
    const text = typeof said.body === 'string' ? said.body : JSON.stringify(said.body ?? {});
    response.writeHead(said.status ?? 200, { 'content-type': 'application/json' }).end(text);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, asked };
}
