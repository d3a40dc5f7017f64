import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { beforeAll, describe, expect, it } from 'vitest';
import { prepareZXingModule, readBarcodes } from 'zxing-wasm/reader';
import type { Address, LabelRequest } from '../../../src/carriers/carrier.ts';
import { CarrierError } from '../../../src/carriers/carrier.ts';
import { drawLabel } from '../../../src/carriers/label/label.ts';
import fixture from '../../fixtures/carriers/request.json' with { type: 'json' };

const request: LabelRequest = fixture;
const number = 'FC401205639182736455';
const requestTo = (address: Partial<Address>): LabelRequest => ({ ...request, to: { ...request.to, ...address } });

beforeAll(async () => {
  const file = createRequire(import.meta.url).resolve('zxing-wasm/reader/zxing_reader.wasm');
  const wasmBinary = new Uint8Array(readFileSync(file)).buffer;
  await prepareZXingModule({ overrides: { wasmBinary }, fireImmediately: true });
});

const latin1 = (bytes: Uint8Array) => new TextDecoder('latin1').decode(bytes);

const contentOf = (pdf: Uint8Array): string => {
  const [, length = '', content = ''] = /<< \/Length (\d+) >>\nstream\n([\s\S]*?)endstream/.exec(latin1(pdf)) ?? [];
  expect(content).toHaveLength(Number(length));
  return content;
};

type Box = { x: number; y: number; width: number; height: number; gray: number };

const boxesOf = (pdf: Uint8Array): Box[] =>
  [...contentOf(pdf).matchAll(/^(?:([\d.]+) g )?([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) re f/gm)].map((found) => {
    const [gray = 0, x = 0, y = 0, width = 0, height = 0] = found.slice(1).map((value) => Number(value ?? 0));
    return { x, y, width, height, gray };
  });

const decodeLiteral = (literal: string): string => {
  const bytes = literal.replace(/\\([0-7]{3}|.)/g, (_, code: string) =>
    code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : code,
  );
  return new TextDecoder('windows-1252').decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
};

const decodeUtf16 = (hex: string): string => {
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
  return new TextDecoder('utf-16be').decode(bytes);
};

/** The lines of text in drawing order, as a PDF reader decodes them. */
const linesOf = (pdf: Uint8Array): string[] =>
  [...contentOf(pdf).matchAll(/^BT (.*) ET$/gm)].map(([, body = '']) =>
    [...body.matchAll(/\/(\w+) [\d.]+ Tf (?:\(((?:\\.|[^\\)])*)\)|<([0-9a-f]*)>) Tj/g)]
      .map(([, , literal, hex]) => (literal === undefined ? decodeUtf16(hex ?? '') : decodeLiteral(literal)))
      .join(''),
  );

/** Reads every barcode of the page as printed at `dpi` dots per inch. */
const scan = async (pdf: Uint8Array, dpi: number) => {
  const [width, height] = [4 * dpi, 6 * dpi];
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  const dot = (points: number) => Math.round((points * dpi) / 72);
  for (const box of boxesOf(pdf)) {
    for (let y = height - dot(box.y + box.height); y < height - dot(box.y); y += 1) {
      for (let x = dot(box.x); x < dot(box.x + box.width); x += 1)
        data.fill(box.gray * 255, (y * width + x) * 4, (y * width + x) * 4 + 3);
    }
  }
  return (await readBarcodes({ data, width, height })).map(({ format, text }) => ({ format: String(format), text }));
};

const errorOf = (run: () => unknown): CarrierError => {
  try {
    run();
  } catch (error) {
    if (error instanceof CarrierError) return error;
  }
  throw new Error('the label was not rejected');
};

