import { sampleCustomer, sampleImage, sampleOrder, sampleProduct, sampleTaxRate } from '../../src/routes/examples.ts';
import { sampleCampaign } from '../../src/routes/group-commerce/campaign-examples.ts';
import { sampleTeam } from '../../src/routes/group-commerce/team-examples.ts';
import { type CurlExtra, curlExtras } from './curl-extras.ts';
import { sampleFile } from './literals.ts';
import type { Parameter, ResolvedOperation } from './openapi.ts';

/** The shell variable for the id of each resource. The sample that creates a resource sets it for later samples. */
const idVariables: Record<string, string> = {
  '/v1/products': 'PRODUCT_ID',
  '/v1/product-groups': 'GROUP_ID',
  '/v1/collections': 'COLLECTION_ID',
  '/v1/price-lists': 'PRICE_LIST_ID',
  '/v1/discounts': 'DISCOUNT_ID',
  '/v1/shipping-options': 'SHIPPING_OPTION_ID',
  '/v1/tax-rates': 'TAX_RATE_ID',
  '/v1/customers': 'CUSTOMER_ID',
  '/v1/carts': 'CART_ID',
  '/v1/orders': 'ORDER_ID',
  '/v1/campaigns': 'CAMPAIGN_ID',
  '/v1/teams': 'TEAM_ID',
  '/v1/payments': 'PAYMENT_ID',
  '/v1/returns': 'RETURN_ID',
  '/v1/shipments': 'SHIPMENT_ID',
  '/v1/dead-letters': 'DEAD_LETTER_ID',
  '/v1/keys': 'KEY_ID',
};

/** Example values that differ in each run, and the shell expressions that replace them. */
const shellExpressions: Record<string, string> = {
  [sampleProduct.sku]: '$SKU',
  [sampleProduct.id]: '$PRODUCT_ID',
  [sampleImage.id]: '$IMAGE_ID',
  [sampleOrder.id]: '$ORDER_ID',
  [sampleTaxRate.category]: 'books-$(uuid)',
  [sampleCustomer.id]: '$CUSTOMER_ID',
  [sampleCustomer.email]: '$(uuid)@example.com',
  [sampleTeam.code]: '$TEAM_CODE',
  [sampleCampaign.startTime]: '$(at 0)',
  [sampleCampaign.endTime]: '$(at 72)',
};

/** Quotes a text for the shell and replaces the example values that differ in each run. */
function quoteForShell(text: string): string {
  let word = `'${text.replaceAll("'", "'\\''")}'`;
  for (const [value, expression] of Object.entries(shellExpressions))
    word = word.replaceAll(value, `'"${expression}"'`);
  return word;
}

function pathOf(path: string, parameters: Parameter[]): string {
  return path.replaceAll(/\{(\w+)\}/g, (placeholder, name) => {
    const variable = name === 'id' ? idVariables[path.slice(0, path.indexOf('/{'))] : undefined;
    if (variable !== undefined) return `$${variable}`;
    const parameter = parameters.find((candidate) => candidate.in === 'path' && candidate.name === name);
    const sample = String(parameter?.example ?? placeholder);
    return shellExpressions[sample] ?? encodeURIComponent(sample).replace(sampleImage.id, '$IMAGE_ID');
  });
}

/**
 * An operation's sample for a shell. Values that differ in each run come from the page's set-up block or from earlier
 * samples, so the samples can be pasted in the order of the page, any number of times.
 */
export function curlSample({ path, method, operation, parameters }: ResolvedOperation): string {
  const extra: CurlExtra = curlExtras[operation.operationId] ?? {};
  if (extra.wholeSample !== undefined) return extra.wholeSample;
  const options = `${method === 'get' ? '' : ` -X ${method.toUpperCase()}`}${extra.curlOptions ?? ''}`;
  const lines = [`curl -sS${options} "$API${pathOf(path, parameters)}${extra.query ?? ''}"`];
  if (operation.security.length > 0 && extra.query === undefined) lines.push(`-H "Authorization: Bearer $KEY"`);
  if (parameters.some(({ name }) => name === 'Idempotency-Key')) lines.push(`-H "Idempotency-Key: $(uuid)"`);
  const [type, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  if (type !== undefined) {
    lines.push(`-H 'Content-Type: ${type}'`);
    const body = type === 'application/json' ? JSON.stringify(content?.example ?? {}, null, 2) : content?.example;
    const isFile = typeof body !== 'string' || type.startsWith('image/');
    lines.push(isFile ? `--data-binary @${sampleFile}` : `--data-binary ${quoteForShell(body)}`);
  }
  const call = lines.join(' \\\n  ');
  const [variable, field] = extra.saves ?? [method === 'post' ? idVariables[path] : undefined, 'id'];
  const command = variable === undefined ? call : `${variable}=$(${call} | field ${field})`;
  return `${extra.before ?? ''}${command}${extra.after ?? ''}`;
}
