import { type Address, CarrierError } from '../carrier.ts';
import type { Weight } from './helvetica.ts';
import { textWidth } from './pdf.ts';
import { makePrintable, type Printable, Unprintable } from './romanise.ts';

export type Line = { text: string; weight: Weight };
export type PrintableAddress = { lines: Line[]; scripts: Set<Printable['script']>; postalCode: string };

// Countries whose postal code comes before the town. Elsewhere it follows town and region.
const postalCodeFirst =
  'AT BE BG CH CZ DE DK EE ES FI FR GR HR HU IS IT LI LT LU MC NL NO PL PT RO RS SE SI SK TR'.split(' ');

const addressError = (field: string, reason: string) => new CarrierError('manual', `${field}: ${reason}`, true);

// A text as it is printed, and in Latin letters if those differ.
type Pair = { shown: string; latin: string };

const townLine = (country: string, city: string, region: string, postalCode: string): string => {
  const place = [city, region].filter((part) => part !== '').join(', ');
  return (postalCodeFirst.includes(country) ? [postalCode, place] : [place, postalCode]).join(' ').trim();
};

const countryName = (code: string): string | undefined =>
  /^[A-Z]{2}$/.test(code) ? new Intl.DisplayNames('en', { type: 'region', fallback: 'none' }).of(code) : undefined;

/**
 * Converts a text to letters that the label can print.
 * @param field its name in the request, for the error message, which does not quote the text
 * @throws CarrierError (permanent)
 */
export function requirePrintable(text: string, field: string, country: string): Printable {
  try {
    return makePrintable(text, country);
  } catch (error) {
    if (!(error instanceof Unprintable)) throw error;
    throw addressError(field, `${error.message}. Give it in Latin letters`);
  }
}

/**
 * The lines of an address in postal order, with the country last, in English capitals (Universal Postal Convention).
 * Each is in letters that the label can print; `makePrintable` says what happens to other scripts. A line of kana or
 * Hangul is followed by the same line in Latin letters.
 * @param which `to` or `from`, for the error message
 * @throws CarrierError (permanent) that names the field: it is empty, an unknown country, or has unprintable letters
 */
export function addressLines(address: Address, which: 'to' | 'from'): PrintableAddress {
  const scripts = new Set<Printable['script']>();
  const show = (field: keyof Address, required = false): Pair => {
    const { text, romanised, script } = requirePrintable(address[field] ?? '', `${which}.${field}`, address.country);
    if (required && text === '') throw addressError(`${which}.${field}`, 'is empty');
    scripts.add(romanised === undefined ? script : 'transliterated');
    return { shown: text, latin: romanised ?? text };
  };
  const country = countryName(address.country);
  if (country === undefined) throw addressError(`${which}.country`, 'is not an ISO 3166-1 alpha-2 code');
  const [city, region, postalCode] = [show('city', true), show('region'), show('postalCode')];
  const town = {
    shown: townLine(address.country, city.shown, region.shown, postalCode.shown),
    latin: townLine(address.country, city.latin, region.latin, postalCode.latin),
  };
  const phone = show('phone').shown;
  const lines = (pairs: Pair[], weight: Weight): Line[] =>
    pairs.flatMap(({ shown, latin }) => [...new Set([shown, latin])].map((text) => ({ text, weight })));
  const all = [
    ...lines([show('name', true), show('company')], 'bold'),
    ...lines([show('line1', true), show('line2'), town], 'regular'),
    { text: makePrintable(country, 'US').text.toUpperCase(), weight: 'bold' as const },
    { text: phone === '' ? '' : `Tel. ${phone}`, weight: 'regular' as const },
  ];
  return { lines: all.filter((line) => line.text !== ''), scripts, postalCode: postalCode.shown };
}

// A line may break at a space and next to any East Asian character. A word that is too long breaks anywhere.
const wrap = (line: Line, width: number, size: number): Line[] => {
  const rows: string[] = [];
  let row = '';
  for (const word of line.text.match(/[⺀-龥가-힣ぁ-ヶ々]|[^\s⺀-龥가-힣ぁ-ヶ々]+\s*|\s+/gu) ?? []) {
    for (const part of textWidth(word.trimEnd(), size, line.weight) > width ? [...word] : [word]) {
      if (row !== '' && textWidth((row + part).trimEnd(), size, line.weight) > width) {
        rows.push(row.trimEnd());
        row = '';
      }
      row += part;
    }
  }
  return [...rows, row.trimEnd()].map((text) => ({ text, weight: line.weight }));
};

/** The line height of a block of lines, relative to the font size. */
export const leading = 1.18;

/**
 * Wraps lines to a width and picks the largest font size, in steps of half a point, at which all of them fit the box.
 * Sizes are in points.
 * @throws CarrierError (permanent) if they do not fit at the smallest size: an address is never cut
 */
export function fitLines(lines: Line[], box: { width: number; height: number; largest: number; smallest: number }) {
  for (let size = box.largest; size >= box.smallest; size -= 0.5) {
    const rows = lines.flatMap((line) => wrap(line, box.width, size));
    if (rows.length * size * leading <= box.height) return { rows, size };
  }
  throw addressError('address', 'is too long for the label');
}
