/** Invisible characters that Unicode does not class as white space: soft hyphen, zero-width and blank letters. */
const invisible =
  '\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2800\u3164\uffa0';

const isBlank = (character: string): boolean => /\s/.test(character) || invisible.includes(character);

/** Removes white space and invisible characters from the start and end of a text. */
export function trimmed(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(text.charAt(from))) from++;
  while (to > from && isBlank(text.charAt(to - 1))) to--;
  return text.slice(from, to);
}

/** Whether a text has a visible character. */
export const isVisible = (text: string): boolean => /[^\s\p{Z}\p{Cc}\p{DI}\u2800]/u.test(text);

/** Whether a text has no control characters (except tab and line breaks) and no half of a surrogate pair. */
export const isPlain = (text: string): boolean =>
  text.isWellFormed() && !/\p{Cc}/u.test(text.replaceAll(/[\n\t\r]/g, ''));
