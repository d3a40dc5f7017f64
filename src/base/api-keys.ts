import { randomInt } from 'node:crypto';
import { defaultCell } from './cells.ts';

const resources = [
  ...['catalog', 'inventory', 'orders', 'campaigns', 'payments', 'shipping', 'events', 'customers', 'discounts', 'tax'],
  ...['organizations', 'invoices', 'quotes', 'webhooks', 'tenant', 'keys'],
];

/**
 * All scopes. A secret key may have any of them. A publishable key is visible in browsers, so it may only read these.
 */
export const scopes = resources.flatMap((resource) => [`${resource}:read`, `${resource}:write`]);
export const publishableScopes = ['catalog:read', 'campaigns:read'];

export const kinds = ['secret', 'publishable'] as const;
export type Kind = (typeof kinds)[number];

/** The scopes that a key of this kind may have. */
export const scopesOf = (kind: Kind): string[] => (kind === 'secret' ? scopes : publishableScopes);

const prefixes = { secret: 'sk', publishable: 'pk', session: 'cs' };

/**
 * What a key, or the token of a customer's session, begins with. The database of a request is found by it: `cellOfKey`
 * in cells.ts reads it again.
 */
const startOfKey = (kind: Kind | 'session', cell: string): string =>
  `${prefixes[kind]}_live_${cell === defaultCell ? '' : `${cell}_`}`;

/** How many characters of a key's random part are stored, so that a person can tell keys apart. */
const shownCharacters = 4;

/** The part of a key that is stored as it is. */
export const prefixOf = (key: string, kind: Kind, cell: string): string =>
  key.slice(0, startOfKey(kind, cell).length + shownCharacters);

/** 190 random bits. It has no underscore, so that nobody takes it for a cell's name. */
function makeRandomPart(): string {
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  return Array.from({ length: 32 }, () => alphabet[randomInt(alphabet.length)]).join('');
}

/** A random part, and the key that it makes in a cell. */
export function makeKey(kind: Kind | 'session'): (cell: string) => string {
  const randomPart = makeRandomPart();
  return (cell) => startOfKey(kind, cell) + randomPart;
}

/** A random part, and the token that it makes for a cart in a cell. */
export function makeCartToken(): (cell: string) => string {
  const randomPart = makeRandomPart();
  return (cell) => `ct_${cell === defaultCell ? '' : `${cell}_`}${randomPart}`;
}

export const originMessage =
  'is not an origin: give the scheme, the host, and the port if it is not the default, such as https://shop.example';

/** The origin as browsers send it. Undefined for a URL with a path, a pattern, or a name without a scheme. */
export function readOrigin(text: string): string | undefined {
  const origin = URL.canParse(text) ? new URL(text).origin : 'null';
  const isOrigin = /^https?:\/\/[\w.:[\]-]+$/.test(origin) && text.replace(/\/$/, '') === origin;
  return isOrigin ? origin : undefined;
}
