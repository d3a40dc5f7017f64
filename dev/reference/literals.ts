/** How a language writes values. */
type Language = {
  indent: string;
  text: (value: string) => string;
  name: (value: string) => string;
  words: { true: string; false: string; null: string };
};

const typescript: Language = {
  indent: '  ',
  text: (value) => `'${JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`,
  name: (value) => (/^[A-Za-z_]\w*$/.test(value) ? value : typescript.text(value)),
  words: { true: 'true', false: 'false', null: 'null' },
};

const python: Language = {
  indent: '    ',
  text: (value) => JSON.stringify(value),
  name: (value) => JSON.stringify(value),
  words: { true: 'True', false: 'False', null: 'None' },
};

function literal(value: unknown, language: Language, depth: number): string {
  const { indent, text, name, words } = language;
  if (typeof value === 'string') return text(value);
  if (value === null) return words.null;
  if (typeof value === 'boolean') return value ? words.true : words.false;
  if (typeof value !== 'object') return String(value);
  const items = Array.isArray(value)
    ? value.map((item) => literal(item, language, depth + 1))
    : Object.entries(value).map(([key, item]) => `${name(key)}: ${literal(item, language, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  if (items.length === 0) return `${open}${close}`;
  const pad = indent.repeat(depth + 1);
  return `${open}\n${items.map((item) => `${pad}${item},\n`).join('')}${indent.repeat(depth)}${close}`;
}

/** A JSON value as TypeScript, to stand at this depth of indentation. */
export const inTypeScript = (value: unknown, depth = 0): string => literal(value, typescript, depth);

/** A JSON value as Python, to stand at this depth of indentation. */
export const inPython = (value: unknown, depth = 0): string => literal(value, python, depth);
