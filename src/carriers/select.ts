import type { Carrier } from './carrier.ts';
import { makeEasyPost } from './easypost.ts';
import { makeManual } from './manual.ts';
import type { Send } from './provider.ts';
import { makeShippo } from './shippo.ts';

/**
 * The variables that carriers need, named as in the environment. A webhook secret may be a list, separated by commas:
 * any of them is taken, so that one can be replaced without losing an update.
 */
export type CarrierSettings = {
  SHIPPING_WEBHOOK_SECRET?: string | undefined;
  SHIPPO_API_KEY?: string | undefined;
  SHIPPO_WEBHOOK_SECRET?: string | undefined;
  /** Only where something else than api.goshippo.com answers; the same for EasyPost. */
  SHIPPO_API_URL?: string | undefined;
  EASYPOST_API_KEY?: string | undefined;
  EASYPOST_WEBHOOK_SECRET?: string | undefined;
  EASYPOST_API_URL?: string | undefined;
};

const listOf = (secrets: string): string[] =>
  secrets
    .split(',')
    .map((secret) => secret.trim())
    .filter((secret) => secret !== '');

const needed = (carrier: string, settings: CarrierSettings, variable: keyof CarrierSettings): string => {
  const value = settings[variable]?.trim();
  if (!value) throw new Error(`CARRIER is ${carrier}, which needs the variable ${variable}`);
  return value;
};

/**
 * The carrier that the variable CARRIER names: `manual` (embedded; without SHIPPING_WEBHOOK_SECRET it takes no tracking
 * updates), `shippo` or `easypost`.
 * @throws Error that names the variable which is missing or wrong, never a value of a secret
 */
export function selectCarrier(name: string, settings: CarrierSettings, fetch?: Send): Carrier {
  switch (name) {
    case 'manual':
      return makeManual({ webhookSecrets: listOf(settings.SHIPPING_WEBHOOK_SECRET ?? '') });
    case 'shippo':
      return makeShippo({
        apiKey: needed(name, settings, 'SHIPPO_API_KEY'),
        webhookSecrets: listOf(needed(name, settings, 'SHIPPO_WEBHOOK_SECRET')),
        baseUrl: settings.SHIPPO_API_URL,
        fetch,
      });
    case 'easypost':
      return makeEasyPost({
        apiKey: needed(name, settings, 'EASYPOST_API_KEY'),
        webhookSecrets: listOf(needed(name, settings, 'EASYPOST_WEBHOOK_SECRET')),
        baseUrl: settings.EASYPOST_API_URL,
        fetch,
      });
    default:
      throw new Error(`CARRIER is ${JSON.stringify(name)}; it can be manual, shippo or easypost`);
  }
}
