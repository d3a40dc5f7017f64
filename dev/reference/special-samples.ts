import { examples } from './examples.ts';
import { inPython, inTypeScript } from './literals.ts';

const bodyOf = (operation: string, type: string): unknown => examples[operation]?.body?.[type];

const signedTypeScript = (secret: string, path: string, header: string, body: unknown): string =>
  `import { createHmac } from 'node:crypto';

const secret = process.env.${secret} ?? '';
const time = Math.floor(Date.now() / 1000);
const body = JSON.stringify(${inTypeScript(body)});
const signature = createHmac('sha256', secret).update(\`\${time}.\${body}\`).digest('hex');
const response = await fetch(\`\${process.env.API}${path}\`, {
  method: 'POST',
  headers: {
    '${header}': \`t=\${time},v1=\${signature}\`,
    'Content-Type': 'application/json',
  },
  body,
});
if (!response.ok) throw new Error(\`\${response.status} \${await response.text()}\`);
console.log(await response.json());`;

const signedPython = (secret: string, path: string, header: string, body: unknown): string =>
  `import hashlib
import hmac
import json
import os
import time

import requests

secret = os.environ["${secret}"].encode()
now = int(time.time())
body = json.dumps(${inPython(body)})
signature = hmac.new(secret, f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
response = requests.post(
    f"{os.environ['API']}${path}",
    headers={
        "${header}": f"t={now},v1={signature}",
        "Content-Type": "application/json",
    },
    data=body.encode(),
    timeout=30,
)
response.raise_for_status()
print(response.json())`;

const stripe = [
  'STRIPE_WEBHOOK_SECRET',
  '/webhooks/stripe',
  'Stripe-Signature',
  bodyOf('receiveStripeEvent', 'application/json'),
] as const;
const trackingAt = (path: string) =>
  ['SHIPPING_WEBHOOK_SECRET', path, 'X-Signature', bodyOf('receiveTracking', 'application/json')] as const;
const tracking = trackingAt('/webhooks/shipping/manual');
const trackingAtPlace = trackingAt('/webhooks/shipping/manual/default');
const cloudEvent = bodyOf('receiveKafka', 'application/cloudevents+json');

/** Samples of the webhooks, whose callers sign the body or send a shared secret. */
export const signedSamples: Record<string, { typescript: string; python: string }> = {
  receiveStripeEvent: { typescript: signedTypeScript(...stripe), python: signedPython(...stripe) },
  receiveTracking: { typescript: signedTypeScript(...tracking), python: signedPython(...tracking) },
  receiveTrackingAt: { typescript: signedTypeScript(...trackingAtPlace), python: signedPython(...trackingAtPlace) },
  receiveKafka: {
    typescript: `const response = await fetch(\`\${process.env.API}/webhooks/kafka\`, {
  method: 'POST',
  headers: {
    Authorization: \`Bearer \${process.env.KAFKA_WEBHOOK_SECRET}\`,
    'Content-Type': 'application/cloudevents+json',
  },
  body: JSON.stringify(${inTypeScript(cloudEvent, 1)}),
});
if (!response.ok) throw new Error(\`\${response.status} \${await response.text()}\`);
console.log(await response.json());`,
    python: `import os

import requests

response = requests.post(
    f"{os.environ['API']}/webhooks/kafka",
    headers={
        "Authorization": f"Bearer {os.environ['KAFKA_WEBHOOK_SECRET']}",
        "Content-Type": "application/cloudevents+json",
    },
    json=${inPython(cloudEvent, 1)},
    timeout=30,
)
response.raise_for_status()
print(response.json())`,
  },
};

/** Two ways to watch a campaign or team from a page. The page defines `api`, `id`, `key` (a publishable key) and `show`. */
const browserSample = (name: 'campaign' | 'team'): string => `const live = \`\${api}/v1/${name}s/\${id}/live\`;
const headers = { Authorization: \`Bearer \${key}\` };

// With fetch, and the key in a header. If "end" has reconnect: true, send the request again, with Last-Event-ID.
const response = await fetch(live, { headers });
const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
let text = '';
for (let part = await reader.read(); !part.done; part = await reader.read()) {
  const events = (text + part.value).split('\\n\\n');
  text = events.pop();
  for (const event of events) {
    const [, name] = /^event: (.*)$/m.exec(event) ?? [];
    const [, data] = /^data: (.*)$/m.exec(event) ?? [];
    if (data) show(name, JSON.parse(data));
  }
}

// With EventSource, and a token. It reconnects by itself.
const tokenResponse = await fetch(live + '-token', { method: 'POST', headers });
const { token } = await tokenResponse.json();
const source = new EventSource(live + '?token=' + token);
source.addEventListener('${name}', (event) => show('${name}', JSON.parse(event.data)));
source.addEventListener('end', (event) => {
  if (!JSON.parse(event.data).reconnect) source.close();
});`;

/** By operation id. */
export const browserSamples: Record<string, string> = {
  watchCampaign: browserSample('campaign'),
  watchTeam: browserSample('team'),
};
