import { sampleFile } from './literals.ts';

/** Additions to an operation's curl sample that do not follow from its declaration. */
export type CurlExtra = {
  /** Lines before the call, which create the resources that it needs. */
  before?: string;
  /** Lines after the call, which use its result. */
  after?: string;
  /** Options of curl. */
  curlOptions?: string;
  /** A query string. It replaces the `Authorization` header. */
  query?: string;
  /** The shell variable that stores a field of the response, which is written as JavaScript. Default: the id of the resource that the call created. */
  saves?: [variable: string, field: string];
  /** Replaces the generated sample, for webhooks: their callers are other systems, not clients of the API. */
  wholeSample?: string;
};

/** Creating a product needs a SKU that no product has. The later samples use the new product. */
const chooseNewSku = 'SKU=$(new_sku)\n';

const makePicture = `# A picture of one pixel
printf '%s' UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAUAmJaQAA3AA/v89WAAAAA== | base64 -d > ${sampleFile}
`;

const placeOrder = `# An order to pay
ORDER_ID=$(curl -sS "$API/v1/orders" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' \\
  --data-binary '{"customerId": "customer-1", "items": [{"sku": "'"$SKU"'", "quantity": 2}]}' | field id)
`;

/**
 * Pays PAYMENT_ID as the buyer's browser does with Stripe.js, and waits until Stripe's webhook has arrived.
 * STRIPE_ACCOUNT names the account of a tenant that has one of its own.
 */
const pay = `# Pay it, as the buyer's browser does with Stripe.js, and wait for Stripe's webhook
INTENT_ID=$(curl -sS "$API/v1/payments/$PAYMENT_ID" -H "Authorization: Bearer $KEY" | field stripePaymentIntentId)
curl -sS "$STRIPE/v1/payment_intents/$INTENT_ID/confirm" -u "$STRIPE_KEY:" \${STRIPE_ACCOUNT:+"-HStripe-Account:$STRIPE_ACCOUNT"} \\
  -d payment_method=pm_card_visa -d return_url=https://shop.example/paid > /dev/null
until curl -sS "$API/v1/payments/$PAYMENT_ID" -H "Authorization: Bearer $KEY" | grep -q '"status":"succeeded"'; do sleep 1; done
`;

/** Orders a cart that has items and an e-mail address. `expectedTotal` is what the shopper has seen. */
const checkout = `CART_ID=$(curl -sS "$API/v1/carts" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' \\
  --data-binary '{"currency": "USD", "items": [{"sku": "'"$SKU"'", "quantity": 2}], "email": "ada@example.com"}' | field id)
TOTAL=$(curl -sS "$API/v1/carts/$CART_ID" -H "Authorization: Bearer $KEY" | field totals.total)
curl -sS -X POST "$API/v1/carts/$CART_ID/checkout" \\
  -H "Authorization: Bearer $KEY" \\
  -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' \\
  --data-binary '{"expectedTotal": '"$TOTAL"'}'`;
const payOrder = `${placeOrder}PAYMENT_ID=$(curl -sS "$API/v1/payments" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' --data-binary '{"orderId": "'"$ORDER_ID"'"}' | field id)
${pay}`;

const create = (variable: string, path: string, body: string): string =>
  `${variable}=$(curl -sS "$API${path}" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' --data-binary '${body}' | field id)
`;
const createCollection = create('COLLECTION_ID', '/v1/collections', '{"name": "Winter"}');
const createPriceList = create(
  'PRICE_LIST_ID',
  '/v1/price-lists',
  '{"name": "Trade", "currency": "USD", "audience": {"customerGroup": "trade"}}',
);

const createTeamCampaign = create(
  'CAMPAIGN_ID',
  '/v1/campaigns',
  `{"productId": "'"$PRODUCT_ID"'", "mode": "teams", "teamSize": 3, "teamSeconds": 86400, "price": 19.99,
    "startTime": "'"$(at 0)"'", "endTime": "'"$(at 72)"'"}`,
);

