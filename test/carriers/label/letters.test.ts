import { describe, expect, it } from 'vitest';
import { winAnsiByte } from '../../../src/carriers/label/helvetica.ts';
import { makePrintable, Unprintable } from '../../../src/carriers/label/romanise.ts';

describe('the text of a label', () => {
  it('keeps the accents that the font has and removes the others', () => {
    const kept = 'Zoë Müller-Ñandú, Ægir Øystein, Straße – Œuvre “Š”';
    expect(makePrintable(kept, 'DE')).toEqual({ text: kept, script: 'latin' });
    expect(makePrintable('Łukasz Żółć-Őrsi', 'PL')).toEqual({ text: 'Lukasz Zólc-Orsi', script: 'latin' });
    expect(makePrintable('Nguyễn Thị Ánh Đào', 'VN').text).toBe('Nguyên Thi Ánh Dào');
    expect(makePrintable('Şişli, İstanbul, Iğdır', 'TR').text).toBe('Sisli, Istanbul, Igdir');
    expect(makePrintable('ｶﾞｽ', 'JP').romanised).toBe('Gasu');
    expect(makePrintable('ＡＢＣ １２３ ﬁne №5', 'JP').text).toBe('ABC 123 fine No5');
  });

  it('composes a letter and a following combining accent into one letter', () => {
    expect(makePrintable('Zoe\u0308', 'DE').text).toBe('Zoë');
  });

  it('is transliterated by the rules of the country of the address', () => {
    expect(makePrintable('Владимир Щукин, ЩУКИН', 'RU').text).toBe('Vladimir Shchukin, SHCHUKIN');
    expect(makePrintable('Київ, вул. Хрещатик', 'UA').text).toBe('Kyiv, vul. Khreshchatyk');
    expect(makePrintable('Юлия, ул. Щастие', 'BG').text).toBe('Yuliya, ul. Shtastie');
    expect(makePrintable('Жарко Шћепановић', 'RS').text).toBe('Žarko Šcepanovic');
    expect(makePrintable('Παύλος Αυγουστίνου, ΟΥΡΑΝΟΣ', 'GR').text).toBe('Pavlos Avgoustinou, OURANOS');
    expect(makePrintable('შოთა რუსთაველი', 'GE').text).toBe('Shota Rustaveli');
    expect(makePrintable('Երևան', 'AM').text).toBe('Erevan');
    expect(makePrintable('תל אביב 50', 'IL').text).toBe('Tl Abib 50');
    expect(makePrintable('شارع الملك فهد ٢٣، الرياض', 'SA').text).toBe('Shara Al-Mlk Fhd 23, Al-Riad');
  });

  it('is marked as transliterated, so that the label can say so', () => {
    for (const line of ['Київ', 'Αθήνα', 'Երևան', 'შოთა', 'תל', 'فهد', '٢٣']) {
      expect(makePrintable(line, 'DE').script).toBe('transliterated');
    }
  });

  it('keeps Chinese, Japanese and Korean letters, and repeats kana and Hangul in Latin letters', () => {
    expect(makePrintable('東京都渋谷区１−２−３', 'JP')).toEqual({ text: '東京都渋谷区1-2-3', script: 'east_asian' });
    expect(makePrintable('やまだ タロウ', 'JP')).toEqual({
      text: 'やまだ タロウ',
      romanised: 'Yamada Tarou',
      script: 'east_asian',
    });
    expect(makePrintable('サッポロ キャット ティッシュ マッチ', 'JP').romanised).toBe('Sapporo Kyatto Tisshu Matchi');
    expect(makePrintable('서울특별시 강남구 152', 'KR').romanised).toBe('Seoulteukbyeolsi Gangnamgu 152');
  });

  it('leaves out emoji and invisible characters', () => {
    expect(makePrintable('José 🎉👨‍👩‍👧 ❤️ Núñez\u200b', 'ES').text).toBe('José Núñez');
    expect(makePrintable('\u202eabc\u202c\t\n def', 'US').text).toBe('abc def');
    expect(makePrintable('🎉', 'US').text).toBe('');
  });

  it('is rejected if it has letters that can be neither printed nor transliterated', () => {
    expect(() => makePrintable('สมชาย', 'TH')).toThrow(Unprintable);
    expect(() => makePrintable('Ram राम', 'IN')).toThrow('U+0930');
    expect(() => makePrintable('𠮷野', 'JP')).toThrow('U+20BB7');
  });

  it('never replaces a letter by a question mark, a box or nothing', () => {
    const shows = (character: string) =>
      winAnsiByte(character) !== undefined || /[\p{Script=Han}\p{Script=Hangul}ぁ-ヾ]/u.test(character);
    const wrong: string[] = [];
    for (let code = 0xa1; code < 0x2ffff; code += 1) {
      const letter = String.fromCodePoint(code);
      if (!/\p{L}/u.test(letter)) continue;
      try {
        const { text, romanised = '' } = makePrintable(`x${letter}x`, 'DE');
        const silent = /^[ъьءـ\p{M}i ]*$/iu.test(letter.normalize('NFKC'));
        const whole = silent || text.length >= 3;
        if (!whole || text.includes('?') || ![...text, ...romanised].every(shows)) wrong.push(`${letter}: ${text}`);
      } catch (error) {
        if (!(error instanceof Unprintable)) throw error;
      }
    }
    expect(wrong).toEqual([]);
  });
});
