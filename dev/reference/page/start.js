/** The keys that the local platform makes are known to everyone. No other platform has them. */
const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
const localKey = 'sk_dev_default';

/** What the local platform has in place of the marks in the set-up of a shell. */
const localValues = {
  'https://YOUR_API': location.origin,
  YOUR_SECRET_KEY: localKey,
  'https://api.stripe.com': 'http://127.0.0.1:12111',
  YOUR_STRIPE_TEST_KEY: 'sk_test_dev',
  YOUR_STRIPE_WEBHOOK_SECRET: 'whsec_dev',
  YOUR_SHIPPING_WEBHOOK_SECRET: 'whsec_dev',
  YOUR_KAFKA_WEBHOOK_SECRET: 'whsec_dev',
};

/** Pairs of a value in the examples and one that the local platform has, so that a request for it finds something. */
async function localResources(samples) {
  const pairs = Object.entries(samples).map(async ([collection, values]) => {
    const answer = await fetch(collection, { headers: { Authorization: `Bearer ${localKey}` } });
    const { data = [] } = answer.ok ? await answer.json() : {};
    return Object.entries(values).map(([member, sample]) => {
      const valueIn = (row) => member.split('.').reduce((from, name) => from?.[name], row);
      return [sample, data.map(valueIn).find((value) => typeof value === 'string') ?? sample];
    });
  });
  return (await Promise.all(pairs)).flat();
}

const replaced = (text, pairs) => pairs.reduce((changed, [from, to]) => changed.replaceAll(from, to), text);

function* operationsIn(document) {
  for (const methods of Object.values(document.paths)) yield* Object.values(methods);
}

/** The document, on the local platform with its keys and with values that it has. */
async function readDocument() {
  const text = await (await fetch('/docs/reference.json')).text();
  const document = JSON.parse(text);
  if (!isLocal) return JSON.parse(text.replaceAll('https://YOUR_API', location.origin));
  const { samples, newSku } = document['x-samples'];
  const local = JSON.parse(replaced(text, [...Object.entries(localValues), ...(await localResources(samples))]));
  // What makes a product needs a SKU that no product has.
  const sku = `TEE-${crypto.randomUUID().slice(0, 8)}`;
  const bodies = new Map([...operationsIn(document)].map(({ operationId, requestBody }) => [operationId, requestBody]));
  for (const operation of operationsIn(local)) {
    if (!newSku.operations.includes(operation.operationId)) continue;
    operation.requestBody = JSON.parse(
      replaced(JSON.stringify(bodies.get(operation.operationId)), [[newSku.sample, sku]]),
    );
  }
  local.components.securitySchemes.bearer.description +=
    ' This is the local platform: `sk_dev_default` is filled in, `pk_dev_default` is its publishable key.';
  return local;
}

const slugOf = (name) => name.toLowerCase().replaceAll(' ', '-');

/** The sections of operations and codes by their short names: `/docs#<code>` is what a problem's `type` names. */
function sectionsIn(document) {
  const sections = new Map();
  for (const { operationId, tags } of operationsIn(document)) {
    sections.set(`#${operationId}`, `#tag/${slugOf(tags[0])}/${operationId}`);
  }
  for (const code of Object.keys(document.components.examples))
    sections.set(`#${code}`, `#description/${code.replaceAll('_', '-')}`);
  return sections;
}

const content = await readDocument();
const sections = sectionsIn(content);
const keyHeader = 'Idempotency-Key';
const filledKey = crypto.randomUUID();
for (const parameter of Object.values(content.components.parameters)) {
  if (parameter.name === keyHeader) parameter.example = filledKey;
}

const reference = document.querySelector('#reference');
reference.replaceChildren();
Scalar.createApiReference(reference, {
  content,
  authentication: {
    preferredSecurityScheme: 'bearer',
    securitySchemes: { bearer: { token: isLocal ? localKey : '' } },
  },
  // A key that is sent again gets the first answer again: the one that is filled in is new for each request.
  onBeforeRequest({ requestBuilder: { headers } }) {
    if (headers.get(keyHeader) === filledKey) headers.set(keyHeader, crypto.randomUUID());
  },
  generateTagSlug: ({ name }) => slugOf(name),
  generateOperationSlug: ({ operationId }) => operationId,
  generateWebhookSlug: ({ name }) => name,
  redirect: (hash) => sections.get(hash) ?? null,
  hiddenClients: true,
  hideClientButton: true,
  documentDownloadType: 'none',
  orderSchemaPropertiesBy: 'preserve',
  modelsSectionLabel: 'Schemas',
  localization: {
    translations: { operation: { webhook: 'Event', testRequest: 'Try it' }, search: { entryWebhook: 'Event' } },
  },
  // Nothing of others: no fonts, no telemetry, no assistant, no editor.
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  showDeveloperTools: 'never',
});

addEventListener('hashchange', () => {
  const section = sections.get(location.hash);
  if (section !== undefined) location.replace(section);
});
