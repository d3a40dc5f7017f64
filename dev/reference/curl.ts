import { sampleCampaign, sampleOrder, sampleProduct } from '../../src/routes/examples.ts';
import { type Extra, extras } from './curl-extras.ts';
import type { Parameter, Placed } from './openapi.ts';

/** Which shell variable holds the id of a resource, by its path: an example that makes one sets it for those that follow. */
const idVariables: Record<string, string> = {
  '/v1/products': 'PRODUCT_ID',
  '/v1/orders': 'ORDER_ID',
  '/v1/campaigns': 'CAMPAIGN_ID',
  '/v1/payments': 'PAYMENT_ID',
  '/v1/shipments': 'SHIPMENT_ID',
  '/v1/dead-letters': 'DEAD_LETTER_ID',
};

/** Values of the declared examples that differ from run to run, and the shell words that stand for them. */
const words: Record<string, string> = {
  [sampleProduct.sku]: '$SKU',
  [sampleProduct.id]: '$PRODUCT_ID',
  [sampleOrder.id]: '$ORDER_ID',
  [sampleCampaign.startTime]: '$(at 0)',
  [sampleCampaign.endTime]: '$(at 72)',
};

/** Text as one word of a shell, with the words that stand for values put in. */
function quoted(text: string): string {
  let word = `'${text.replaceAll("'", "'\\''")}'`;
  for (const [value, stand] of Object.entries(words)) word = word.replaceAll(value, `'"${stand}"'`);
  return word;
}

function pathOf(path: string, parameters: Parameter[]): string {
  return path.replaceAll(/\{(\w+)\}/g, (whole, name) => {
    const variable = name === 'id' ? idVariables[path.slice(0, path.indexOf('/{'))] : undefined;
    if (variable !== undefined) return `$${variable}`;
    const parameter = parameters.find((one) => one.in === 'path' && one.name === name);
    const sample = String(parameter?.example ?? whole);
    return words[sample] ?? encodeURIComponent(sample);
  });
}

/**
 * One operation's example for a shell: every value that differs from run to run comes from the page's first block or from
 * an example before it, so that the page can be pasted from its beginning to its end, again and again.
 */
export function curlSample({ path, method, operation, parameters }: Placed): string {
  const extra: Extra = extras[operation.operationId] ?? {};
  if (extra.instead !== undefined) return extra.instead;
  const options = `${method === 'get' ? '' : ` -X ${method.toUpperCase()}`}${extra.options ?? ''}`;
  const lines = [`curl -sS${options} "$API${pathOf(path, parameters)}${extra.query ?? ''}"`];
  if (operation.security.length > 0 && extra.query === undefined) lines.push(`-H "Authorization: Bearer $KEY"`);
  if (parameters.some(({ name }) => name === 'Idempotency-Key')) lines.push(`-H "Idempotency-Key: $(uuid)"`);
  const [type, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  if (type !== undefined) {
    lines.push(`-H 'Content-Type: ${type}'`);
    const body = type === 'application/json' ? JSON.stringify(content?.example ?? {}, null, 2) : content?.example;
    lines.push(typeof body === 'string' ? `--data-binary ${quoted(body)}` : '--data-binary @file');
  }
  const call = lines.join(' \\\n  ');
  const [variable, member] = extra.saves ?? [method === 'post' ? idVariables[path] : undefined, 'id'];
  const kept = variable === undefined ? call : `${variable}=$(${call} | field ${member})`;
  return `${extra.before ?? ''}${kept}${extra.after ?? ''}`;
}
