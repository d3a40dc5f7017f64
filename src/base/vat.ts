/**
 * VAT numbers of the European Union: how each member state writes them, and their check digits.
 *
 * Forms: "VAT identification number structure", question 11 of the FAQ of VIES (European Commission). Check digits:
 * "Konstruktionsregeln der UID-Nummern aller Mitgliedstaaten" (Austria's Federal Ministry of Finance), and for each
 * country the authority that its rule names. Where no rule is public, the form alone is checked, and VIES decides.
 */

const digitsOf = (text: string): number[] => [...text].map(Number);

/** The sum of the digits, each times its weight. */
const weigh = (number: string, weights: number[]): number =>
  weights.reduce((sum, weight, index) => sum + weight * Number(number[index]), 0);

const last = (number: string): number => Number(number.at(-1));

/** The Luhn algorithm (ISO/IEC 7812-1, annex B): every second digit from the right is doubled, and its digits added. */
function hasLuhn(number: string): boolean {
  const sum = digitsOf(number)
    .reverse()
    .reduce((total, digit, index) => total + (index % 2 === 0 ? digit : ((digit * 2) % 10) + (digit >= 5 ? 1 : 0)), 0);
  return sum % 10 === 0;
}

/** ISO/IEC 7064, MOD 11,10. */
function hasMod11And10(number: string): boolean {
  let product = 10;
  for (const digit of digitsOf(number.slice(0, -1))) product = (((product + digit) % 10 || 10) * 2) % 11;
  return (product + last(number)) % 10 === 1;
}

