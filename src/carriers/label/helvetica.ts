// Advance widths of U+0020 to U+007E in 1/1000 em: Adobe's metrics of the base-14 fonts (Core14 AFM).
const regular =
  '278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 278 584 ' +
  '584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667 944 667 ' +
  '667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556 333 500 278 ' +
  '556 500 722 500 500 500 334 260 334 584';
const bold =
  '278 333 474 556 556 889 722 238 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 333 333 584 ' +
  '584 584 611 975 722 722 722 722 667 611 778 722 278 556 722 611 833 722 778 667 778 722 667 611 722 667 944 667 ' +
  '667 611 333 278 333 584 556 333 556 611 556 611 556 333 611 611 278 278 556 278 889 611 611 611 611 389 556 333 ' +
  '611 556 778 556 556 500 389 280 389 584';
const widths = { regular: regular.split(' ').map(Number), bold: bold.split(' ').map(Number) };

// WinAnsiEncoding at 0x80 to 0x9F, with a space for its five empty positions. The rest is Latin-1.
const upper = '€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ';

export type Weight = 'regular' | 'bold';

/** The byte of a character in WinAnsiEncoding. Undefined if it has none. */
export function winAnsiByte(character: string): number | undefined {
  const code = character.codePointAt(0) ?? 0;
  if ((code >= 0x20 && code <= 0x7e) || (code >= 0xa1 && code <= 0xff && code !== 0xad)) return code;
  const index = character === ' ' ? -1 : upper.indexOf(character);
  return index < 0 ? undefined : 0x80 + index;
}

const wide = 'ÆŒæœ—…™‰¼½¾';
const signs = '×÷±¬';

/**
 * The advance width of a WinAnsi character in ems: exact for ASCII, close for accented letters, generous for others.
 */
export function advance(character: string, weight: Weight): number {
  const base = character.normalize('NFD').charCodeAt(0);
  const known = widths[weight][base - 0x20];
  return (known ?? (wide.includes(character) ? 1000 : signs.includes(character) ? 584 : 780)) / 1000;
}
