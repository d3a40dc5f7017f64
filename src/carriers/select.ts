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

export const parseSecrets = (secrets: string): string[] =>
  secrets
    .split(',')
    .map((secret) => secret.trim())
    .filter((secret) => secret !== '');

const requireVariable = (carrier: string, settings: CarrierSettings, variable: keyof CarrierSettings): string => {
  const value = settings[variable]?.trim();
  if (!value) throw new Error(`CARRIER is ${carrier}, which needs the variable ${variable}`);
  return value;
};

/** The credentials of an account at a carrier. Without secrets it rejects webhooks. */
export type Credentials = { apiKey: string; webhookSecrets: string[] };

type ServerSettings = Pick<CarrierSettings, 'SHIPPO_API_URL' | 'EASYPOST_API_URL'>;

/** Makes the carrier of this name with these credentials. `manual` is built in and has no key. */
export function makeCarrier(name: string, credentials: Credentials, settings: ServerSettings, fetch?: Send): Carrier {
  switch (name) {
    case 'manual':
      return makeManual(credentials);
    case 'shippo':
      return makeShippo({ ...credentials, baseUrl: settings.SHIPPO_API_URL, fetch });
    case 'easypost':
      return makeEasyPost({ ...credentials, baseUrl: settings.EASYPOST_API_URL, fetch });
    default:
      throw new Error(`CARRIER is ${JSON.stringify(name)}; it can be manual, shippo or easypost`);
  }
}

/** The operator's credentials for a carrier. */
function credentialsOf(name: string, settings: CarrierSettings): Credentials {
  if (name === 'shippo' || name === 'easypost') {
    const prefix = name === 'shippo' ? 'SHIPPO' : 'EASYPOST';
    return {
      apiKey: requireVariable(name, settings, `${prefix}_API_KEY`),
      webhookSecrets: parseSecrets(requireVariable(name, settings, `${prefix}_WEBHOOK_SECRET`)),
    };
  }
  return { apiKey: '', webhookSecrets: parseSecrets(settings.SHIPPING_WEBHOOK_SECRET ?? '') };
}

/**
 * Makes the carrier that CARRIER names, with the operator's credentials: `manual` (without SHIPPING_WEBHOOK_SECRET it
 * rejects tracking updates), `shippo` or `easypost`.
 * @throws Error that names the missing or invalid variable, never the value of a secret
 */
export const selectCarrier = (name: string, settings: CarrierSettings, fetch?: Send): Carrier =>
  makeCarrier(name, credentialsOf(name, settings), settings, fetch);
