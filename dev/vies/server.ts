import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { vatNumberFault } from '../../src/base/vat.ts';

export type ViesEmulator = {
  url: string;
  /** What it says about a number, instead of VALID, and once it is known: `INVALID`, `MS_UNAVAILABLE`, … */
  answers: Map<string, string | Promise<string>>;
  /** The numbers that it was asked about, oldest first. */
  requests: string[];
  close(): Promise<void>;
};

const ABOUT = `A local emulator of VIES, the VAT number register of the European Commission. It is not VIES: it asks no member state.

  GET  /ms/{country}/vat/{number}   VALID if the check digits of the number are right, otherwise INVALID
  GET  /_emulator/requests          the numbers that it was asked about
  POST /_emulator/answers           {"DE136695976": "INVALID"}: what it says about these numbers from now on, such as
                                    INVALID, MS_UNAVAILABLE, MS_MAX_CONCURRENT_REQ, SERVICE_UNAVAILABLE or TIMEOUT;
                                    null: as before
`;

const sendJson = (response: ServerResponse, status: number, body: unknown): void => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
};

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

/** The answer of VIES about a number, in its REST format. */
const answerOf = (number: string, userError: string) => ({
  isValid: userError === 'VALID',
  requestDate: new Date().toISOString(),
  userError,
  name: userError === 'VALID' ? 'EMULATED COMPANY' : '---',
  address: userError === 'VALID' ? 'EMULATED ADDRESS' : '---',
  requestIdentifier: '',
  originalVatNumber: number.slice(2),
  vatNumber: number.slice(2),
});

/** Starts the emulator of VIES on 127.0.0.1. Port 0 uses any free one. Rejects with `EADDRINUSE` if it is in use. */
export async function startVies({ port }: { port: number }): Promise<ViesEmulator> {
  const answers: ViesEmulator['answers'] = new Map();
  const requests: ViesEmulator['requests'] = [];
  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://vies').pathname);
    const [, country, rest] = /^\/ms\/([A-Z]{2})\/vat\/(.+)$/.exec(path) ?? [];
    if (request.method === 'GET' && country !== undefined && rest !== undefined) {
      const number = country + rest;
      requests.push(number);
      const said = await (answers.get(number) ?? (vatNumberFault(number) === undefined ? 'VALID' : 'INVALID'));
      sendJson(response, 200, answerOf(number, said));
    } else if (path === '/_emulator/requests') sendJson(response, 200, requests);
    else if (request.method === 'POST' && path === '/_emulator/answers') {
      for (const [number, said] of Object.entries(await readJson(request))) {
        if (typeof said === 'string') answers.set(number, said);
        else answers.delete(number);
      }
      sendJson(response, 200, [...answers.keys()]);
    } else if (path === '/') response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end(ABOUT);
    else sendJson(response, 404, { actionSucceed: false, errorWrappers: [{ error: 'NOT_FOUND' }] });
  }
  const server = createServer((request, response) => {
    handle(request, response).catch(() =>
      sendJson(response, 400, { actionSucceed: false, errorWrappers: [{ error: 'INVALID_INPUT' }] }),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answers,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
