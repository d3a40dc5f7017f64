const table = (pairs: string): Map<string, string> =>
  new Map(pairs.split(' ').map((pair) => [pair.charAt(0), pair.slice(1)] as const));

// Letters that Unicode does not decompose into a base letter and a mark, and signs that have a plain equivalent.
const latin = table(
  'łl Łl đd Đd ħh Ħh ıi ŋng Ŋng ŧt Ŧt ĸk əe Əe ɓb ɗd ɖd ɛe ɔo ƙk ƴy ɣg ʋv ŉn ẞss ʻ\' ʼ\' ʾ\' ʿ\' ′\' ″" ‐- ‑- ‒- −- ⁄/ ∕/ 、, 。. ・- 「" 」" 『" 』" 〜- 〒 ،, ؛; ׳\' ״" ־-',
);

// ELOT 743 / ISO 843. Its rules for letter pairs are in `transliteratePairs`.
const greek = table('αa βv γg δd εe ζz ηi θth ιi κk λl μm νn ξx οo πp ρr σs ςs τt υy φf χch ψps ωo');

// The passport rules of ICAO Doc 9303-3 (section 6 B), which English speakers read best.
const cyrillic = table(
  'аa бb вv гg дd еe ёe жzh зz иi йi кk лl мm нn оo пp рr сs тt уu фf хkh цts чch шsh щshch ъ ыy ь эe юiu яia ' +
    "іi їi єie ґg ўu ђdj јj љlj њnj ћc џdz ѓgj ѕdz ќkj әa ғgh қq ңng өo ұu үu һh ӣi ӯu ҳh ҷj җj ҙz ҡq ҫs ҕg ҥng ӕae ӏ'",
);

// A country's own rule applies to its addresses.
const ukrainian = table('гh иy');
const bulgarian = table('щsht ъa хh юyu яya йy ьy');
const serbian = table('жž хh цc чc шš йj еe');
const nationalRules: Record<string, Map<string, string>> = {
  UA: ukrainian,
  BG: bulgarian,
  RS: serbian,
  ME: serbian,
  BA: serbian,
  MK: serbian,
};

const armenian = table(
  'աa բb գg դd եe զz էe ըy թt ժzh իi լl խkh ծts կk հh ձdz ղgh ճch մm յy նn շsh ոo չch պp ջj ռr սs վv տt րr ցts ւu փp քk օo ֆf ևev',
);

const georgian = table(
  'აa ბb გg დd ეe ვv ზz თt იi კk ლl მm ნn ოo პp ჟzh რr სs ტt უu ფp ქk ღgh ყq შsh ჩch ცts ძdz წts ჭch ხkh ჯj ჰh',
);

// Hebrew and Arabic write few vowels, and no table can add the others. The result is only a reading aid.
const hebrew = table('אa בb גg דd הh וo זz חch טt יi כk ךk לl מm םm נn ןn סs עa פp ףf צts ץts קk רr שsh תt');

const arabic = table(
  'اa أa إi آa ٱa بb تt ثth جj حh خkh دd ذdh رr زz سs شsh صs ضd طt ظz عa غgh فf قq كk لl مm نn هh وu يi ىa ةa ء ؤu ئi ' +
    'پp چch ژzh گg کk یi ٹt ڈd ڑr ںn ےe ہh ھh ۀa ـ ' +
    'ەe ڕr ڵl ۆo ێe ۇu ۈu ۋv ڭng ېe ۍy ټt ډd ړr ږg ښsh ڼn ځdz څts ګg ٻb ڄj ڃny ڏd ڊd ڌdh ڍdh ٿth ٽt ٺth ڦph ڪk ڱng ڳg ڻn ڙr ڀbh ڇch',
);

const alphabets: { script: RegExp; letters: Map<string, string> }[] = [
  { script: /\p{Script=Greek}/u, letters: greek },
  { script: /\p{Script=Cyrillic}/u, letters: cyrillic },
  { script: /\p{Script=Armenian}/u, letters: armenian },
  { script: /\p{Script=Georgian}/u, letters: georgian },
  { script: /\p{Script=Hebrew}/u, letters: hebrew },
  { script: /\p{Script=Arabic}|ـ/u, letters: arabic },
];

const atStart: Record<string, string> = { ו: 'v', י: 'y', و: 'w', ي: 'y', ی: 'y' };

/**
 * Transliterates letters that depend on their neighbours. Greek (ELOT 743): ου becomes ou; the υ of αυ, ευ, ηυ becomes
 * f before a voiceless letter and at the end, otherwise v; γ before γ, ξ, χ becomes n. Hebrew and Arabic: vav, waw and
 * yod are consonants at the start of a word.
 */
export function transliteratePairs(text: string): string {
  return text
    .replace(/(?<=[οΟ])[υύ]/gu, 'u')
    .replace(/(?<=Ο)[ΥΎ]/gu, 'U')
    .replace(/(?<=[αεηάέήΑΕΗΆΈΉ])[υύΥΎ](?=[θκξπσςτφχψΘΚΞΠΣΤΦΧΨ]|$|[^\p{L}])/gu, 'f')
    .replace(/(?<=[αεηάέήΑΕΗΆΈΉ])[υύΥΎ]/gu, 'v')
    .replace(/γ(?=[γξχ])/gu, 'n')
    .replace(/(^|\s)ال(?=\p{L}{2})/gu, '$1al-')
    .replace(/(?<=^|[\s-])[וויويی](?=\p{L})/gu, (letter) => atStart[letter] ?? letter);
}

/** The WinAnsi replacement of a sign or a Latin letter that WinAnsi lacks. */
export const latinLetter = (character: string): string | undefined => latin.get(character);

/**
 * Latin letters for a lower-case letter of a supported alphabet, by the rule of `country` (ISO 3166-1 alpha-2) if it
 * has one. Undefined for any other character.
 */
export function transliterateLetter(character: string, country: string): string | undefined {
  const nationalLetter = nationalRules[country]?.get(character);
  if (nationalLetter !== undefined) return nationalLetter;
  return alphabets.find(({ script }) => script.test(character))?.letters.get(character);
}
