/** Elements that begin and end a line. */
const blocks = new Set(
  (
    'address article aside blockquote br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header ' +
    'hr li main nav ol p pre section table tbody tfoot thead tr ul'
  ).split(' '),
);
/** Elements whose content is not text. */
const hidden = new Set(['script', 'style', 'template', 'svg', 'iframe', 'object', 'noscript']);

/** The names of the characters 160 to 255, in their order. */
const latin1 = (
  'nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro ' +
  'para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil ' +
  'Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave ' +
  'Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml ' +
  'igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute ' +
  'thorn yuml'
).split(' ');

const entities = new Map<string, string>([
  ...latin1.map((name, index): [string, string] => [name, String.fromCharCode(160 + index)]),
  ...Object.entries({
    ...{ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", ndash: '–', mdash: '—', hellip: '…', bull: '•' },
    ...{ lsquo: '‘', rsquo: '’', sbquo: '‚', ldquo: '“', rdquo: '”', bdquo: '„', lsaquo: '‹', rsaquo: '›' },
    ...{ euro: '€', trade: '™', OElig: 'Œ', oelig: 'œ', Scaron: 'Š', scaron: 'š', prime: '′', Prime: '″' },
    ...{ ensp: '\u2002', emsp: '\u2003', thinsp: '\u2009', zwnj: '\u200c', zwj: '\u200d', minus: '−', larr: '←' },
    ...{ rarr: '→', check: '✓', star: '☆', ge: '≥', le: '≤', ne: '≠', infin: '∞', dagger: '†' },
  }),
]);

function decodeEntity(written: string, body: string): string {
  if (!body.startsWith('#')) return entities.get(body) ?? written;
  const code = /^#x/i.test(body) ? Number.parseInt(body.slice(2), 16) : Number(body.slice(1));
  return code > 0 && code <= 0x10_ffff ? String.fromCodePoint(code).toWellFormed() : '\ufffd';
}

/** The index after the tag that begins at `open`. A `>` in a quoted attribute does not end it. */
function endOfTag(html: string, open: number): number {
  const mark = /["'>]/g;
  mark.lastIndex = open + 1;
  for (let found = mark.exec(html); found; found = mark.exec(html)) {
    if (found[0] === '>') return found.index + 1;
    const end = html.indexOf(found[0], found.index + 1);
    if (end !== -1) mark.lastIndex = end + 1;
  }
  return html.length;
}

/** The index where the content of a hidden element ends. */
function endOfContent(html: string, from: number, name: string): number {
  const close = new RegExp(`</${name}`, 'gi');
  close.lastIndex = from;
  return close.exec(html)?.index ?? html.length;
}

function withoutTags(html: string): string {
  const isMarkup = /<[a-z/!]/i.test(html);
  let text = '';
  for (let at = 0; at < html.length; ) {
    const next = html.indexOf('<', at);
    const open = next === -1 ? html.length : next;
    const part = html.slice(at, open);
    // Between tags a line break is a space. A text without any tag keeps its lines.
    text += isMarkup ? part.replaceAll(/[ \t\r\n\f]+/g, ' ') : part;
    const [tag, slash, name = ''] = /^<(\/?)([a-z][a-z0-9]*|[!?/])/i.exec(html.slice(open, open + 40)) ?? [];
    if (open === html.length) break;
    if (tag === undefined) {
      text += '<';
      at = open + 1;
    } else if (html.startsWith('<!--', open)) {
      const end = html.indexOf('-->', open + 4);
      at = end === -1 ? html.length : end + 3;
    } else {
      const element = name.toLowerCase();
      at = endOfTag(html, open);
      if (blocks.has(element)) text += '\n';
      else if (element === 'td' || element === 'th') text += ' ';
      else if (slash === '' && hidden.has(element)) at = endOfContent(html, at, element);
    }
  }
  return text;
}

/**
 * The text of HTML: without tags, scripts and styles, with the line breaks of its blocks, and with its entities
 * decoded. Whatever the HTML is, the text has no `<` before a letter, so nobody who shows it without escaping it shows
 * HTML. It takes time in proportion to the length.
 */
export function toPlainText(html: string): string {
  return (
    withoutTags(html)
      .replaceAll(/&(#\d{1,8}|#[xX][\da-fA-F]{1,6}|[a-zA-Z][a-zA-Z\d]{1,9});/g, decodeEntity)
      // Tags that were written as entities, and what is left of broken ones.
      .replaceAll(/<[a-z!?/][^<>]*>/gi, '')
      .replaceAll(/<(?=[a-z!?/])/gi, '< ')
      .replaceAll(/\r\n?/g, '\n')
      .replaceAll(/[^\P{Cc}\n\t]/gu, '')
      .split('\n')
      .map((line) => line.trim())
      .join('\n')
      .replaceAll(/\n{3,}/g, '\n\n')
      .trim()
  );
}
