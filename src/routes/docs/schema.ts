import { nameIn, type Parameter, type Schema } from './document.ts';
import { type Html, html, inline } from './html.ts';

const number = (limit: unknown) => Number(limit).toLocaleString('en');

const limits: [keyword: string, say: (limit: unknown) => string][] = [
  ['minLength', (n) => `at least ${number(n)} characters`],
  ['maxLength', (n) => `at most ${number(n)} characters`],
  ['minimum', (n) => `≥ ${number(n)}`],
  ['exclusiveMinimum', (n) => `> ${number(n)}`],
  ['maximum', (n) => `≤ ${number(n)}`],
  ['exclusiveMaximum', (n) => `< ${number(n)}`],
  ['minItems', (n) => `at least ${number(n)}`],
  ['maxItems', (n) => `at most ${number(n)}`],
];

/** What may be said of a value beside its type. */
function limitsOf(schema: Schema): Html {
  const said = limits
    .filter(([keyword]) => schema[keyword] !== undefined && Math.abs(Number(schema[keyword])) < Number.MAX_SAFE_INTEGER)
    .filter(([keyword]) => !(keyword === 'minLength' && schema.minLength === 1 && schema.maxLength !== undefined))
    .map(([keyword, say]) => say(schema[keyword]));
  if (schema.pattern) said.push(`matches \`${schema.pattern}\``);
  if (schema.default !== undefined) said.push(`default \`${JSON.stringify(schema.default)}\``);
  return inline(said.join(', '));
}

function typeAndLimits(schema: Schema): Html {
  const limited = limitsOf(schema);
  return html`<span class="t">${typeOf(schema)}${limited.markup !== '' && html`, ${limited}`}</span>`;
}

/** A schema's type in words; named schemas are links to where they are described. */
export function typeOf(schema: Schema): Html {
  if (schema.$ref) return html`<a href="#schema-${nameIn(schema.$ref)}">${nameIn(schema.$ref)}</a>`;
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return html`${choices.map((choice, at) => html`${at > 0 && ' or '}${typeOf(choice)}`)}`;
  if (schema.enum)
    return html`${schema.enum.map((value, at) => html`${at > 0 && ' · '}<code>${String(value)}</code>`)}`;
  if (schema.const !== undefined) return html`<code>${String(schema.const)}</code>`;
  if (schema.type === 'array' && schema.items) return html`array of ${typeOf(schema.items)}`;
  const types = [schema.type ?? 'anything'].flat().map((type) => (type === 'string' ? (schema.format ?? type) : type));
  return html`${types.join(' or ')}`;
}

/** Objects within a schema, each with the path that leads to it. */
function* inner(path: string, schema: Schema): Generator<[string, Schema]> {
  if (schema.items) yield* inner(`${path}[]`, schema.items);
  for (const choice of schema.anyOf ?? schema.oneOf ?? []) yield* inner(path, choice);
  if (schema.properties) yield [path, schema];
}

/** One member or parameter: its name, what stands under the name, and what it may be. */
const row = (
  name: string,
  required: boolean,
  schema: Schema,
  about: string | undefined,
  under?: string,
): Html => html`<tr>
<td><code>${name}</code>${required && html` <abbr title="required">*</abbr>`}${under && html`<div class="in">${under}</div>`}</td>
<td>${typeAndLimits(schema)}${about && html`<div>${inline(about)}</div>`}</td></tr>
`;

const table = (rows: Html[]): Html => html`<div class="scroll"><table>${rows}</table></div>`;

function rows(schema: Schema, prefix: string): Html[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, member]) => {
    const path = prefix + name;
    return [
      row(path, schema.required?.includes(name) ?? false, member, member.description),
      ...[...inner(path, member)].flatMap(([at, object]) => rows(object, `${at}.`)),
    ];
  });
}

/** A schema as a table: one row a member, those of objects within it by their path (`items[].sku`). */
export function schemaTable(schema: Schema): Html {
  const [first] = inner('', schema);
  if (!first) return html`<p>${typeAndLimits(schema)}</p>`;
  const listed = rows(first[1], first[0] === '' ? '' : `${first[0]}.`);
  if (listed.length === 0) return html`<p class="t">An empty object.</p>`;
  const more = schema.additionalProperties;
  return html`${table(listed)}${typeof more === 'object' && html`<p class="t">Further members: ${typeAndLimits(more)}</p>`}`;
}

/** A table of parameters. */
export const parameterTable = (parameters: Parameter[]): Html =>
  table(parameters.map((one) => row(one.name, one.required, one.schema, one.description, one.in)));