/** ISO/IEC 7064, MOD 97-10. A letter counts as two digits: A is 10, Z is 35. */
function hasMod97And10(text: string): boolean {
  let rest = 0;
  for (const character of text) {
    const value = Number.parseInt(character, 36);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest === 1;
}

/** Austria, Ministry of Finance. */
function isAustrian(number: string): boolean {
  const digits = digitsOf(number.slice(1));
  const sum = digits
    .slice(0, 7)
    .reduce((total, digit, index) => total + (index % 2 === 0 ? digit : Math.floor(digit / 5) + ((digit * 2) % 10)), 0);
  return (96 - sum) % 10 === digits[7];
}

/** Belgium, Crossroads Bank for Enterprises: 97 less the rest of the first eight digits. */
const isBelgian = (number: string): boolean => 97 - (Number(number.slice(0, 8)) % 97) === Number(number.slice(8));

/** Bulgaria, National Revenue Agency: 9 digits for the register BULSTAT, 10 for people (EGN), foreigners and others. */
function isBulgarian(number: string): boolean {
  if (number.length === 9) {
    const rest = weigh(number, [1, 2, 3, 4, 5, 6, 7, 8]) % 11;
    const check = rest === 10 ? weigh(number, [3, 4, 5, 6, 7, 8, 9, 10]) % 11 : rest;
    return check % 10 === last(number);
  }
  const person = (weigh(number, [2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11) % 10;
  const foreigner = weigh(number, [21, 19, 17, 13, 11, 9, 7, 3, 1]) % 10;
  const other = 11 - (weigh(number, [4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11);
  return [person, foreigner, other % 11].includes(last(number));
}

/** Cyprus, Tax Department. */
function isCypriot(number: string): boolean {
  const ofOddPlace = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
  const sum = digitsOf(number.slice(0, 8)).reduce(
    (total, digit, index) => total + (index % 2 === 0 ? (ofOddPlace[digit] ?? 0) : digit),
    0,
  );
  return String.fromCharCode(65 + (sum % 26)) === number.at(-1);
}

/** Czechia, Ministry of Finance: 8 digits for companies, 9 with a 6 in front and 9 or 10 for people (birth number). */
function isCzech(number: string): boolean {
  if (number.length === 8) {
    const check = (11 - (weigh(number, [8, 7, 6, 5, 4, 3, 2]) % 11)) % 11;
    return (check === 0 ? 1 : check % 10) === last(number);
  }
  if (number.length === 9 && number.startsWith('6')) {
    const rest = weigh(number.slice(1), [8, 7, 6, 5, 4, 3, 2]) % 11;
    return (18 - ((10 - rest + 11) % 11)) % 10 === last(number);
  }
  return number.length === 9 || (Number(number.slice(0, 9)) % 11) % 10 === last(number);
}

const dniLetters = 'TRWAGMYFPDXBNJZSQVHLCKE';
const cifLetters = 'JABCDEFGHI';

/** Spain, Agencia Tributaria: DNI and NIE of people (a letter by the rest of 23), and CIF of others (Luhn). */
function isSpanish(number: string): boolean {
  const letter = number.at(-1) ?? '';
  const first = number[0] ?? '';
  if (/[\dXYZ]/.test(first)) {
    const place = 'XYZ'.indexOf(first);
    const digits = (place === -1 ? first : String(place)) + number.slice(1, 8);
    return dniLetters[Number(digits) % 23] === letter;
  }
  if (/[KLM]/.test(first)) return dniLetters[Number(number.slice(1, 8)) % 23] === letter;
  const check = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].find((digit) => hasLuhn(`${number.slice(1, 8)}${digit}`)) ?? 0;
  return letter === String(check) || letter === cifLetters[check];
}

/**
 * France, DGFiP: a key for the SIREN (Luhn). Monaco's numbers begin with 000. A key with a letter has no public rule.
 */
function isFrench(number: string): boolean {
  const siren = number.slice(2);
  if (!siren.startsWith('000') && !hasLuhn(siren)) return false;
  const key = number.slice(0, 2);
  return !/^\d+$/.test(key) || (Number(siren) * 100 + 12) % 97 === Number(key);
}

/** Northern Ireland, HMRC: the rest of 97, since 2009 also that of 55 more or 42 more. Branches add three digits. */
function isNorthernIrish(number: string): boolean {
  if (/^(GD|HA)/.test(number)) return true;
  const rest = weigh(number, [8, 7, 6, 5, 4, 3, 2, 10, 1]) % 97;
  return rest === 0 || (!number.startsWith('0') && [42, 55].includes(rest));
}

const irishLetters = 'WABCDEFGHIJKLMNOPQRSTUV';

/**
 * Ireland, Revenue: seven digits, a check letter, and since 2013 another letter. Old numbers have a sign or letter
 * second.
 */
function isIrish(number: string): boolean {
  const isNew = /^\d{7}/.test(number);
  const digits = isNew ? number.slice(0, 7) : `0${number.slice(2, 7)}${number[0]}`;
  const second = isNew && number.length === 9 ? irishLetters.indexOf(number[8] ?? '') : 0;
  return irishLetters[(weigh(digits, [8, 7, 6, 5, 4, 3, 2]) + 9 * second) % 23] === number[7];
}

/** Lithuania, State Tax Inspectorate: 9 digits for companies, 12 for others. */
function isLithuanian(number: string): boolean {
  const weightsFrom = (start: number) =>
    Array.from({ length: number.length - 1 }, (_, index) => 1 + ((index + start) % 9));
  const rest = weigh(number, weightsFrom(0)) % 11;
  return (rest === 10 ? (weigh(number, weightsFrom(2)) % 11) % 10 : rest) === last(number);
}

/** Latvia, State Revenue Service. The codes of people, which begin with 0 to 3, have no public rule. */
const isLatvian = (number: string): boolean =>
  /^[0-3]/.test(number) || weigh(number, [9, 1, 4, 8, 3, 10, 2, 5, 7, 6, 1]) % 11 === 3;

/** Netherlands, Belastingdienst: the elfproef until 2019, and for sole traders since 2020 MOD 97-10 of the whole. */
const isDutch = (number: string): boolean =>
  weigh(number, [9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 === 0 || hasMod97And10(`NL${number}`);

/** Portugal, Autoridade Tributária e Aduaneira. */
const isPortuguese = (number: string): boolean =>
  ((11 - (weigh(number, [9, 8, 7, 6, 5, 4, 3, 2]) % 11)) % 11) % 10 === last(number);

/** Romania, ANAF: 2 to 10 digits, filled with zeros from the left. */
const isRomanian = (number: string): boolean =>
  ((weigh(number.padStart(10, '0'), [7, 5, 3, 2, 1, 7, 5, 3, 2]) * 10) % 11) % 10 === last(number);

/** Greece, AADE: powers of two. */
const isGreek = (number: string): boolean =>
  (weigh(number, [256, 128, 64, 32, 16, 8, 4, 2]) % 11) % 10 === last(number);

type Rule = { form: RegExp; example: string; check: (number: string) => boolean };

/**
 * By the prefix of the number. Greece writes EL; Northern Ireland counts as a part of the Union for goods, and writes
 * XI.
 */
const rules: Record<string, Rule> = {
  AT: { form: /^U\d{8}$/, example: 'ATU13585627', check: isAustrian },
  BE: { form: /^[01]\d{9}$/, example: 'BE0428759497', check: isBelgian },
  BG: { form: /^\d{9,10}$/, example: 'BG175074752', check: isBulgarian },
  CY: { form: /^(?!12)\d{8}[A-Z]$/, example: 'CY10259033P', check: isCypriot },
  CZ: { form: /^\d{8,10}$/, example: 'CZ25123891', check: isCzech },
  // Bundeszentralamt für Steuern
  DE: { form: /^[1-9]\d{8}$/, example: 'DE136695976', check: hasMod11And10 },
  // Erhvervsstyrelsen
  DK: { form: /^[1-9]\d{7}$/, example: 'DK13585628', check: (n) => weigh(n, [2, 7, 6, 5, 4, 3, 2, 1]) % 11 === 0 },
  // Maksu- ja Tolliamet
  EE: { form: /^\d{9}$/, example: 'EE100931558', check: (n) => weigh(n, [3, 7, 1, 3, 7, 1, 3, 7, 1]) % 10 === 0 },
  EL: { form: /^\d{9}$/, example: 'EL094259216', check: isGreek },
  ES: { form: /^(\d{8}[A-Z]|[XYZKLM]\d{7}[A-Z]|[A-HJNP-SUVW]\d{7}[A-J\d])$/, example: 'ESB58378431', check: isSpanish },
  // Verohallinto
  FI: { form: /^\d{8}$/, example: 'FI20774740', check: (n) => weigh(n, [7, 9, 10, 5, 8, 4, 2, 1]) % 11 === 0 },
  FR: { form: /^[A-HJ-NP-Z\d]{2}\d{9}$/, example: 'FR40303265045', check: isFrench },
  // Porezna uprava: OIB
  HR: { form: /^\d{11}$/, example: 'HR33392005961', check: hasMod11And10 },
  // NAV: the first eight digits of the adószám
  HU: { form: /^\d{8}$/, example: 'HU12892312', check: (n) => weigh(n, [9, 7, 3, 1, 9, 7, 3, 1]) % 10 === 0 },
  IE: { form: /^(\d{7}[A-W][A-IW]?|\d[A-Z+*]\d{5}[A-W])$/, example: 'IE6433435F', check: isIrish },
  // Agenzia delle Entrate
  IT: { form: /^(?!0{7})\d{11}$/, example: 'IT00743110157', check: hasLuhn },
  LT: { form: /^(\d{7}1\d|\d{10}1\d)$/, example: 'LT119511515', check: isLithuanian },
  // Administration de l'enregistrement, des domaines et de la TVA
  LU: { form: /^\d{8}$/, example: 'LU15027442', check: (n) => Number(n.slice(0, 6)) % 89 === Number(n.slice(6)) },
  LV: { form: /^\d{11}$/, example: 'LV40003521600', check: isLatvian },
  // Commissioner for Tax and Customs
  MT: { form: /^[1-9]\d{7}$/, example: 'MT11679112', check: (n) => weigh(n, [3, 4, 6, 7, 8, 9, 10, 1]) % 37 === 0 },
  NL: { form: /^(?!0{9})\d{9}B(?!00)\d{2}$/, example: 'NL004495445B01', check: isDutch },
  // Ministerstwo Finansów: NIP
  PL: { form: /^\d{10}$/, example: 'PL8567346215', check: (n) => weigh(n, [6, 5, 7, 2, 3, 4, 5, 6, 7, -1]) % 11 === 0 },
  PT: { form: /^[1-9]\d{8}$/, example: 'PT501964843', check: isPortuguese },
  RO: { form: /^[1-9]\d{1,9}$/, example: 'RO18547290', check: isRomanian },
  // Skatteverket: the organisation number and two digits
  SE: { form: /^\d{10}(?!00)\d{2}$/, example: 'SE123456789701', check: (n) => hasLuhn(n.slice(0, 10)) },
  // Finančna uprava
  SI: { form: /^[1-9]\d{7}$/, example: 'SI50223054', check: (n) => slovenianCheck(n) === last(n) },
  // Finančná správa
  SK: { form: /^\d{10}$/, example: 'SK2022749619', check: (n) => Number(n) % 11 === 0 },
  XI: { form: /^(\d{9}(\d{3})?|GD[0-4]\d{2}|HA[5-9]\d{2})$/, example: 'XI434031494', check: isNorthernIrish },
};

/** 10 stands for 0, and 11 is never given. */
function slovenianCheck(number: string): number {
  const check = 11 - (weigh(number, [8, 7, 6, 5, 4, 3, 2]) % 11);
  return check === 10 ? 0 : check;
}

/**
 * The number as VIES takes it: capital letters and digits. Greece's GR is EL, and Belgium's old nine digits get a 0.
 */
export const normalizeVatNumber = (text: string): string =>
  text
    .toUpperCase()
    .replaceAll(/[\s./-]/g, '')
    .replace(/^GR/, 'EL')
    .replace(/^BE(?=\d{9}$)/, 'BE0');

/**
 * Why a normalized number is not valid; undefined if its form and check digits are right. VIES knows whether it exists.
 */
export function vatNumberFault(number: string): string | undefined {
  const rule = rules[number.slice(0, 2)];
  if (!rule)
    return 'must begin with the code of a member state of the European Union, or XI for Northern Ireland, such as DE136695976';
  const rest = number.slice(2);
  if (!rule.form.test(rest)) return `must be written as a number of ${number.slice(0, 2)}, such as ${rule.example}`;
  if (!rule.check(rest)) return 'has a wrong check digit: look for a mistyped or missing character';
  return undefined;
}

/** The country codes of numbers. */
export const vatPrefixes: readonly string[] = Object.keys(rules);
