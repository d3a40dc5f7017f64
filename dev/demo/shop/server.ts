import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export type ShopPageOptions = {
  /** 0 uses any free port. */
  port: number;
  /** The address of the API. */
  api: string;
  /** A publishable key. */
  key: string;
  /** The address of the Stripe emulator. */
  stripeUrl: string;
};

export type ShopPage = { url: string; close: () => Promise<void> };

const types: Record<string, string> = {
  'index.html': 'text/html; charset=utf-8',
  'shop.css': 'text/css; charset=utf-8',
  'api.js': 'text/javascript; charset=utf-8',
  'view.js': 'text/javascript; charset=utf-8',
  'shop.js': 'text/javascript; charset=utf-8',
};

/**
 * Serves the files of this folder, and the addresses and the key in `config.json`. It is no part of the shop: any
 * server of static files can take its place. Rejects with `EADDRINUSE` if the port is in use.
 */
export async function serveShop({ port, api, key, stripeUrl }: ShopPageOptions): Promise<ShopPage> {
  const policy =
    `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' ${api} ${stripeUrl}; ` +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  const server = createServer(async (request, response) => {
    const name = new URL(request.url ?? '/', 'http://shop').pathname.slice(1) || 'index.html';
    const type = name === 'config.json' ? 'application/json' : types[name];
    if (type === undefined) {
      response.writeHead(404).end();
      return;
    }
    const body =
      name === 'config.json'
        ? JSON.stringify({ api, key, stripeUrl })
        : await readFile(join(import.meta.dirname, name));
    response.writeHead(200, { 'content-type': type, 'cache-control': 'no-cache', 'content-security-policy': policy });
    response.end(body);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
