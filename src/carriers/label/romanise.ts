import { latinLetter, transliterateLetter, transliteratePairs } from './alphabets.ts';
import { winAnsiByte } from './helvetica.ts';
import { romaniseHangul, romaniseKana } from './syllables.ts';

/**
 * How a line of an address is printed. `text` has only characters of the label's fonts. `romanised` repeats a line of
 * kana or Hangul in Latin letters; a line with Chinese characters has none, since their reading is unknown. `script`
 * decides which notice the label prints; Latin text needs none.
 */
export type Printable = { text: string; romanised?: string; script: 'latin' | 'transliterated' | 'east_asian' };

/** Thrown for characters that the label can neither print nor transliterate. */
export class Unprintable extends Error {
  constructor(characters: string[]) {
    super(`no Latin letters are known for ${characters.map((character) => `U+${hex(character)}`).join(', ')}`);
    this.name = 'Unprintable';
  }
}

const hex = (character: string) => (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');

// The ideographs of GB 18030-2000, which the predefined Chinese collection covers, and their repetition marks.
const isIdeograph = (character: string) => /[㐀-䶵一-龥々〇ゝゞヽヾ]/u.test(character);
const isSyllable = (character: string) => /[ぁ-ゖァ-ヶー가-힣]/u.test(character);

const arabicDigit = (character: string): string | undefined =>
  /[٠-٩۰-۹]/.test(character) ? String(character.charCodeAt(0) & 0xf) : undefined;

const isKnown = (character: string, country: string): boolean =>
  winAnsiByte(character) !== undefined ||
  isIdeograph(character) ||
  isSyllable(character) ||
  latinLetter(character) !== undefined ||
  transliterateLetter(character.toLowerCase(), country) !== undefined;

// Marks of alphabets that can be read without them (vowel points, accents). In other scripts a mark can be a vowel.
const isDroppableMark = (character: string): boolean =>
  /\p{M}/u.test(character) &&
  /[\p{Script=Inherited}\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Cyrillic}]/u.test(character);

// Removes marks one by one, so that the rest is as close to the original as WinAnsi allows: ễ becomes ê, ő becomes o.
const dropUnsupportedMarks = (character: string): string | undefined => {
  const parts = [...character.normalize('NFD')];
  for (let length = parts.length - 1; length > 0; length -= 1) {
    const shorter = parts.slice(0, length).join('').normalize('NFC');
    if ([...shorter].every((part) => winAnsiByte(part) !== undefined)) return shorter;
  }
  return undefined;
};

const matchCase = (letters: string, upper: boolean, next: string | undefined): string => {
  if (!upper || letters === '') return letters;
  if (next !== undefined && /\p{Lu}/u.test(next)) return letters.toUpperCase();
  return letters.charAt(0).toUpperCase() + letters.slice(1);
};

const cleanUp = (text: string): string =>
  text
    .normalize('NFC')
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .replace(
      /[\p{Cf}\p{Co}\p{Variation_Selector}]|(?![©®™])\p{Extended_Pictographic}|[\u{1f1e6}-\u{1f1ff}\u{1f3fb}-\u{1f3ff}]/gu,
      '',
    )
    .trim();

/** Latin letters for one character that WinAnsi lacks. `foreign`: it came from another script. */
function latinOf(
  character: string,
  next: string | undefined,
  country: string,
): { letters: string; foreign: boolean } | undefined {
  const lower = character.toLowerCase();
  const upper = lower !== character;
  for (const letter of [lower, lower.normalize('NFD').charAt(0)]) {
    const foreign = transliterateLetter(letter, country) ?? arabicDigit(letter);
    if (foreign !== undefined) return { letters: matchCase(foreign, upper, next), foreign: true };
  }
  const stripped = dropUnsupportedMarks(character);
  if (stripped !== undefined) return { letters: stripped, foreign: false };
  const plain = latinLetter(lower) ?? latinLetter(lower.normalize('NFD').charAt(0));
  return plain === undefined ? undefined : { letters: matchCase(plain, upper, next), foreign: false };
}

// For text from a script without capitals.
const capitalised = (text: string): string => text.replace(/(^|[\s-])([a-z])/g, (word) => word.toUpperCase());

/**
 * Converts a line to printable characters. No letter is replaced with a question mark or a gap. WinAnsi characters
 * stay; other Latin letters lose the marks that WinAnsi lacks. Greek, Cyrillic, Armenian, Georgian, Hebrew and Arabic
 * are transliterated, by the rule of `country` if it has one. Chinese, Japanese and Korean stay, and kana and Hangul
 * are repeated in Latin letters. Emoji and invisible characters are dropped, since they are not part of an address.
 * @throws Unprintable for letters of any other script
 */
export function makePrintable(original: string, country: string): Printable {
  const text = cleanUp(original);
  const plain = [...transliteratePairs(text)].map((character) =>
    isKnown(character, country) ? character : character.normalize('NFKC'),
  );
  const characters = [...plain.join('').normalize('NFC')];
  const missing: string[] = [];
  let shown = '';
  let foreign = false;
  let eastAsian = false;
  characters.forEach((character, index) => {
    if (winAnsiByte(character) !== undefined) {
      shown += character;
    } else if (isIdeograph(character) || isSyllable(character)) {
      shown += character;
      eastAsian = true;
    } else if (!isDroppableMark(character)) {
      const found = latinOf(character, characters[index + 1], country);
      shown += found?.letters ?? '';
      foreign ||= found?.foreign ?? false;
      if (!found) missing.push(character);
    }
  });
  if (missing.length > 0) throw new Unprintable([...new Set(missing)]);
  shown = shown.replace(/ {2,}/g, ' ').trim();
  if (!eastAsian && !foreign) return { text: shown, script: 'latin' };
  if (!eastAsian) return { text: /\p{Lu}/u.test(shown) ? shown : capitalised(shown), script: 'transliterated' };
  if ([...shown].some(isIdeograph)) return { text: shown, script: 'east_asian' };
  return { text: shown, romanised: capitalised(romaniseHangul(romaniseKana(shown))), script: 'east_asian' };
}
