import type { Carrier } from './carrier.ts';
import { makeEasyPost } from './easypost.ts';
import { makeManual } from './manual.ts';
import type { Send } from './provider.ts';
import { makeShippo } from './shippo.ts';

/**
 * The variables for carriers, named as in the environment. A webhook secret may be a comma-separated list: any of them
 * is accepted, so that one can be replaced without losing an update.
 */
export type CarrierSettings = {
  SHIPPING_WEBHOOK_SECRET?: string | undefined;
  SHIPPO_API_KEY?: string | undefined;
  SHIPPO_WEBHOOK_SECRET?: string | undefined;
  /** Only for a server other than api.goshippo.com. The same for EasyPost. */
  SHIPPO_API_URL?: string | undefined;
  EASYPOST_API_KEY?: string | undefined;
  EASYPOST_WEBHOOK_SECRET?: string | undefined;
  EASYPOST_API_URL?: string | undefined;
};

const parseList = (secrets: string): string[] =>
  secrets
    .split(',')
    .map((secret) => secret.trim())
    .filter((secret) => secret !== '');

const requireVariable = (carrier: string, settings: CarrierSettings, variable: keyof CarrierSettings): string => {
  const value = settings[variable]?.trim();
  if (!value) throw new Error(`CARRIER is ${carrier}, which needs the variable ${variable}`);
  return value;
};

/**
 * Makes the carrier that CARRIER names: `manual` (built in; without SHIPPING_WEBHOOK_SECRET it rejects tracking
 * updates), `shippo` or `easypost`.
 * @throws Error that names the missing or invalid variable, never the value of a secret
 */
export function selectCarrier(name: string, settings: CarrierSettings, fetch?: Send): Carrier {
  switch (name) {
    case 'manual':
      return makeManual({ webhookSecrets: parseList(settings.SHIPPING_WEBHOOK_SECRET ?? '') });
    case 'shippo':
      return makeShippo({
        apiKey: requireVariable(name, settings, 'SHIPPO_API_KEY'),
        webhookSecrets: parseList(requireVariable(name, settings, 'SHIPPO_WEBHOOK_SECRET')),
        baseUrl: settings.SHIPPO_API_URL,
        fetch,
      });
    case 'easypost':
      return makeEasyPost({
        apiKey: requireVariable(name, settings, 'EASYPOST_API_KEY'),
        webhookSecrets: parseList(requireVariable(name, settings, 'EASYPOST_WEBHOOK_SECRET')),
        baseUrl: settings.EASYPOST_API_URL,
        fetch,
      });
    default:
      throw new Error(`CARRIER is ${JSON.stringify(name)}; it can be manual, shippo or easypost`);
  }
}
