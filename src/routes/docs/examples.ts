/** What an operation's example for a shell needs beyond its declaration. */
export type Extra = {
  /** Lines before it, that make what it works on. */
  before?: string;
  /** Lines after it, that work on what it has made. */
  after?: string;
  /** Options of curl. */
  options?: string;
  /** A query, which then takes the place of the key. */
  query?: string;
  /** The variable that keeps a member of the answer, if it is not the id of a resource that was made. */
  saves?: [variable: string, member: string];
  /** The whole example: for a caller that is no client of the API. */
  instead?: string;
};

const anOrder = `# An order to pay
ORDER_ID=$(curl -sS "$API/v1/orders" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' \\
  --data-binary '{"customerId": "customer-1", "items": [{"sku": "'"$SKU"'", "quantity": 2}]}' | field id)
`;

/** Pays the payment of PAYMENT_ID as the buyer's browser does with Stripe.js, and waits until the webhook has told. */
const paying = `# Pay it, as the buyer's browser does with Stripe.js, and wait for Stripe's webhook
INTENT_ID=$(curl -sS "$API/v1/payments/$PAYMENT_ID" -H "Authorization: Bearer $KEY" | field stripePaymentIntentId)
curl -sS "$STRIPE/v1/payment_intents/$INTENT_ID/confirm" -u "$STRIPE_KEY:" \\
  -d payment_method=pm_card_visa -d return_url=https://shop.example/paid > /dev/null
until curl -sS "$API/v1/payments/$PAYMENT_ID" -H "Authorization: Bearer $KEY" | grep -q '"status":"succeeded"'; do sleep 1; done
`;

const lostLabel = `# An order whose label cannot be printed, paid: its label becomes a dead letter
ORDER_ID=$(curl -sS "$API/v1/orders" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' \\
  --data-binary '{"customerId": "customer-1", "items": [{"sku": "'"$SKU"'", "quantity": 1}],
    "shippingAddress": {"name": "☃", "line1": "1 Main Street", "city": "Berlin", "postalCode": "10115", "country": "DE"}}' | field id)
PAYMENT_ID=$(curl -sS "$API/v1/payments" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' --data-binary '{"orderId": "'"$ORDER_ID"'"}' | field id)
${paying}until curl -sS "$API/v1/dead-letters" -H "Authorization: Bearer $KEY" | grep -q "$ORDER_ID"; do sleep 1; done
`;

const signed = (secret: string): string => `TIME=$(date +%s)
SIGNATURE="t=$TIME,v1=$(hmac "$${secret}" "$TIME.$BODY")"
`;

/** By operation. Values that differ from run to run come from the first block of the page: `shellSetup`. */
export const extras: Record<string, Extra> = {
  joinCampaign: {
    saves: ['PLACE_ORDER_ID', 'orderId'],
    after: `
# The payment of the place, with the clientSecret that the buyer confirms by Stripe.js
CLIENT_SECRET=$(curl -sS -X POST "$API/v1/payments" \\
  -H "Authorization: Bearer $KEY" \\
  -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' \\
  --data-binary '{"orderId": "'"$PLACE_ORDER_ID"'"}' | field clientSecret)`,
  },
  createPayment: { before: anOrder },
  createRefund: { before: paying },
  receiveStripeEvent: {
    instead: `BODY='{"id": "evt_'"$(uuid)"'", "object": "event", "type": "customer.created", "data": {"object": {}}}'
${signed('STRIPE_WEBHOOK_SECRET')}curl -sS -X POST "$API/webhooks/stripe" \\
  -H "Stripe-Signature: $SIGNATURE" \\
  -H 'Content-Type: application/json' \\
  --data-binary "$BODY"`,
  },
  getLabel: { options: ' -o label.pdf' },
  receiveTracking: {
    instead: `TRACKING_NUMBER=$(curl -sS "$API/v1/shipments/$SHIPMENT_ID" -H "Authorization: Bearer $KEY" | field trackingNumber)
BODY='{"eventId": "'"$(uuid)"'", "trackingNumber": "'"$TRACKING_NUMBER"'", "status": "in_transit", "occurredAt": "'"$(at 0)"'"}'
${signed('SHIPPING_WEBHOOK_SECRET')}curl -sS -X POST "$API/webhooks/shipping/manual" \\
  -H "X-Signature: $SIGNATURE" \\
  -H 'Content-Type: application/json' \\
  --data-binary "$BODY"`,
  },
  createLiveToken: { saves: ['LIVE_TOKEN', 'token'] },
  watchCampaign: { options: ' -N', query: '?token=$LIVE_TOKEN' },
  listDeadLetters: { before: lostLabel, saves: ['DEAD_LETTER_ID', 'data.0.id'] },
  receiveKafka: {
    instead: `curl -sS -X POST "$API/webhooks/kafka" \\
  -H "Authorization: Bearer $KAFKA_WEBHOOK_SECRET" \\
  -H 'Content-Type: application/cloudevents+json' \\
  --data-binary '{
  "specversion": "1.0",
  "id": "'"$(uuid)"'",
  "type": "inventory.adjusted",
  "source": "/warehouse",
  "time": "'"$(at 0)"'",
  "tenantid": "default",
  "data": {"sku": "'"$SKU"'", "delta": 5, "reason": "delivery"}
}'`,
  },
};

/** Where the examples go and with which secrets. */
export type Shell = Record<
  'api' | 'key' | 'stripe' | 'stripeKey' | 'stripeWebhookSecret' | 'shippingWebhookSecret' | 'kafkaWebhookSecret',
  string
>;

/** The first block of the page: what all examples need. Runs in sh, with curl and Node. */
export const shellSetup = (shell: Shell): string => `export API=${shell.api} KEY=${shell.key}
export STRIPE=${shell.stripe} STRIPE_KEY=${shell.stripeKey}
export STRIPE_WEBHOOK_SECRET=${shell.stripeWebhookSecret} SHIPPING_WEBHOOK_SECRET=${shell.shippingWebhookSecret} KAFKA_WEBHOOK_SECRET=${shell.kafkaWebhookSecret}
uuid() { node -p 'crypto.randomUUID()'; }
export SKU="TEE-$(uuid | cut -c 1-8)"
at() { node -p "new Date(Date.now() + $1 * 3600000).toISOString()"; } # so many hours from now
hmac() { node -p 'crypto.createHmac("sha256", process.argv[1]).update(process.argv[2]).digest("hex")' "$1" "$2"; }
# Shows a JSON answer, and gives one member of it to the variable
field() { node -e 'const answer = JSON.parse(fs.readFileSync(0, "utf8"))
console.error(answer)
console.log(process.argv[1].split(".").reduce((part, name) => part[name], answer))' "$1"; }`;

/** Both ways to watch a campaign from a page. */
export const browserExample = `const live = \`\${api}/v1/campaigns/\${id}/live\`;
const headers = { Authorization: \`Bearer \${key}\` };

// By fetch, with the key in a header. Ask again, with Last-Event-ID, when "end" says so.
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

// By EventSource, with a token. It connects again by itself.
const answer = await fetch(live + '-token', { method: 'POST', headers });
const { token } = await answer.json();
const source = new EventSource(live + '?token=' + token);
source.addEventListener('campaign', (event) => show('campaign', JSON.parse(event.data)));
source.addEventListener('end', (event) => {
  if (!JSON.parse(event.data).reconnect) source.close();
});`;
