/** Placeholders in the set-up block. On the local platform page/start.js fills them in; elsewhere the reader does. */
export const placeholders = {
  api: 'https://YOUR_API',
  key: 'YOUR_SECRET_KEY',
  stripe: 'https://api.stripe.com',
  stripeKey: 'YOUR_STRIPE_TEST_KEY',
  stripeWebhookSecret: 'YOUR_STRIPE_WEBHOOK_SECRET',
  shippingWebhookSecret: 'YOUR_SHIPPING_WEBHOOK_SECRET',
  kafkaWebhookSecret: 'YOUR_KAFKA_WEBHOOK_SECRET',
  sku: 'YOUR_SKU',
};

/** The set-up block that every curl sample needs. Runs in sh, with curl and Node. */
export const shellSetup = (values: typeof placeholders): string => `export API=${values.api} KEY=${values.key}
export STRIPE=${values.stripe} STRIPE_KEY=${values.stripeKey}
export STRIPE_WEBHOOK_SECRET=${values.stripeWebhookSecret}
export SHIPPING_WEBHOOK_SECRET=${values.shippingWebhookSecret}
export KAFKA_WEBHOOK_SECRET=${values.kafkaWebhookSecret}
uuid() { node -p 'crypto.randomUUID()'; }
new_sku() { echo "TEE-$(uuid | cut -c 1-8)"; }
export SKU=${values.sku}
at() { node -p "new Date(Date.now() + $1 * 3600000).toISOString()"; } # the time that many hours from now
hmac() { node -p 'crypto.createHmac("sha256", process.argv[1]).update(process.argv[2]).digest("hex")' "$1" "$2"; }
# Shows a JSON response on stderr, and prints one field of it
field() { node -pe "const answer = JSON.parse(fs.readFileSync(0, 'utf8')); console.error(answer); answer.$1"; }`;
