import * as z from 'zod';
import { country, currency, exact, parcel, sender, siteUrl, text, webUrl, whole } from '../base/fields.ts';
import type { Context } from '../context.ts';
import { type Links, type TenantRow, taxProviders, tenantSettings } from '../db/platform/tenants.ts';
import { encryptCredentials } from './carrier-accounts.ts';
import { type ErrorResult, toApiError } from './refusals.ts';
import { carrierName } from './tracking.ts';

export const links = z
  .object({ terms: z.string().nullable(), privacy: z.string().nullable(), returns: z.string().nullable() })
  .meta({ description: 'The pages that a storefront links to; null: none' });

const days = (count: number): number => count * 86_400;
const seconds = (max: number) => whole.min(1).max(max).nullable();

const settings = {
  name: text(255),
  country: country.nullable(),
  currency: currency.nullable(),
  pricesIncludeTax: z.boolean().meta({ description: 'Whether the prices of the catalog include tax' }),
  taxProvider: z.enum(taxProviders).meta({
    description:
      '`table`: its tax rates (`/v1/tax-rates`). `stripe`: Stripe Tax, with its own account at Stripe if it has one',
  }),
  shipFrom: sender.nullable().meta({ description: 'The sender of its parcels; null: `SHIP_FROM` of the Worker' }),
  parcel: parcel
    .nullable()
    .meta({ description: 'The weight and size of its parcels; null: `SHIP_PARCEL` of the Worker' }),
  delayedPayments: z.boolean().meta({ description: 'Whether buyers may use payment methods that settle days later' }),
  automaticLabels: z.boolean().meta({
    description:
      'Whether a confirmed order with an address gets one label for all of its units automatically; otherwise the ' +
      'merchant requests its labels with `POST /v1/shipments`. A change applies to orders that are confirmed later',
  }),
  holdSeconds: seconds(days(30)).meta({
    description: 'How long stock is held for an unpaid order; null: `RESERVATION_TTL_SECONDS` of the Worker',
  }),
  cartSeconds: seconds(days(365)).meta({ description: 'How long an unused cart is kept; null: the default' }),
  approvalSeconds: seconds(days(30)).meta({
    description: 'How long an order waits for its approval; null: the default',
  }),
  graceSeconds: seconds(days(30)).meta({
    description:
      'How long an order of a successful campaign waits for its payment; null: `CAMPAIGN_GRACE_SECONDS` of the Worker, or ' +
      '`ACTION_REQUIRED_SECONDS` if the bank asks for the buyer of a saved card',
  }),
  storefrontUrl: siteUrl.nullable().meta({ description: 'Where buyers find the shop' }),
  oidc: z
    .strictObject({ issuer: siteUrl, audience: exact(255) })
    .nullable()
    .meta({ description: 'Who signs the tokens of its customers, and for which audience' }),
};

const carrier = z.object({ name: carrierName, hasApiKey: z.boolean(), hasWebhookSecret: z.boolean() });

export const tenant = z
  .object({
    id: z.string(),
    ...settings,
    carrier: carrier.nullable().meta({
      description:
        'The carrier that makes its labels, with its own account; null: `CARRIER` of the Worker, with the account of the ' +
        'operator. The credentials are never shown',
    }),
    links,
    stripeAccount: z.string().nullable().meta({ description: 'The connected account at Stripe; read-only' }),
  })
  .meta({ id: 'Tenant' });

export type Tenant = z.infer<typeof tenant>;

const link = webUrl.nullable();
/** Printable ASCII without spaces, since it becomes a header. */
const credential = (min: number) =>
  z
    .string()
    .regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without spaces')
    .min(min)
    .max(255);

