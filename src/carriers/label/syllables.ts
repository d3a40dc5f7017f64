const initials = 'g kk n d tt r m b pp s ss  j jj ch k t p h'.split(' ');
const vowels = 'a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i'.split(' ');
const finals = ' k k k n n n t l k m l l l p l m p p t t ng t t k t p t'.split(' ');

/**
 * Romanises Hangul by the Revised Romanization of Korean, one syllable at a time: no sound changes across syllables.
 */
export function romaniseHangul(text: string): string {
  return text.replace(/[가-힣]/g, (character) => {
    const index = character.charCodeAt(0) - 0xac00;
    const initial = initials[Math.floor(index / 588)] ?? '';
    const vowel = vowels[Math.floor((index % 588) / 28)] ?? '';
    return initial + vowel + (finals[index % 28] ?? '');
  });
}

const kanaRows =
  'あa いi うu えe おo かka きki くku けke こko がga ぎgi ぐgu げge ごgo さsa しshi すsu せse そso ざza じji ずzu ぜze ぞzo ' +
  'たta ちchi つtsu てte とto だda ぢji づzu でde どdo なna にni ぬnu ねne のno はha ひhi ふfu へhe ほho ばba びbi ぶbu べbe ぼbo ' +
  'ぱpa ぴpi ぷpu ぺpe ぽpo まma みmi むmu めme もmo やya ゆyu よyo らra りri るru れre ろro わwa ゐi ゑe をo んn ゔvu ゎwa ゕka ゖke';
const kana = new Map(kanaRows.split(' ').map((pair) => [pair.charAt(0), pair.slice(1)] as const));
const glides: Record<string, string> = { ゃ: 'ya', ゅ: 'yu', ょ: 'yo', ぁ: 'a', ぃ: 'i', ぅ: 'u', ぇ: 'e', ぉ: 'o' };

// しゃ becomes sha and きゃ kya; ふぁ becomes fa, てぃ ti, うぃ wi: the small letter replaces the vowel.
const glide = (syllable: string, small: string): string => {
  const vowel = glides[small] ?? '';
  const stem = syllable === 'u' ? 'w' : syllable.slice(0, -1);
  return stem + (/^(sh|ch|j)$/.test(stem) ? vowel.replace('y', '') : vowel);
};

/** Romanises hiragana and katakana in Hepburn as on Japanese passports: long vowels are not marked. */
export function romaniseKana(text: string): string {
  const hiragana = text.replace(/[ァ-ヶ]/g, (character) => String.fromCharCode(character.charCodeAt(0) - 0x60));
  return hiragana
    .replace(/([ぁ-ゖ])([ゃゅょぁぃぅぇぉ])/g, (pair, letter: string, small: string) => {
      const syllable = kana.get(letter);
      return syllable === undefined || syllable === 'n' ? pair : glide(syllable, small);
    })
    .replace(/[ぁ-ゖ]/g, (letter) => kana.get(letter) ?? (letter === 'っ' ? letter : (glides[letter] ?? letter)))
    .replace(/っ(?=ch)/g, 't')
    .replace(/っ([a-z])/g, '$1$1')
    .replace(/[っー]/g, '');
}
