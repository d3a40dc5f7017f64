import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { ApiError } from '../../src/base/errors.ts';
import { readImageContent } from '../../src/domain/catalog/image-content.ts';
import { avif, jpeg, png, webp } from '../support/images.ts';

const codeOf = (bytes: Uint8Array): string => {
  try {
    return readImageContent(bytes).extension;
  } catch (error) {
    if (error instanceof ApiError) return error.code;
    throw error;
  }
};
const text = (content: string) => new TextEncoder().encode(content);

/** Random integers from 0 to `limit` - 1, the same at each run (mulberry32). */
function randomFrom(seed: number) {
  let state = seed;
  return (limit: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}

describe('an image', () => {
  test.each([
    ['png', png],
    ['jpg', jpeg],
    ['webp', webp],
    ['avif', avif],
  ] as const)('is a %s by its content, with the size in its header', (extension, make) => {
    expect(readImageContent(make(640, 480))).toEqual({ extension, width: 640, height: 480 });
  });

  test.each([
    ['nothing', new Uint8Array()],
    ['HTML', text('<!doctype html><img src=x onerror=alert(1)>')],
    ['SVG', text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')],
    ['SVG after an XML declaration', text('<?xml version="1.0"?><svg/>')],
    ['GIF', text('GIF89a\u0001\0\u0001\0;')],
    ['HEIC', avif(3, 2, 'heic')],
    ['BMP', text('BM000000')],
    ['ICO', Uint8Array.of(0, 0, 1, 0, 1, 0)],
    ['TIFF', text('II*\0')],
    ['PDF', text('%PDF-1.7')],
    ['a PNG after a space', Buffer.concat([text(' '), png()])],
    ['a PNG without its header', png().subarray(0, 8)],
    ['a PNG of no width', png(0, 10)],
    ['random bytes', randomBytes(500)],
  ])('is not %s', (_name, bytes) => {
    expect(codeOf(bytes)).toBe('unsupported_media_type');
  });

  test.each([
    ['a PNG of 100 megapixels', png(10_000, 10_000)],
    ['a JPEG of 100 megapixels', jpeg(10_000, 10_000)],
    ['a WebP of 100 megapixels', webp(10_000, 10_000)],
    ['an AVIF of 100 megapixels', avif(10_000, 10_000)],
    ['an image that is too wide', png(16_385, 1)],
    ['an image that is too high', webp(1, 16_385)],
    ['a size that overflows 32 bits', png(0xffff_ffff, 0xffff_ffff)],
  ])('is refused without being decoded if it is %s', (_name, bytes) => {
    expect(codeOf(bytes)).toBe('validation_failed');
  });

  test('may have exactly 50 megapixels, and 16,384 pixels a side', () => {
    expect(codeOf(png(10_000, 5_000))).toBe('png');
    expect(codeOf(png(10_000, 5_001))).toBe('validation_failed');
    expect(codeOf(jpeg(16_384, 3_051))).toBe('jpg');
  });

  test('that is cut off or damaged anywhere is read or refused, and never fails in another way', () => {
    const random = randomFrom(7);
    const answers = ['png', 'jpg', 'webp', 'avif', 'unsupported_media_type', 'validation_failed'];
    for (const make of [png, jpeg, webp, avif]) {
      const whole = make(640, 480);
      for (let length = 0; length < whole.length; length++)
        expect(answers).toContain(codeOf(whole.subarray(0, length)));
      for (let turn = 0; turn < 3_000; turn++) {
        const damaged = Uint8Array.from(whole);
        for (let changes = 1 + random(4); changes > 0; changes--) damaged[random(damaged.length)] = random(256);
        expect(answers).toContain(codeOf(damaged));
      }
    }
  });

  test('with very many boxes or segments is refused, and never fails in another way', () => {
    const start = avif().subarray(0, 20);
    const boxes = Buffer.alloc(10_000_000);
    for (let place = 0; place < boxes.length; place += 8) boxes.writeUInt32BE(8, place);
    expect(codeOf(Buffer.concat([start, boxes]))).toBe('unsupported_media_type');
    // So many associations of properties that they do not fit into the arguments of one call.
    const associations = Buffer.alloc(1_500_000);
    const sized = (type: string, content: Buffer): Buffer => {
      const head = Buffer.alloc(8);
      head.writeUInt32BE(content.length + 8);
      head.write(type, 4, 'latin1');
      return Buffer.concat([head, content]);
    };
    associations.writeUInt32BE(499_000, 4);
    const meta = sized('meta', Buffer.concat([Buffer.alloc(4), sized('iprp', sized('ipma', associations))]));
    expect(codeOf(Buffer.concat([start, meta]))).toBe('unsupported_media_type');
    expect(codeOf(Buffer.concat([Buffer.from('ffd8', 'hex'), Buffer.alloc(10_000_000, 0xff)]))).toBe(
      'unsupported_media_type',
    );
  });
});