export const tenantChange = z
  .strictObject({
    ...settings,
    links: z
      .strictObject({ terms: link, privacy: link, returns: link })
      .partial()
      .meta({ description: 'A link that is left out stays as it is; null removes it' }),
    carrier: z
      .strictObject({
        name: carrierName,
        apiKey: credential(1)
          .nullable()
          .optional()
          .meta({ description: 'Of your account at the carrier. `manual` needs none' }),
        webhookSecret: credential(16)
          .refine((secrets) => secrets.split(',').every((secret) => secret.length >= 16), {
            error: 'must have at least 16 characters in each secret',
          })
          .nullable()
          .optional()
          .meta({
            description:
              'Signs tracking updates to `/webhooks/shipping/{carrier}/{tenant}`; two separated by a comma while one ' +
              'replaces the other',
          }),
      })
      .nullable()
      .meta({
        description:
          'A credential that is left out stays as it is, and null removes it. Those for your earlier carriers stay too, ' +
          'so that labels which they made can be voided. Without a carrier (null) all are removed',
      }),
  })
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

/** A link that is not set is null. */
export const toLinks = (set: Links) => ({
  terms: set.terms ?? null,
  privacy: set.privacy ?? null,
  returns: set.returns ?? null,
});

/** Puts the fields in the order of the API. jsonb has its own order. */
const toTenant = (row: TenantRow): Tenant => ({
  id: row.id,
  name: row.name,
  country: row.country,
  currency: row.currency,
  pricesIncludeTax: row.pricesIncludeTax,
  taxProvider: row.taxProvider,
  shipFrom: row.shipFrom,
  parcel: row.parcel,
  carrier: row.carrier && {
    name: carrierName.parse(row.carrier.name),
    hasApiKey: row.carrier.hasApiKey,
    hasWebhookSecret: row.carrier.hasWebhookSecret,
  },
  delayedPayments: row.delayedPayments,
  automaticLabels: row.automaticLabels,
  holdSeconds: row.holdSeconds,
  cartSeconds: row.cartSeconds,
  approvalSeconds: row.approvalSeconds,
  graceSeconds: row.graceSeconds,
  links: toLinks(row.links),
  storefrontUrl: row.storefrontUrl,
  oidc: row.oidc,
  stripeAccount: row.stripeAccount,
});

/** The first row of a function that returns null without a proof, which `read` has made. */
export function only<T>(row: T | null | undefined): T {
  if (row === null || row === undefined) throw new Error('the tenant of the key has no row');
  return row;
}

/** The settings of the caller's tenant, with the version that its ETag shows. */
export async function readTenant(context: Context) {
  const { rows } = await context.db.read(context.call, 'tenant:read', tenantSettings);
  const row = only(rows[0]?.tenant);
  return { tenant: toTenant(row), version: row.version };
}

/**
 * The change with encrypted credentials. They are bound to the tenant, whose id only the database knows: so a change
 * with credentials takes a second database call.
 * @throws ApiError unavailable, without TENANT_SECRETS_KEY; forbidden
 */
async function encryptChange(context: Context, change: z.infer<typeof tenantChange>) {
  const { carrier: set } = change;
  if (typeof set?.apiKey !== 'string' && typeof set?.webhookSecret !== 'string') return change;
  const { tenant: id } = await context.db.read(context.call, 'tenant:write', tenantSettings);
  const credentials = await encryptCredentials(context.settings, id, set.name, set);
  return { ...change, carrier: { name: set.name, ...credentials } };
}

/**
 * Changes only the given fields. `ifMatch`: the versions that the client's `If-Match` accepts.
 * @throws ApiError version_mismatch, validation_failed (a carrier without a key or sender), unavailable (credentials of
 * a carrier, without TENANT_SECRETS_KEY)
 */
export async function updateTenant(
  context: Context,
  change: z.infer<typeof tenantChange>,
  ifMatch: number[] | undefined,
) {
  const { answer, replayed } = await context.db.run<{ answer: TenantRow | ErrorResult; replayed: boolean }>(
    'platform.update_tenant',
    context.call,
    { change: await encryptChange(context, change), ifMatch },
  );
  if ('error' in answer) throw toApiError(answer, replayed);
  return { tenant: toTenant(answer), version: answer.version };
}