const makeDeadLetter = `# Pay for an order whose label cannot be printed: the label request becomes a dead letter
ORDER_ID=$(curl -sS "$API/v1/orders" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' \\
  --data-binary '{"customerId": "customer-1", "items": [{"sku": "'"$SKU"'", "quantity": 1}],
    "shippingAddress": {"name": "☃", "line1": "1 Main Street", "city": "Berlin", "postalCode": "10115", "country": "DE"}}' | field id)
PAYMENT_ID=$(curl -sS "$API/v1/payments" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: $(uuid)" \\
  -H 'Content-Type: application/json' --data-binary '{"orderId": "'"$ORDER_ID"'"}' | field id)
${pay}until curl -sS "$API/v1/dead-letters" -H "Authorization: Bearer $KEY" | grep -q "$ORDER_ID"; do sleep 1; done
`;

const signBody = (secret: string): string => `TIME=$(date +%s)
SIGNATURE="t=$TIME,v1=$(hmac "$${secret}" "$TIME.$BODY")"
`;

const trackingSample = (path: string): string =>
  `TRACKING_NUMBER=$(curl -sS "$API/v1/shipments/$SHIPMENT_ID" -H "Authorization: Bearer $KEY" | field trackingNumber)
BODY='{"eventId": "'"$(uuid)"'", "trackingNumber": "'"$TRACKING_NUMBER"'", "status": "in_transit", "occurredAt": "'"$(at 0)"'"}'
${signBody('SHIPPING_WEBHOOK_SECRET')}curl -sS -X POST "$API/webhooks/shipping/${path}" \\
  -H "X-Signature: $SIGNATURE" \\
  -H 'Content-Type: application/json' \\
  --data-binary "$BODY"`;

/** By operation id. Values that differ in each run come from `shellSetup`, which the reader pastes first. */
export const curlExtras: Record<string, CurlExtra> = {
  createProduct: { before: chooseNewSku },
  importProducts: { before: chooseNewSku },
  addProductImage: { before: makePicture, saves: ['IMAGE_ID', 'id'] },
  getMedia: { curlOptions: ` -o ${sampleFile}` },
  addCollectionProduct: { before: createCollection },
  listPrices: { before: createPriceList },
  setPrices: { before: createPriceList },
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
  checkoutCart: { wholeSample: checkout },
  createCustomerSession: { before: create('CUSTOMER_ID', '/v1/customers', `{"email": "'"$(uuid)"'@example.com"}`) },
  createPayment: { before: placeOrder },
  createRefund: { before: pay },
  refundOrder: { before: payOrder },
  requestReturn: { before: payOrder, saves: ['RETURN_ID', 'id'] },
  cancelReturn: {
    before: create('RETURN_ID', '/v1/orders/$ORDER_ID/returns', '{"items": [{"lineId": "1", "quantity": 1}]}'),
  },
  receiveStripeEvent: {
    wholeSample: `BODY='{"id": "evt_'"$(uuid)"'", "object": "event", "type": "customer.created", "data": {"object": {}}}'
${signBody('STRIPE_WEBHOOK_SECRET')}curl -sS -X POST "$API/webhooks/stripe" \\
  -H "Stripe-Signature: $SIGNATURE" \\
  -H 'Content-Type: application/json' \\
  --data-binary "$BODY"`,
  },
  getLabel: { curlOptions: ' -o label.pdf' },
  receiveTracking: { wholeSample: trackingSample('manual') },
  receiveTrackingAt: { wholeSample: trackingSample('manual/default') },
  createLiveToken: { saves: ['LIVE_TOKEN', 'token'] },
  watchCampaign: { curlOptions: ' -N', query: '?token=$LIVE_TOKEN' },
  openTeam: { before: createTeamCampaign, saves: ['TEAM_CODE', 'team.code'] },
  getTeam: { before: 'TEAM_ID=$(curl -sS "$API/v1/teams/by-code/$TEAM_CODE/card" | field teamId)\n' },
  createTeamLiveToken: { saves: ['TEAM_LIVE_TOKEN', 'token'] },
  watchTeam: { curlOptions: ' -N', query: '?token=$TEAM_LIVE_TOKEN' },
  listDeadLetters: { before: makeDeadLetter, saves: ['DEAD_LETTER_ID', "'data[0].id'"] },
  receiveKafka: {
    wholeSample: `curl -sS -X POST "$API/webhooks/kafka" \\
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
