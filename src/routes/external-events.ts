import * as z from 'zod';
import { readOnce } from '../base/body.ts';
import { ApiError } from '../base/errors.ts';
import { isFreshAndSignedBy, isOneOf } from '../base/signature.ts';
import { takePush } from '../events/external-events.ts';
import { route } from '../http/route.ts';

const count = z.number().int();

/** The token of a Bearer, or the password of a Basic authorization: connectors can do one or the other. */
function tokenOf(authorization: string): string {
  const [, scheme = '', credentials = ''] = /^(Bearer|Basic) +(\S+)$/i.exec(authorization) ?? [];
  if (scheme.toLowerCase() !== 'basic') return credentials;
  try {
    const text = new TextDecoder().decode(Uint8Array.from(atob(credentials), (letter) => letter.charCodeAt(0)));
    return text.slice(text.indexOf(':') + 1);
  } catch {
    return '';
  }
}

export const outsideRoutes = [
  route({
    id: 'receiveKafka',
    method: 'post',
    path: '/webhooks/kafka',
    counted: 'refused',
    tag: 'Operations',
    summary: 'Receive events of others from a Kafka connector',
    description:
      'CloudEvents 1.0: binary, structured or batched, or a JSON array of events or of records `{value, headers}`. The ' +
      'secret comes as Bearer, as the password of Basic, or signs: `X-Signature: t=<unix seconds>,v1=<hex of HMAC-SHA256 ' +
      'over "<t>.<body>">`, at most 300 s old or ahead. Each event is applied once, by source and id; one whose time is more than 28 days ago is not taken. What cannot be taken is a ' +
      'dead letter, and is answered with 200 all the same: a connector goes on behind it. 503: nothing was lost, send ' +
      'it again.',
    stream: ['application/json', 'application/cloudevents+json', 'application/cloudevents-batch+json'],
    answers: {
      200: {
        description: 'Taken: given to our services, our own that came back, kept as dead letters',
        schema: z.object({ taken: count, own: count, refused: count }),
        example: { taken: 2, own: 1, refused: 0 },
      },
    },
    errors: ['invalid_signature', 'body_too_large', 'not_found', 'unavailable'],
    async run({ context, http }) {
      const { KAFKA_WEBHOOK_SECRET: secret } = context.settings;
      if (secret === undefined) throw new ApiError('not_found');
      const secrets = secret.split(',').map((each) => each.trim());
      const body = readOnce(http.req.raw);
      const signature = http.req.header('x-signature');
      const genuine =
        signature === undefined
          ? await isOneOf(secrets, tokenOf(http.req.header('authorization') ?? ''))
          : await isFreshAndSignedBy(secrets, signature, body, context.now());
      if (!genuine) throw new ApiError('invalid_signature');
      // A connector would send a body that was refused again and again: bytes that are not UTF-8 become a dead letter.
      return {
        status: 200,
        body: await takePush(context, http.env, http.req.raw.headers, new TextDecoder().decode(await body())),
      };
    },
  }),
];
