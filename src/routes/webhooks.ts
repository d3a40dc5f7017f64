import { Hono } from 'hono';
import * as z from 'zod';
import { readOnce } from '../base/body.ts';
import { ApiError } from '../base/errors.ts';
import { isFreshAndSignedBy, matchesSecret } from '../base/signature.ts';
import { applyAccountWebhook } from '../domain/stripe/account.ts';
import { applyStripeWebhook } from '../domain/stripe/updates.ts';
import { carrierName, receiveTracking, receiveTrackingAt } from '../domain/tracking.ts';
import { ingestPush } from '../events/external-events.ts';
import type { AppEnv, HttpContext } from '../http/app-env.ts';
import type { Operation } from '../http/declaration.ts';
import { invalidateProducts, invalidateStorefront } from '../http/edge-cache.ts';
import { operation } from '../http/operation.ts';
import { readWebhook } from '../stripe/webhook.ts';

const count = z.number().int();

/** The token of a Bearer or the password of a Basic authorization. Connectors support one or the other. */
function tokenOf(authorization: string): string {
  const [, scheme = '', credentials = ''] = /^(Bearer|Basic) +(\S+)$/i.exec(authorization) ?? [];
  if (scheme.toLowerCase() !== 'basic') return credentials;
  try {
    const text = new TextDecoder().decode(Uint8Array.from(atob(credentials), (character) => character.charCodeAt(0)));
    return text.slice(text.indexOf(':') + 1);
  } catch {
    return '';
  }
}

/** Webhooks, with bodies that their senders sign: `/webhooks`. */
export const webhooks = new Hono<AppEnv>();

const received = z.object({ received: z.literal(true) });

webhooks.post(
  '/stripe',
  operation({
    id: 'receiveStripeEvent',
    counted: 'rejected',
    tag: 'Payments',
    summary: 'Receive an event from Stripe',
    description:
      'Stripe signs the raw body. The signature’s time may differ by at most 300 s. Duplicates have no effect, and the ' +
      'order of arrival does not matter. All cells share one endpoint at Stripe. The metadata of a payment names its ' +
      'cell. An event without metadata is applied in the cell that knows its PaymentIntent. An event of a connected ' +
      'account has to be signed with the secret of the Connect endpoint, and only changes payments of that account.',
    stream: ['application/json'],
    responses: { 200: { description: 'The event was received', schema: received } },
    errors: ['invalid_signature', 'malformed_json', 'body_too_large', 'validation_failed', 'unavailable'],
  }),
  async (c) => {
    const { update, accountUpdate } = await readWebhook(
      c.var.context,
      readOnce(c.req.raw),
      c.req.header('stripe-signature'),
    );
    if (accountUpdate) {
      const { context, result } = await applyAccountWebhook(c.var.context, accountUpdate);
      c.set('context', context);
      if (result.tenant !== undefined) await invalidateStorefront(context, result.tenant);
    }
    if (update) {
      const { context, result } = await applyStripeWebhook(c.var.context, update);
      c.set('context', context);
      if (result.tenant !== undefined && result.skus) await invalidateProducts(context, result.tenant, result.skus);
    }
    return c.json({ received: true });
  },
);

const trackingWebhook: Pick<Operation, 'counted' | 'tag' | 'stream' | 'responses' | 'errors'> = {
  counted: 'rejected',
  tag: 'Shipping',
  stream: ['application/json'],
  responses: { 200: { description: 'The event was received', schema: received } },
  errors: ['malformed_json', 'invalid_signature', 'body_too_large', 'validation_failed', 'unavailable'],
};

const messageOf = (c: HttpContext) => ({
  headers: c.req.raw.headers,
  body: readOnce(c.req.raw),
  query: new URL(c.req.url).searchParams,
});

