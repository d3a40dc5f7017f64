import type { Placed } from './curl.ts';
import type { Document } from './document.ts';
import { browserExample, type Shell, shellSetup } from './examples.ts';
import { headings, html, markdown } from './html.ts';
import { errorSection, operationSection, schemaSection } from './operation.ts';
import { style } from './style.ts';

/** What the page may load: nothing. Its style is its own. */
export const policy =
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/** Stands for the first block of shell, which differs by where the page is served. */
const shellMark = '{{shell}}';

/** The page with its first block of shell. */
export const withShell = (page: string, shell: Shell): string =>
  page.replace(shellMark, () => html`${shellSetup(shell)}`.markup);

/**
 * The API's documentation as one page that needs nothing from anywhere and no script: made from the OpenAPI document
 * alone, every text in it escaped; `withShell` completes it. Each operation is at `#<operationId>`, each error code at `#<code>`.
 */
export function docsPage(openApi: object): string {
  const document = openApi as Document;
  const { info, tags } = document;
  const all: Placed[] = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const groups = tags.map((tag) => ({
    ...tag,
    placed: all.filter(({ operation }) => operation.tags.includes(tag.name)),
  }));
  const nav = html`<nav><b>${info.title}</b><small>version ${info.version} · <a href="/openapi.json">openapi.json</a></small>
<input type="checkbox" id="menu"><label for="menu">Contents</label><div>
<h2>About</h2><ul>${headings(info.description).map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}
<li><a href="#about-in-a-shell">In a shell</a></li><li><a href="#about-in-a-browser">In a browser</a></li><li><a href="#errors">Errors</a></li><li><a href="#schemas">Schemas</a></li></ul>
${groups.map(
  ({ name, placed }) =>
    html`<h2>${name}</h2><ul>${placed.map(
      ({ method, operation }) =>
        html`<li><a href="#${operation.operationId}"><span class="m ${method}">${method.toUpperCase()}</span><span>${operation.summary}</span></a></li>`,
    )}</ul>`,
)}</div></nav>`;
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${info.title} API</title><link rel="icon" href="data:,"><style>${{ markup: style }}</style></head>
<body>${nav}<main>
<div class="intro"><h1>${info.title} API</h1>${markdown(info.description)}
<h2 id="about-in-a-shell">In a shell</h2>
<p>Paste this first, then the examples in their order: each sets the variables that later ones need. They run in sh with
<code>curl</code> and Node.</p>
<pre>${shellMark}</pre>
<h2 id="about-in-a-browser">In a browser</h2>
<p>A campaign's live events, with <code>api</code>, <code>id</code> and <code>key</code> (a publishable key) set:</p>
<pre>${browserExample}</pre></div>
${groups.map(
  ({ name, description, placed }) =>
    html`<h2 id="tag-${name.replaceAll(' ', '-')}">${name}</h2>${
      description !== undefined && html`<p>${description}</p>`
    }${placed.map((one) => operationSection(document, one))}`,
)}
${errorSection(document)}
${schemaSection(document)}
</main></body></html>
`.markup;
}
