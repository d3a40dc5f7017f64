import { curlOf, type Placed } from './curl.ts';
import { type Answer, type Document, nameIn, resolve, type Schema } from './document.ts';
import { type Html, html, inline, json, markdown } from './html.ts';
import { parameterTable, schemaTable, typeOf } from './schema.ts';

/** A link to where an error code is explained; `#<code>` is what a problem's `type` names. */
const codeLink = (code: unknown): Html => html`<a class="code" href="#${String(code)}">${String(code)}</a> `;

const isProblem = (answer: Answer) => answer.content?.['application/problem+json'] !== undefined;

function answerRow(status: string, answer: Answer): Html {
  const problem = answer.content?.['application/problem+json'];
  if (problem) {
    const codes = (problem.schema.properties?.code as Schema | undefined)?.enum ?? [];
    return html`<tr><td><span class="st s${status[0]}">${status}</span></td><td>${codes.map(codeLink)}</td></tr>
`;
  }
  const shown = Object.values(answer.content ?? {})[0];
  const headers = Object.keys(answer.headers ?? {}).filter(
    (name) => name !== 'X-Request-Id' && name !== 'Server-Timing',
  );
  return html`<tr><td><span class="st s${status[0]}">${status}</span></td>
<td>${inline(answer.description)} ${shown?.schema?.$ref && typeOf(shown.schema)}${
    headers.length > 0 && html`<div class="in">${headers.join(', ')}</div>`
  }</td></tr>
`;
}

const answerTable = (answers: (readonly [string, Answer])[], more = ''): Html =>
  html`<div class="scroll"><table class="${more}">${answers.map(([status, answer]) => answerRow(status, answer))}</table></div>`;

/** The members of a list's or another unnamed answer; a named one is described under its name. */
function answerShape(schema: Schema | undefined): Html | false {
  if (!schema || schema.$ref) return false;
  return html`<h4>Response fields</h4>${schemaTable(schema)}`;
}

/** One operation: what it takes on the left, what it looks like on the right. */
export function operationSection(document: Document, placed: Placed): Html {
  const { path, method, operation } = placed;
  const { components } = document;
  const parameters = operation.parameters.map((one) => resolve(components.parameters, one));
  // What every request may carry is told once, under the conventions.
  const own = parameters.filter(({ name }) => name !== 'X-Request-Id' && name !== 'traceparent');
  const answers = Object.entries(operation.responses).map(
    ([status, answer]) => [status, resolve(components.responses, answer)] as const,
  );
  const refused = answers.filter(([, answer]) => isProblem(answer));
  const given = answers.filter(([, answer]) => !isProblem(answer));
  const good = given.map(([, answer]) => Object.values(answer.content ?? {})[0]);
  const example = good.find((content) => content?.example !== undefined)?.example;
  const scope = operation.security[0]?.bearer?.[0];
  const types = Object.entries(operation.requestBody?.content ?? {});
  return html`<section class="op" id="${operation.operationId}">
<h3><a href="#${operation.operationId}">${operation.summary}</a></h3>
<p class="line"><span class="m ${method}">${method.toUpperCase()}</span> <code class="path">${path}</code>
<span class="in">${scope === undefined ? 'no key needed' : html`scope <code>${scope}</code>`}</span></p>
${operation.description && markdown(operation.description)}
<div class="cols"><div>
${own.length > 0 && html`<h4>Parameters</h4>${parameterTable(own)}`}
${types.length > 0 && html`<h4>Body <span class="in">${types.map(([type]) => type).join(', ')}</span></h4>`}
${types[0] && (types[0][1].schema.$ref ? html`<p>${typeOf(types[0][1].schema)}</p>` : schemaTable(types[0][1].schema))}
${answerShape(good.find((content) => content)?.schema)}
</div><aside>
<h4>Request</h4><pre>${curlOf(placed, parameters)}</pre>
<h4>Responses</h4>${answerTable(given)}
${example !== undefined && html`<pre>${json(example)}</pre>`}
</aside><div><h4>Errors</h4>${answerTable(refused, 'tight')}</div></div>
</section>
`;
}

/** Every code of the API, each at its own anchor. */
export function errorSection(document: Document): Html {
  const { schemas, examples } = document.components;
  const codes = schemas.Problem?.properties?.code?.enum ?? [];
  return html`<section id="errors"><h2>Errors</h2>
<p>Every error is a problem document (RFC 9457). Programs switch on <code>code</code>. The list of codes is complete.</p>
<div class="cols"><div><div class="scroll"><table>${codes.map((code) => {
    const problem = examples[String(code)]?.value;
    return html`<tr id="${String(code)}"><td><span class="st s${String(problem?.status)[0]}">${problem?.status}</span></td>
<td><code>${String(code)}</code><div>${inline(problem?.detail ?? '')}</div></td></tr>
`;
  })}</table></div></div>
<aside><h4>Example</h4><pre>${json(examples.validation_failed?.value)}</pre>
<pre>${json(examples.insufficient_inventory?.value)}</pre></aside></div></section>
`;
}

/** Every named schema. */
export function schemaSection(document: Document): Html {
  return html`<section><h2 id="schemas">Schemas</h2>${Object.entries(document.components.schemas).map(
    ([
      name,
      schema,
    ]) => html`<section class="op" id="schema-${nameIn(name)}"><h3><a href="#schema-${name}">${name}</a></h3>
${schema.description && html`<p>${inline(schema.description)}</p>`}${schemaTable(schema)}</section>
`,
  )}</section>`;
}
