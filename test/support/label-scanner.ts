import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { prepareZXingModule, readBarcodes } from 'zxing-wasm/reader';

/** Reads the barcodes of a label as printed at 203 dpi. */
export async function scanLabel(pdf: Uint8Array): Promise<{ format: string; text: string }[]> {
  const file = createRequire(import.meta.url).resolve('zxing-wasm/reader/zxing_reader.wasm');
  await prepareZXingModule({ overrides: { wasmBinary: new Uint8Array(readFileSync(file)).buffer } });
  const dots = (points: number) => Math.round((points * 203) / 72);
  const [width, height] = [dots(288), dots(432)];
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  const page = new TextDecoder('latin1').decode(pdf);
  for (const [, ...numbers] of page.matchAll(/^(?:[\d.]+ g )?([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) re f/gm)) {
    const [x = 0, y = 0, wide = 0, high = 0] = numbers.map(Number);
    for (let row = height - dots(y + high); row < height - dots(y); row += 1) {
      for (let column = dots(x); column < dots(x + wide); column += 1) {
        const at = (row * width + column) * 4;
        data.fill(0, at, at + 3);
      }
    }
  }
  return (await readBarcodes({ data, width, height })).map(({ format, text }) => ({ format: String(format), text }));
}
