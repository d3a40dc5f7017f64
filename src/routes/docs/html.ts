/** Markup that may be put into a page as it is. */
export type Html = { readonly markup: string };

type Value = Html | string | number | undefined | false | readonly Value[];

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function markupOf(value: Value): string {
  if (value === undefined || value === false) return '';
  if (Array.isArray(value)) return value.map(markupOf).join('');
  if (typeof value === 'object') return (value as Html).markup;
  return String(value).replace(/[&<>"']/g, (character) => entities[character] ?? '');
}

/** A template whose values are escaped, except those that are markup already. */
export const html = (strings: TemplateStringsArray, ...values: Value[]): Html => ({
  markup: strings.map((text, at) => text + (at < values.length ? markupOf(values[at]) : '')).join(''),
});

/** Text with `code` in backticks. */
export function inline(text: string): Html {
  const parts = text.split(/`([^`]*)`/);
  return html`${parts.map((part, at) => (at % 2 === 1 ? html`<code>${part}</code>` : part))}`;
}

const idOf = (title: string) => `about-${title.toLowerCase().replaceAll(/[^a-z]+/g, '-')}`;

/** The part of Markdown that our descriptions use: headings of the second level, lists, paragraphs, code. */
export function markdown(text: string): Html {
  const blocks = text.split(/\n(?=## )|\n\n/).map((block) => block.trim());
  return html`${blocks.flatMap((block) => {
    const [first = '', ...rest] = block.split('\n');
    if (!first.startsWith('## ')) return [paragraphs(block)];
    const title = first.slice(3);
    return [html`<h2 id="${idOf(title)}">${title}</h2>`, rest.length > 0 && paragraphs(rest.join('\n'))];
  })}`;
}

function paragraphs(block: string): Html {
  if (!block.startsWith('- ')) return html`<p>${inline(block)}</p>`;
  return html`<ul>${block.split('\n').map((line) => html`<li>${inline(line.slice(2))}</li>`)}</ul>`;
}

/** The headings in a text, with the ids that `markdown` gives them. */
export const headings = (text: string): { id: string; title: string }[] =>
  [...text.matchAll(/^## (.+)$/gm)].map(([, title = '']) => ({ id: idOf(title), title }));

const token = /"(?:[^"\\]|\\.)*"(?=(\s*:)?)|\b(?:true|false|null)\b|-?\b\d[\d.]*(?:[eE][+-]?\d+)?/g;

/** JSON, indented and coloured. */
export function json(value: unknown): Html {
  const text = JSON.stringify(value, null, 2);
  const parts: Html[] = [];
  let at = 0;
  for (const match of text.matchAll(token)) {
    const kind = match[1] !== undefined ? 'k' : match[0].startsWith('"') ? 's' : 'n';
    parts.push(html`${text.slice(at, match.index)}<span class="${kind}">${match[0]}</span>`);
    at = match.index + match[0].length;
  }
  return html`${parts}${text.slice(at)}`;
}
