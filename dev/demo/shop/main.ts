import { once } from 'node:events';
import { parseOptions } from '../../support/options.ts';
import { stopSignal } from '../../support/stop-signal.ts';
import { serveShop } from './server.ts';

const help = `npm run shop [-- options]

Serves an example shop, whose page calls the API from the browser with a publishable key alone: products, cart, address,
shipping, a discount code (WELCOME10), payment and the order. Run "npm start" in another terminal first. Ctrl-C ends it.

  --url URL          the API; default: http://127.0.0.1 with the port PORT or 8787
  --stripe-url URL   the Stripe emulator; default: http://127.0.0.1 with the port STRIPE_PORT or 12111
  --key KEY          a publishable key; default: pk_dev_default
  --help             print this text

Environment variable: SHOP_PORT, the port of the page; default: 8788`;

const flags = {
  url: { type: 'string', default: `http://127.0.0.1:${process.env.PORT || 8787}` },
  'stripe-url': { type: 'string', default: `http://127.0.0.1:${process.env.STRIPE_PORT || 12111}` },
  key: { type: 'string', default: 'pk_dev_default' },
  help: { type: 'boolean' },
} as const;

/** The URL without a slash at its end. */
function readUrl(option: string, text: string): string {
  if (!/^https?:/.test(text) || !URL.canParse(text))
    throw new Error(`${option} must be a URL, such as ${flags.url.default}`);
  return text.replace(/\/+$/, '');
}

function readPort(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port;
  throw new Error(
    `SHOP_PORT=${text} is not a port: set SHOP_PORT to a number from 1 to 65535, or unset it to use 8788`,
  );
}

/** Throws with a remedy if the API does not answer, or does not accept the key. */
async function checkApi(api: string, key: string): Promise<void> {
  const headers = { authorization: `Bearer ${key}` };
  const signal = AbortSignal.timeout(5_000);
  const response = await fetch(`${api}/v1/storefront`, { headers, signal }).catch(() => undefined);
  await response?.body?.cancel();
  if (response?.ok) return;
  throw new Error(
    response?.status === 401
      ? `The API at ${api} does not accept the key ${key}: name a publishable key with --key.`
      : `The API is unavailable at ${api}. Start the platform with "npm start" in another terminal, or name its address (--help).`,
  );
}

async function main(): Promise<void> {
  const { values } = parseOptions('npm run shop', { options: flags });
  if (values.help) {
    console.log(help);
    return;
  }
  if (!values.key.startsWith('pk_')) throw new Error('--key must be a publishable key (pk_…): everybody can read it.');
  const port = readPort(process.env.SHOP_PORT || '8788');
  const api = readUrl('--url', values.url);
  const stripeUrl = readUrl('--stripe-url', values['stripe-url']);
  await checkApi(api, values.key);
  const shop = await serveShop({ port, api, key: values.key, stripeUrl }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    throw new Error(`Port ${port} is in use: stop the program that uses it, or set SHOP_PORT to another port.`);
  });
  const signal = stopSignal('Stopping the shop.');
  console.log(`The shop is at ${shop.url}. It uses the API at ${api}. Press Ctrl-C to stop it.`);
  await once(signal, 'abort');
  await shop.close();
}

try {
  await main();
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
