/** How deep arrays and objects may be nested. */
export const maxLevels = 128;

/** What stands in for a number that a double cannot hold: JSON.parse makes Infinity of it, which no schema takes. */
const unrepresentable = '1e999';

const quote = 0x22;
const backslash = 0x5c;

/** The digits of a number without sign, point, exponent and the zeros that do not count. */
function digits(written: string): string {
  const [mantissa = '', exponent = '0'] = written.toLowerCase().split('e');
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.');
  const plain = whole + fraction;
  let first = 0;
  while (plain.charCodeAt(first) === 0x30) first++;
  let end = plain.length;
  while (end > first && plain.charCodeAt(end - 1) === 0x30) end--;
  if (end === first) return '0';
  return `${plain.slice(first, end)}e${Number(exponent) - fraction.length + (plain.length - end)}`;
}

/** Whether it is a JSON number that a double cannot hold. What is no number at all is left to JSON.parse. */
const isInexact = (written: string): boolean =>
  /^(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(written) && digits(written) !== digits(String(Number(written)));

/** Where a string that begins at `from` ends: behind its closing quote. */
function endOfString(text: string, from: number): number {
  for (let at = text.indexOf('"', from + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let before = at;
    while (text.charCodeAt(before - 1) === backslash) before--;
    if ((at - before) % 2 === 0) return at + 1;
  }
  return text.length;
}

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;
/** Digits, and `+ - . E e`. */
const isOfNumber = (code: number): boolean =>
  isDigit(code) || code === 0x2e || code === 0x65 || code === 0x45 || code === 0x2b || code === 0x2d;

/** What a look at a JSON text tells, valid or not: how deep it is nested, and how many values it has at least. */
export type Scan = { text: string; levels: number; values: number };

/**
 * Reads a JSON text once, without parsing it, and stops where it is nested too deeply or has more than `maxValues`.
 * Numbers that a double cannot hold (`29.990000000000000001`) are replaced by one that is out of range.
 */
export function scanJson(text: string, maxValues = Number.POSITIVE_INFINITY): Scan {
  const parts: string[] = [];
  let copied = 0;
  let levels = 0;
  let deepest = 0;
  let values = 1;
  for (let at = 0; at < text.length; ) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      at = endOfString(text, at);
    } else if (code === 0x5b || code === 0x7b) {
      if (++levels > deepest) deepest = levels;
      if (deepest > maxLevels) break;
      at++;
    } else if (code === 0x5d || code === 0x7d) {
      levels--;
      at++;
    } else if (code === 0x2c) {
      if (++values > maxValues) break;
      at++;
    } else if (isDigit(code)) {
      const from = at;
      let exponent = false;
      for (; isOfNumber(text.charCodeAt(at)); at++) exponent ||= (text.charCodeAt(at) | 0x20) === 0x65;
      // A double holds every decimal of up to 15 digits.
      if ((exponent || at - from > 15) && isInexact(text.slice(from, at))) {
        parts.push(text.slice(copied, from), unrepresentable);
        copied = at;
      }
    } else {
      at++;
    }
  }
  if (parts.length > 0) parts.push(text.slice(copied));
  return { text: parts.length === 0 ? text : parts.join(''), levels: deepest, values };
}
