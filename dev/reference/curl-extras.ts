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

/** By operation. Values that differ from run to run come from `shellSetup`, which is pasted first. */
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
