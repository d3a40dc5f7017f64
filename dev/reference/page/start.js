// The keys of the local platform are public. They work on no other platform.
const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
const localKey = 'sk_dev_default';

/** The values of the local platform for the placeholders in the set-up block. */
const localValues = {
  'https://YOUR_API': location.origin,
  YOUR_SECRET_KEY: localKey,
  'https://api.stripe.com': 'http://127.0.0.1:12111',
  YOUR_STRIPE_TEST_KEY: 'sk_test_dev',
  YOUR_STRIPE_WEBHOOK_SECRET: 'whsec_dev',
  YOUR_SHIPPING_WEBHOOK_SECRET: 'whsec_dev',
  YOUR_KAFKA_WEBHOOK_SECRET: 'whsec_dev',
  YOUR_SKU: 'MUG-01',
};

/** Pairs each sample value with an existing value of the local platform, so that "Try it" finds a resource. */
async function pairWithLocalResources(samples) {
  const pairs = Object.entries(samples).map(async ([collection, values]) => {
    const response = await fetch(collection, { headers: { Authorization: `Bearer ${localKey}` } });
    const { data = [] } = response.ok ? await response.json() : {};
    return Object.entries(values).map(([fieldPath, sample]) => {
      const valueIn = (row) => fieldPath.split('.').reduce((value, name) => value?.[name], row);
      return [sample, data.map(valueIn).find((value) => typeof value === 'string') ?? sample];
    });
  });
  return (await Promise.all(pairs)).flat();
}

const replaceAllPairs = (text, pairs) => pairs.reduce((changed, [from, to]) => changed.replaceAll(from, to), text);

function* operationsIn(document) {
  for (const methods of Object.values(document.paths)) yield* Object.values(methods);
}

/** Reads the document. On the local platform, fills in its keys and the ids of existing resources. */
async function readDocument() {
  const text = await (await fetch('/docs/reference.json')).text();
  const document = JSON.parse(text);
  if (!isLocal) return JSON.parse(text.replaceAll('https://YOUR_API', location.origin));
  const { samples, newSku } = document['x-samples'];
  const local = JSON.parse(
    replaceAllPairs(text, [...Object.entries(localValues), ...(await pairWithLocalResources(samples))]),
  );
  // An operation that creates a product needs a SKU that no product has.
  const sku = `TEE-${crypto.randomUUID().slice(0, 8)}`;
  const bodies = new Map([...operationsIn(document)].map(({ operationId, requestBody }) => [operationId, requestBody]));
  for (const operation of operationsIn(local)) {
    if (!newSku.operations.includes(operation.operationId)) continue;
    operation.requestBody = JSON.parse(
      replaceAllPairs(JSON.stringify(bodies.get(operation.operationId)), [[newSku.sample, sku]]),
    );
  }
  local.components.securitySchemes.bearer.description +=
    ' This is the local platform: `sk_dev_default` is filled in, `pk_dev_default` is its publishable key.';
  return local;
}

const slugOf = (name) => name.toLowerCase().replaceAll(' ', '-');

/** The page's sections by short name: `#<operation id>`, and `#<code>`, which the `type` of a problem document uses. */
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
const exampleKey = crypto.randomUUID();
for (const parameter of Object.values(content.components.parameters)) {
  if (parameter.name === keyHeader) parameter.example = exampleKey;
}

// Scalar's own option `redirect` scrolls to the section, but then puts the introduction in the address.
const firstSection = sections.get(location.hash);
if (firstSection !== undefined) history.replaceState(null, '', firstSection);

const reference = document.querySelector('#reference');
reference.replaceChildren();
Scalar.createApiReference(reference, {
  content,
  authentication: {
    preferredSecurityScheme: 'bearer',
    securitySchemes: { bearer: { token: isLocal ? localKey : '' } },
  },
  // A reused key would return the first response again, so the example key is replaced by a new one in each request.
  onBeforeRequest({ requestBuilder: { headers } }) {
    if (headers.get(keyHeader) === exampleKey) headers.set(keyHeader, crypto.randomUUID());
  },
  // On a narrow screen the response is below the request. It is shown shortly after this call.
  onResponseReceived() {
    setTimeout(() => document.querySelector('section[aria-label="Response"]')?.scrollIntoView(), 200);
  },
  generateTagSlug: ({ name }) => slugOf(name),
  generateOperationSlug: ({ operationId }) => operationId,
  generateWebhookSlug: ({ name }) => name,
  hiddenClients: true,
  hideClientButton: true,
  documentDownloadType: 'none',
  orderSchemaPropertiesBy: 'preserve',
  modelsSectionLabel: 'Schemas',
  localization: {
    translations: {
      operation: { webhook: 'Event', testRequest: 'Try it' },
      search: { entryWebhook: 'Event' },
      // The title of the list in every section, of operations or of events.
      navigation: { operations: 'Contents' },
    },
  },
  // No third-party services: fonts, telemetry, assistant, editor.
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  showDeveloperTools: 'never',
});

let holding;

/**
 * Scrolls to a section of the introduction. Scalar may scroll away from it while it loads or still follows an earlier
 * link: for three seconds, or until the reader acts, the section is brought back.
 */
function holdInView(section) {
  clearInterval(holding);
  let checksLeft = 30;
  holding = setInterval(() => {
    const heading = document.getElementById(`api-1/${section.slice(1)}`);
    if (!heading) return;
    const { top } = heading.getBoundingClientRect();
    if (top < 0 || top > innerHeight) heading.scrollIntoView();
    if (location.hash !== section) history.replaceState(null, '', section);
    if (--checksLeft === 0) clearInterval(holding);
  }, 100);
}
for (const act of ['wheel', 'keydown', 'pointerdown', 'popstate']) addEventListener(act, () => clearInterval(holding));

const isIntroduction = (section) => section?.startsWith('#description/');
if (isIntroduction(firstSection)) holdInView(firstSection);

addEventListener('hashchange', () => {
  const section = sections.get(location.hash);
  if (isIntroduction(section)) {
    history.replaceState(null, '', section);
    holdInView(section);
  } else if (section !== undefined) location.replace(section);
});
