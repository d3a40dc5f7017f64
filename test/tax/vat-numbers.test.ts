import { describe, expect, test } from 'vitest';
import { mulberry32 } from '../../dev/stripe/webhooks.ts';
import { normalizeVatNumber, vatNumberFault, vatPrefixes } from '../../src/base/vat.ts';

/** Numbers of every member state, and of each kind that it gives. */
const numbers = [
  ...['ATU13585627', 'BE0428759497', 'BG175074752', 'BG7523169263', 'BG8032056031', 'CY10259033P', 'CZ25123891'],
  ...['CZ640903926', 'CZ7103192745', 'DE136695976', 'DK13585628', 'EE100931558', 'EL094259216', 'ES54362315K'],
  ...['ESX5253868R', 'ESM1234567L', 'ESB58378431', 'ESJ99216582', 'FI20774740', 'FR40303265045', 'FR83404833048'],
  ...['FRK7399859412', 'HR33392005961', 'HU12892312', 'IE6433435F', 'IE6433435OA', 'IE8D79739I', 'IT00743110157'],
  ...['LT119511515', 'LT100001919017', 'LU15027442', 'LV40003521600', 'LV16117519997', 'MT11679112'],
  ...['NL004495445B01', 'NL123456789B13', 'PL8567346215', 'PL5260001246', 'PT501964843', 'RO18547290'],
  ...['SE123456789701', 'SE556188840401', 'SI50223054', 'SK2022749619', 'XI434031494', 'XI980780684001', 'XIGD001'],
];

/** The same numbers with one wrong digit, or a wrong check letter. */
const mistyped = [
  ...['ATU13585626', 'BE0428759479', 'BG175074751', 'BG8032056032', 'CY10259033Z', 'CZ25123890', 'CZ640903927'],
  ...['CZ7103192746', 'DE136695978', 'DK13585627', 'EE100931557', 'EL094259217', 'ES54362315Z', 'ESX5253868S'],
  ...['ESB58378432', 'ESJ99216583', 'FI20774741', 'FR84323140391', 'FR41303265045', 'HR33392005962', 'HU12892313'],
  ...['IE6433435E', 'IE6433436OA', 'IE8D79738J', 'IT00743110158', 'LT100001919018', 'LT119511516', 'LU15027443'],
  ...['LV40003521601', 'MT11679113', 'NL004495446B01', 'PL8567346216', 'PT501964842', 'RO18547291'],
  ...['SE123456789101', 'SI50223055', 'SK2022749618', 'XI802311781'],
];

/** Countries whose check digits find every wrong digit, and how many characters at the end they do not cover. */
const strong = [
  ...['ATU13585627', 'BE0428759497', 'CY10259033P', 'DE136695976', 'DK13585628', 'EE100931558', 'ES54362315K'],
  ...['ESB58378431', 'FI20774740', 'FR40303265045', 'HR33392005961', 'HU12892312', 'IE6433435F', 'IT00743110157'],
  ...['LU15027442', 'MT11679112', 'PL8567346215', 'SK2022749619'],
];

const isDigit = (character: string | undefined) => character !== undefined && /\d/.test(character);
const withDigit = (number: string, place: number, digit: number) =>
  `${number.slice(0, place)}${digit}${number.slice(place + 1)}`;

describe('a VAT number', () => {
  test('of every member state and of Northern Ireland is accepted', () => {
    expect(numbers.filter((number) => vatNumberFault(number) !== undefined)).toEqual([]);
    expect(new Set(numbers.map((number) => number.slice(0, 2)))).toEqual(new Set(vatPrefixes));
    expect(vatPrefixes).toHaveLength(28);
  });

  test('with a wrong check digit is refused, and the reason says so', () => {
    for (const number of mistyped)
      expect([number, vatNumberFault(number)]).toEqual([number, expect.stringMatching(/^has a wrong check digit/)]);
  });

  test('with any one wrong digit is refused, where the check digits find every one', () => {
    const random = mulberry32(14);
    for (const sample of strong) {
      for (let found = 0; found < 25; ) {
        const number = [...sample].map((c, at) => (at > 1 && isDigit(c) ? Math.floor(random() * 10) : c)).join('');
        if (vatNumberFault(number) !== undefined) continue;
        found++;
        for (let place = 2; place < number.length; place++) {
          if (!isDigit(number[place])) continue;
          const others = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].filter((digit) => String(digit) !== number[place]);
          const missed = others.map((digit) => withDigit(number, place, digit)).filter((each) => !vatNumberFault(each));
          expect([number, missed]).toEqual([number, []]);
        }
      }
    }
  }, 120_000);

  test.each([
    ['without a country', '136695976', /^must begin with the code of a member state/],
    ['of Great Britain', 'GB980780684', /^must begin with the code of a member state/],
    ['of Switzerland', 'CHE123456788', /^must begin with the code of a member state/],
    ['that is too short', 'DE13669597', /^must be written as a number of DE, such as DE136695976/],
    ['that is too long', 'DE1366959760', /^must be written as a number of DE/],
    ['with a letter among its digits', 'DE13669597O', /^must be written as a number of DE/],
    ['of Austria without its U', 'AT13585627', /^must be written as a number of AT/],
    ['of the Netherlands without its B', 'NL004495445001', /^must be written as a number of NL/],
    ['that is empty', '', /^must begin/],
  ])('%s is refused, and the reason says what it must be', (_, number, reason) => {
    expect(vatNumberFault(number)).toMatch(reason);
  });

  test.each([
    ['de 136 695 976', 'DE136695976'],
    ['ATU-1358.5627', 'ATU13585627'],
    ['gr094259216', 'EL094259216'],
    ['BE 428.759.497', 'BE0428759497'],
  ])('written as %s is read as %s', (written, number) => {
    expect(normalizeVatNumber(written)).toBe(number);
    expect(vatNumberFault(number)).toBeUndefined();
  });
});
