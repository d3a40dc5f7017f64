import { advance, type Weight, winAnsiByte } from './helvetica.ts';

// Fonts that every PDF reader provides: base-14 Helvetica, and the predefined character collections for Chinese,
// Japanese and Korean (ISO 32000-1, 9.7.5.2). So no font is embedded. label.ts describes the consequences.
const fonts = {
  regular: { base: 'Helvetica' },
  bold: { base: 'Helvetica-Bold' },
  chinese: { base: 'STSong-Light', encoding: 'UniGB-UTF16-H', ordering: 'GB1', supplement: 5 },
  korean: { base: 'HYGoThic-Medium', encoding: 'UniKS-UTF16-H', ordering: 'Korea1', supplement: 2 },
} as const;
type Font = keyof typeof fonts;

const isHangul = (character: string) => /\p{Script=Hangul}/u.test(character);

const fontOf = (character: string, weight: Weight): Font => {
  if (winAnsiByte(character) !== undefined) return weight;
  return isHangul(character) ? 'korean' : 'chinese';
};

/** The advance width of a text in points. A character outside WinAnsi counts as East Asian: one em. */
export function textWidth(text: string, size: number, weight: Weight): number {
  let ems = 0;
  for (const character of text) ems += winAnsiByte(character) === undefined ? 1 : advance(character, weight);
  return ems * size;
}

const number = (value: number): string => String(Math.round(value * 1000) / 1000);

const literal = (text: string): string => {
  let out = '';
  for (const character of text) {
    const byte = winAnsiByte(character) ?? 0x20;
    if (byte > 0x7e) out += `\\${byte.toString(8)}`;
    else out += /[()\\]/.test(character) ? `\\${character}` : character;
  }
  return `(${out})`;
};

const utf16 = (text: string): string => {
  let out = '';
  for (let at = 0; at < text.length; at += 1) out += text.charCodeAt(at).toString(16).padStart(4, '0');
  return `<${out}>`;
};

const fontObjects = (font: Font, next: number): string[] => {
  const spec = fonts[font];
  if (!('encoding' in spec)) {
    return [`<< /Type /Font /Subtype /Type1 /BaseFont /${spec.base} /Encoding /WinAnsiEncoding >>`];
  }
  const { base, encoding, ordering, supplement } = spec;
  return [
    `<< /Type /Font /Subtype /Type0 /BaseFont /${base}-${encoding} /Encoding /${encoding} /DescendantFonts [${next + 1} 0 R] >>`,
    `<< /Type /Font /Subtype /CIDFontType0 /BaseFont /${base} /CIDSystemInfo << /Registry (Adobe) /Ordering (${ordering}) /Supplement ${supplement} >> /DW 1000 /FontDescriptor ${next + 2} 0 R >>`,
    `<< /Type /FontDescriptor /FontName /${base} /Flags 4 /FontBBox [-25 -254 1000 880] /ItalicAngle 0 /Ascent 880 /Descent -120 /CapHeight 880 /StemV 93 >>`,
  ];
};

/** One black-and-white page. Lengths are points (1/72 inch), the origin is the lower left corner. */
export class PdfPage {
  readonly #width: number;
  readonly #height: number;
  readonly #used: Font[] = ['regular', 'bold'];
  #content = '0 g\n';

  constructor(width: number, height: number) {
    this.#width = width;
    this.#height = height;
  }

  /** A filled rectangle; `gray` is 0 for black and 1 for white. */
  rectangle(x: number, y: number, width: number, height: number, gray = 0): void {
    const box = `${number(x)} ${number(y)} ${number(width)} ${number(height)} re f`;
    this.#content += gray === 0 ? `${box}\n` : `${gray} g ${box} 0 g\n`;
  }

  /** Draws a line of text with its baseline at `y`. Its characters are WinAnsi or East Asian; see `textWidth`. */
  text(x: number, y: number, size: number, weight: Weight, text: string, gray = 0): void {
    const runs: { font: Font; text: string }[] = [];
    for (const character of text) {
      const font = fontOf(character, weight);
      const last = runs.at(-1);
      if (last?.font === font) last.text += character;
      else runs.push({ font, text: character });
    }
    const shown = runs.map((run) => {
      if (!this.#used.includes(run.font)) this.#used.push(run.font);
      const string = run.font === weight ? literal(run.text) : utf16(run.text);
      return `/${run.font} ${number(size)} Tf ${string} Tj`;
    });
    const ink = gray === 0 ? '' : `${gray} g `;
    this.#content += `BT ${ink}1 0 0 1 ${number(x)} ${number(y)} Tm ${shown.join(' ')} ET\n${gray === 0 ? '' : '0 g\n'}`;
  }

  /**
   * The file: PDF 1.5, uncompressed, with a classic cross-reference table. It contains no time and no random value, so
   * the same page gives the same bytes. Printed at its own size (no scaling).
   * @param title printable ASCII
   */
  toBytes(title: string): Uint8Array {
    const fontStart = 6;
    const objects = [
      '<< /Type /Catalog /Pages 2 0 R /Lang (en) /ViewerPreferences << /PrintScaling /None /DisplayDocTitle true >> >>',
      '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    ];
    const names: string[] = [];
    const fontBodies: string[] = [];
    for (const font of this.#used) {
      const at = fontStart + fontBodies.length;
      names.push(`/${font} ${at} 0 R`);
      fontBodies.push(...fontObjects(font, at));
    }
    objects.push(
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${this.#width} ${this.#height}] /Contents 4 0 R /Resources << /Font << ${names.join(' ')} >> >> >>`,
      `<< /Length ${this.#content.length} >>\nstream\n${this.#content}endstream`,
      `<< /Title ${literal(title)} /Producer (FusionCommerce) >>`,
      ...fontBodies,
    );
    // The comment with high bytes marks the file as binary for transfer tools (ISO 32000-1, 7.5.2). Everything else is
    // ASCII.
    let file = '%PDF-1.5\n%\xe2\xe3\xcf\xd3\n';
    const offsets = objects.map((body, index) => {
      const offset = file.length;
      file += `${index + 1} 0 obj\n${body}\nendobj\n`;
      return offset;
    });
    const start = file.length;
    const rows = offsets.map((offset) => `${String(offset).padStart(10, '0')} 00000 n \n`).join('');
    file += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${rows}`;
    file += `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R /Info 5 0 R >>\nstartxref\n${start}\n%%EOF\n`;
    return Uint8Array.from(file, (character) => character.charCodeAt(0));
  }
}
