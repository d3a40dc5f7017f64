/** How a programming language writes JSON values. */
type Language = {
  indent: string;
  text: (value: string) => string;
  name: (value: string) => string;
  keywords: { true: string; false: string; null: string };
};

const typescript: Language = {
  indent: '  ',
  text: (value) => `'${JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`,
  name: (value) => (/^[A-Za-z_]\w*$/.test(value) ? value : typescript.text(value)),
  keywords: { true: 'true', false: 'false', null: 'null' },
};

const python: Language = {
  indent: '    ',
  text: (value) => JSON.stringify(value),
  name: (value) => JSON.stringify(value),
  keywords: { true: 'True', false: 'False', null: 'None' },
};

function literal(value: unknown, language: Language, depth: number): string {
  const { indent, text, name, keywords } = language;
  if (typeof value === 'string') return text(value);
  if (value === null) return keywords.null;
  if (typeof value === 'boolean') return value ? keywords.true : keywords.false;
  if (typeof value !== 'object') return String(value);
  const items = Array.isArray(value)
    ? value.map((item) => literal(item, language, depth + 1))
    : Object.entries(value).map(([key, item]) => `${name(key)}: ${literal(item, language, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  if (items.length === 0) return `${open}${close}`;
  const pad = indent.repeat(depth + 1);
  return `${open}\n${items.map((item) => `${pad}${item},\n`).join('')}${indent.repeat(depth)}${close}`;
}

/** Writes a JSON value as TypeScript, indented by `depth` levels. */
export const inTypeScript = (value: unknown, depth = 0): string => literal(value, typescript, depth);

/** Writes a JSON value as Python, indented by `depth` levels. */
export const inPython = (value: unknown, depth = 0): string => literal(value, python, depth);

/** The image that samples upload and download. */
export const sampleFile = 'picture.webp';
