/** The maximum nesting depth of arrays and objects. */
export const maxLevels = 128;

/** Replaces a number that a double cannot hold. JSON.parse turns it into Infinity, which every schema rejects. */
const unrepresentable = '1e999';

const quote = 0x22;
const backslash = 0x5c;

/** A number's significant digits and its exponent, without sign, decimal point and insignificant zeros. */
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

/** Whether a text is a JSON number that a double cannot hold. JSON.parse rejects text that is not a number. */
const isInexact = (written: string): boolean =>
  /^(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(written) && digits(written) !== digits(String(Number(written)));

/** The index after the closing quote of the string that begins at `from`. */
function endOfString(text: string, from: number): number {
  for (let index = text.indexOf('"', from + 1); index !== -1; index = text.indexOf('"', index + 1)) {
    let firstBackslash = index;
    while (text.charCodeAt(firstBackslash - 1) === backslash) firstBackslash--;
    if ((index - firstBackslash) % 2 === 0) return index + 1;
  }
  return text.length;
}

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;
/** Digits, and `+ - . E e`. */
const isNumberCharacter = (code: number): boolean =>
  isDigit(code) || code === 0x2e || code === 0x65 || code === 0x45 || code === 0x2b || code === 0x2d;

/**
 * The result of a scan. `levels`: the nesting depth; `values`: the text has at least this many values. It may be
 * invalid.
 */
export type Scan = { text: string; levels: number; values: number };

/**
 * Scans a JSON text without parsing it. Stops where it is nested too deeply or has more than `maxValues` values.
 * A number that a double cannot hold (`29.990000000000000001`) is replaced with one that is out of range.
 */
export function scanJson(text: string, maxValues = Number.POSITIVE_INFINITY): Scan {
  const parts: string[] = [];
  let copied = 0;
  let levels = 0;
  let deepest = 0;
  let values = 1;
  for (let index = 0; index < text.length; ) {
    const code = text.charCodeAt(index);
    if (code === quote) {
      index = endOfString(text, index);
    } else if (code === 0x5b || code === 0x7b) {
      if (++levels > deepest) deepest = levels;
      if (deepest > maxLevels) break;
      index++;
    } else if (code === 0x5d || code === 0x7d) {
      levels--;
      index++;
    } else if (code === 0x2c) {
      if (++values > maxValues) break;
      index++;
    } else if (isDigit(code)) {
      const from = index;
      let exponent = false;
      for (; isNumberCharacter(text.charCodeAt(index)); index++) exponent ||= (text.charCodeAt(index) | 0x20) === 0x65;
      // A double holds every decimal number of up to 15 digits.
      if ((exponent || index - from > 15) && isInexact(text.slice(from, index))) {
        parts.push(text.slice(copied, from), unrepresentable);
        copied = index;
      }
    } else {
      index++;
    }
  }
  if (parts.length > 0) parts.push(text.slice(copied));
  return { text: parts.length === 0 ? text : parts.join(''), levels: deepest, values };
}