describe('a label', () => {
  it('has one barcode, which scanners read as the tracking number at the resolutions of label printers', async () => {
    for (const dpi of [203, 300, 600]) {
      expect(await scan(drawLabel(request, number), dpi)).toEqual([{ format: 'Code128', text: number }]);
    }
  });

  it('has bars that are multiples of 3 dots wide on a 203 dpi printer, and quiet zones beside the barcode', () => {
    const bars = boxesOf(drawLabel(request, number)).filter((box) => box.height === 72);
    const dot = 72 / 203;
    for (const bar of bars)
      expect((bar.width / dot) % 3).toSatisfy((remainder: number) => remainder < 0.02 || remainder > 2.98);
    const left = Math.min(...bars.map((bar) => bar.x));
    const right = Math.max(...bars.map((bar) => bar.x + bar.width));
    expect(Math.min(left, 288 - right)).toBeGreaterThanOrEqual(10 * 3 * dot);
  });

  it('shows the number, both addresses, the weight and the reference as text', () => {
    const lines = linesOf(drawLabel(request, number));
    expect(lines).toEqual(
      expect.arrayContaining([
        'FC40 1205 6391 8273 6455',
        'Zoë Lukasiewicz-Ñandú',
        'Fusion Outfitters (West) Inc.',
        '1092 Indian Summer Court',
        'San José, CA 95122',
        'UNITED STATES',
        'Tel. +1 408 555 0100',
        'Müller & Söhne GmbH',
        'Königstraße 12',
        '70173 Stuttgart',
        'GERMANY',
        '1.25 kg',
        '30 × 20 × 10.5 cm',
        'Ref. PO-2026/117',
        `Shipment ${request.shipmentId}`,
      ]),
    );
  });

  it('is a valid PDF of one 4 × 6 inch page: the cross-reference table points at every object', () => {
    const file = latin1(drawLabel(requestTo({ name: '山田 太郎', line1: '테헤란로 152' }), number));
    expect(file).toMatch(/^%PDF-1\.5\n%[\x80-\xff]{4}\n/);
    expect(file).toContain('/MediaBox [0 0 288 432]');
    expect(file).toMatch(/startxref\n\d+\n%%EOF\n$/);
    const start = Number(/startxref\n(\d+)/.exec(file)?.[1]);
    const [, count = '', rows = ''] = /^xref\n0 (\d+)\n([\s\S]*?)trailer/.exec(file.slice(start)) ?? [];
    expect(rows).toHaveLength(Number(count) * 20);
    const offsets = [...rows.matchAll(/^(\d{10}) 00000 n $/gm)].map((row) => Number(row[1]));
    expect(offsets).toHaveLength(Number(count) - 1);
    offsets.forEach((offset, index) => {
      expect(file.slice(offset)).toMatch(new RegExp(`^${index + 1} 0 obj\n`));
    });
    for (const [, reference] of file.matchAll(/ (\d+) 0 R/g)) expect(Number(reference)).toBeLessThan(Number(count));
    expect(file).toContain(`/Size ${count} `);
  });

  it('has the same bytes each time it is drawn for the same request', () => {
    expect(drawLabel(structuredClone(request), number)).toEqual(drawLabel(request, number));
    expect(drawLabel(request, 'FC1')).not.toEqual(drawLabel(request, number));
  });

  it('has a note if an address was transliterated', () => {
    const lines = linesOf(
      drawLabel(requestTo({ name: 'Олександра Щербак', city: 'Київ', region: undefined, country: 'UA' }), number),
    );
    expect(lines).toContain('Oleksandra Shcherbak');
    expect(lines.join(' ')).toContain(
      'Address transliterated into Latin letters. The original is in order PO-2026/117.',
    );
    expect(linesOf(drawLabel(request, number)).join(' ')).not.toContain('Latin letters');
  });

  it('shows Chinese and Japanese letters, and warns the packer that the printer may lack them', () => {
    const japan = { name: '山田 太郎', line1: '神南１−２−３', city: '東京都', region: undefined, country: 'JP' };
    const lines = linesOf(drawLabel(requestTo(japan), number));
    expect(lines).toEqual(expect.arrayContaining(['山田 太郎', '神南1-2-3', '東京都 95122', 'JAPAN']));
    expect(lines.join(' ')).toContain('If any are missing above, do not ship');
  });

  it('repeats a Korean address in Latin letters', () => {
    const lines = linesOf(
      drawLabel(
        requestTo({ name: '김민준', line1: '테헤란로 152', city: '강남구', region: '서울', country: 'KR' }),
        number,
      ),
    );
    expect(lines).toEqual(expect.arrayContaining(['김민준', 'Gimminjun', '테헤란로 152', 'Teheranro 152']));
    expect(lines).toEqual(expect.arrayContaining(['강남구, 서울 95122', 'Gangnamgu, Seoul 95122']));
  });

  it('prints a long address in smaller letters and on several lines, and never truncates it', () => {
    const long = {
      name: 'Maximiliana Alexandra Konstantinopolitanskaya '.repeat(2).trim(),
      company: 'W'.repeat(70),
      line1: 'A street whose name goes on and on '.repeat(3).trim(),
    };
    const printed = linesOf(drawLabel(requestTo(long), number))
      .join('')
      .replace(/\s/g, '');
    for (const part of Object.values(long)) expect(printed).toContain(part.replace(/\s/g, ''));
    expect(errorOf(() => drawLabel(requestTo({ line1: 'long '.repeat(500) }), number)).message).toContain('too long');
  });

  it('escapes the characters that PDF strings reserve', () => {
    expect(linesOf(drawLabel(requestTo({ name: 'A (B) \\ C ) ET' }), number))).toContain('A (B) \\ C ) ET');
  });

  it('rejects an unprintable address with a permanent error that names the field, without its value', () => {
    const thai = errorOf(() => drawLabel(requestTo({ line1: 'ถนนสุขุมวิท 21' }), number));
    expect(thai.permanent).toBe(true);
    expect(thai.message).toMatch(/^manual: to\.line1: no Latin letters are known for U\+0E16/);
    expect(thai.message).not.toContain('สุขุมวิท');
    expect(errorOf(() => drawLabel(requestTo({ name: ' \t🎉' }), number)).message).toBe('manual: to.name: is empty');
    expect(errorOf(() => drawLabel(requestTo({ country: 'USA' }), number)).message).toContain('to.country');
    expect(errorOf(() => drawLabel(requestTo({ country: 'QQ' }), number)).message).toContain('to.country');
  });

  it('rejects a tracking number whose bars would be too narrow to scan', () => {
    expect(errorOf(() => drawLabel(request, 'X'.repeat(40))).message).toContain('too long');
  });
});
