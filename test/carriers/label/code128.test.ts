import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { prepareZXingModule, readBarcodes } from 'zxing-wasm/reader';
import { code128Values, code128Widths } from '../../../src/carriers/label/code128.ts';

beforeAll(async () => {
  const file = createRequire(import.meta.url).resolve('zxing-wasm/reader/zxing_reader.wasm');
  const wasmBinary = new Uint8Array(readFileSync(file)).buffer;
  await prepareZXingModule({ overrides: { wasmBinary }, fireImmediately: true });
});

const scan = async (widths: number[]): Promise<string | undefined> => {
  const row = [10, ...widths, 10].flatMap((count, index) => Array<number>(count * 2).fill(index % 2 === 0 ? 255 : 0));
  const height = 20;
  const data = new Uint8ClampedArray(row.length * height * 4);
  for (let pixel = 0; pixel < row.length * height; pixel += 1) {
    data.fill(row[pixel % row.length] ?? 255, pixel * 4, pixel * 4 + 3);
    data[pixel * 4 + 3] = 255;
  }
  const [found] = await readBarcodes({ data, width: row.length, height }, { formats: ['Code128'] });
  return found?.text;
};

describe('Code 128', () => {
  it('is scanned as the encoded text, for any printable ASCII', async () => {
    const text = fc.oneof(
      fc.stringMatching(/^[\x21-\x7e]{1,24}$/),
      fc.stringMatching(/^([A-Z]{0,3}[0-9]{1,9}){1,3}$/),
      fc.stringMatching(/^[0-9]{2,20}$/),
    );
    await fc.assert(
      fc.asyncProperty(text, async (each) => {
        expect(await scan(code128Widths(each))).toBe(each);
      }),
      { seed: 128, numRuns: 300 },
    );
  });

  it('has the check value that the standard defines', () => {
    // By hand: 104 + 48·1 + 42·2 + 42·3 + 17·4 + 18·5 + 19·6 + 35·7 = 879, and 879 mod 103 = 55.
    expect(code128Values('PJJ123C')).toEqual([104, 48, 42, 42, 17, 18, 19, 35, 55]);
  });

  it('encodes two digits per symbol where that is shorter', () => {
    // 105 + 0·1 + 11·2 + 22·3 + 33·4 = 325, and 325 mod 103 = 16.
    expect(code128Values('00112233')).toEqual([105, 0, 11, 22, 33, 16]);
    expect(code128Values('A1234567B').slice(0, -1)).toEqual([104, 33, 17, 99, 23, 45, 67, 100, 34]);
    expect(code128Values('A1234B').slice(0, -1)).toEqual([104, 33, 17, 18, 19, 20, 34]);
  });

  it('rejects text that it cannot encode', () => {
    for (const text of ['', 'Zoë', 'a\nb', '山']) expect(() => code128Values(text)).toThrow(RangeError);
  });
});
