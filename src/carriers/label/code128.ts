// The widths of bar, space, bar, … in modules for the values 0 to 105, six digits each (ISO/IEC 15417, table 1).
const patterns =
  '212222222122222221121223121322131222122213122312132212221213221312231212112232122132122231113222123122123221' +
  '223211221132221231213212223112312131311222321122321221312212322112322211212123212321232121111323131123131321' +
  '112313132113132311211313231113231311112133112331132131113123113321133121313121211331231131213113213311213131' +
  '311123311321331121312113312311332111314111221411431111111224111422121124121421141122141221112214112412122114' +
  '122411142112142211241211221114413111241112134111111242121142121241114212124112124211411212421112421211212141' +
  '214121412121111143111341131141114113114311411113411311113141114131311141411131211412211214211232';
const stopPattern = '2331112';
const startB = 104;
const startC = 105;
const toC = 99;
const toB = 100;

const countDigits = (text: string, start: number): number => /^[0-9]*/.exec(text.slice(start))?.[0].length ?? 0;

/**
 * The symbol values of a Code 128 barcode without the stop symbol: start, data in sets B and C, check value. Digits are
 * packed in pairs (set C) wherever that is shorter: from four digits at either end, from six in between.
 * @throws RangeError if the text is empty or not printable ASCII
 */
export function code128Values(text: string): number[] {
  if (!/^[\x20-\x7e]+$/.test(text)) throw new RangeError('Code 128 takes printable ASCII text that is not empty');
  const leadingDigits = countDigits(text, 0);
  let inC = leadingDigits >= 4 || (leadingDigits === 2 && text.length === 2);
  const values = [inC ? startC : startB];
  let index = 0;
  while (index < text.length) {
    const digits = countDigits(text, index);
    if (inC && digits >= 2) {
      values.push(Number(text.slice(index, index + 2)));
      index += 2;
      continue;
    }
    if (inC) {
      inC = false;
      values.push(toB);
    } else if (digits % 2 === 0 && digits >= (index + digits === text.length ? 4 : 6)) {
      inC = true;
      values.push(toC);
      continue;
    }
    values.push(text.charCodeAt(index) - 32);
    index += 1;
  }
  const sum = values.reduce((total, value, place) => total + value * Math.max(place, 1), 0);
  return [...values, sum % 103];
}

/**
 * The barcode as widths in modules: bar, space, bar, …, ending in a bar. The caller adds the quiet zones (10 modules).
 */
export function code128Widths(text: string): number[] {
  const symbols = code128Values(text).map((value) => patterns.slice(value * 6, value * 6 + 6));
  return [...symbols.join(''), ...stopPattern].map(Number);
}