webhooks.post(
  '/shipping/:carrier',
  operation({
    ...trackingWebhook,
    id: 'receiveTracking',
    summary: 'Receive a tracking update from a carrier',
    description:
      'The carrier signs the raw body in its own way. Duplicates have no effect, and the order of arrival does not matter: ' +
      'a `delivered` parcel stays delivered. For `manual`: `{eventId, trackingNumber, status, occurredAt, detail?}` with ' +
      '`X-Signature: t=<unix seconds>,v1=<hex of HMAC-SHA256 over "<t>.<body>">`, whose time may differ by at most ' +
      '300 s. The status is `created`, `in_transit`, `delivered` or `exception`. The update is applied in the cell that ' +
      'has the parcel.',
    params: z.object({ carrier: carrierName }),
  }),
  async (c) => {
    c.set('context', await receiveTracking(c.var.context, c.req.valid('param').carrier, messageOf(c)));
    return c.json({ received: true });
  },
);

webhooks.post(
  '/shipping/:carrier/:place',
  operation({
    ...trackingWebhook,
    id: 'receiveTrackingAt',
    counted: 'rejected by the database',
    summary: 'Receive a tracking update for the parcels of one tenant, or of one cell',
    description:
      'The same as `receiveTracking`. `place` is a tenant, for its own account at the carrier: its own webhook secret signs ' +
      'the update, which can change only its parcels. Outside of the default cell it is `tenant@cell`. Or `place` is the ' +
      'name of a cell, for an account of the operator that only the tenants of one cell use. The Worker then looks for the ' +
      'parcel in this cell only, so other cells may be unavailable. `default` is the cell of `DATABASE_URL`. A tenant with ' +
      'the name of a cell is `tenant@cell` too, such as `default@default`.',
    params: z.object({
      carrier: carrierName,
      place: z.string().regex(/^[a-z0-9][a-z0-9_-]{0,62}(@[a-z][a-z0-9]{1,11})?$/),
    }),
    errors: [...trackingWebhook.errors, 'not_found'],
  }),
  async (c) => {
    const { carrier, place } = c.req.valid('param');
    c.set('context', await receiveTrackingAt(c.var.context, carrier, messageOf(c), place));
    return c.json({ received: true });
  },
);

webhooks.post(
  '/kafka',
  operation({
    id: 'receiveKafka',
    counted: 'rejected',
    tag: 'Operations',
    summary: 'Receive external events from a Kafka connector',
    description:
      'CloudEvents 1.0 (binary, structured or batched), or a JSON array of events or of records `{value, headers}`. The ' +
      'secret is a Bearer token, the password of Basic authentication, or signs the body: `X-Signature: t=<unix seconds>,' +
      'v1=<hex of HMAC-SHA256 over "<t>.<body>">`, whose time may differ by at most 300 s. Each event is applied once, by ' +
      'source and id. An event that is older than 28 days is rejected. A rejected event becomes a dead letter, and the ' +
      'response is still 200, so that the connector continues. After 503, send the request again: nothing was lost.',
    stream: ['application/json', 'application/cloudevents+json', 'application/cloudevents-batch+json'],
    responses: {
      200: {
        description:
          'How many events were passed to services (`taken`), ignored because they are our own (`own`), or kept as dead letters (`refused`)',
        schema: z.object({ taken: count, own: count, refused: count }),
        example: { taken: 2, own: 1, refused: 0 },
      },
    },
    errors: ['invalid_signature', 'body_too_large', 'not_found', 'unavailable'],
  }),
  async (c) => {
    const { context } = c.var;
    const { KAFKA_WEBHOOK_SECRET: secret } = context.settings;
    if (secret === undefined) throw new ApiError('not_found');
    const secrets = secret.split(',').map((each) => each.trim());
    const body = readOnce(c.req.raw);
    const signature = c.req.header('x-signature');
    const isGenuine =
      signature === undefined
        ? await matchesSecret(secrets, tokenOf(c.req.header('authorization') ?? ''))
        : await isFreshAndSignedBy(secrets, signature, body, context.now());
    if (!isGenuine) throw new ApiError('invalid_signature');
    // A body that is not UTF-8 becomes a dead letter: a connector would retry a rejected request for ever.
    return c.json(await ingestPush(context, c.env, c.req.raw.headers, new TextDecoder().decode(await body())));
  },
);
