/** Marks in the shell's set-up that page/start.js replaces on the local platform; elsewhere the reader does. */
export const marks = {
  api: 'https://YOUR_API',
  key: 'YOUR_SECRET_KEY',
  stripe: 'https://api.stripe.com',
  stripeKey: 'YOUR_STRIPE_TEST_KEY',
  stripeWebhookSecret: 'YOUR_STRIPE_WEBHOOK_SECRET',
  shippingWebhookSecret: 'YOUR_SHIPPING_WEBHOOK_SECRET',
  kafkaWebhookSecret: 'YOUR_KAFKA_WEBHOOK_SECRET',
};

/** What all samples in a shell need first. Runs in sh, with curl and Node. */
export const shellSetup = (values: typeof marks): string => `export API=${values.api} KEY=${values.key}
export STRIPE=${values.stripe} STRIPE_KEY=${values.stripeKey}
export STRIPE_WEBHOOK_SECRET=${values.stripeWebhookSecret}
export SHIPPING_WEBHOOK_SECRET=${values.shippingWebhookSecret}
export KAFKA_WEBHOOK_SECRET=${values.kafkaWebhookSecret}
uuid() { node -p 'crypto.randomUUID()'; }
export SKU="TEE-$(uuid | cut -c 1-8)"
at() { node -p "new Date(Date.now() + $1 * 3600000).toISOString()"; } # so many hours from now
hmac() { node -p 'crypto.createHmac("sha256", process.argv[1]).update(process.argv[2]).digest("hex")' "$1" "$2"; }
# Shows a JSON answer, and gives one member of it to the variable
field() { node -e 'const answer = JSON.parse(fs.readFileSync(0, "utf8"))
console.error(answer)
console.log(process.argv[1].split(".").reduce((part, name) => part[name], answer))' "$1"; }`;
