import { crc32, deflateSync } from 'node:zlib';

// Small files of each kind. Their headers are complete; only the PNG has pixels.

const chunk = (type: string, data: Buffer): Buffer => {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
};

/** A grey PNG. Above a megapixel it has a header only. `seed` makes files of one size differ. */
export function png(width = 3, height = 2, seed = 0): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.writeUInt8(8, 8);
  const pixels = width * height > 1_000_000 ? Buffer.alloc(0) : Buffer.alloc((width + 1) * height, seed & 0xff);
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', header),
    chunk('tEXt', Buffer.from(`Comment\0${seed}`)),
    chunk('IDAT', deflateSync(pixels)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** A JPEG with a comment before its frame header. */
export function jpeg(width = 3, height = 2, comment = 'made by a test'): Buffer {
  const text = Buffer.from(comment);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(text.length + 2);
  const frame = Buffer.from('ffc0000b0800000000010111 00'.replace(' ', ''), 'hex');
  frame.writeUInt16BE(height, 5);
  frame.writeUInt16BE(width, 7);
  return Buffer.concat([
    Buffer.from('ffd8fffe', 'hex'),
    length,
    text,
    frame,
    Buffer.from('ffda0008010100003f00ffd9', 'hex'),
  ]);
}

/** A WebP in the extended format. */
export function webp(width = 3, height = 2): Buffer {
  const file = Buffer.alloc(30);
  file.write('RIFF', 0, 'latin1');
  file.writeUInt32LE(22, 4);
  file.write('WEBPVP8X', 8, 'latin1');
  file.writeUInt32LE(10, 16);
  file.writeUIntLE(width - 1, 24, 3);
  file.writeUIntLE(height - 1, 27, 3);
  return file;
}

const box = (type: string, ...parts: Buffer[]): Buffer => {
  const length = Buffer.alloc(4);
  const data = Buffer.concat(parts);
  length.writeUInt32BE(data.length + 8);
  return Buffer.concat([length, Buffer.from(type, 'latin1'), data]);
};

/** An AVIF whose primary item has this size. `brand`: `heic` makes it an image of another kind. */
export function avif(width = 3, height = 2, brand = 'avif'): Buffer {
  const size = Buffer.alloc(12);
  size.writeUInt32BE(width, 4);
  size.writeUInt32BE(height, 8);
  const associations = Buffer.from('0000000000000001000101' + '01', 'hex');
  return Buffer.concat([
    box('ftyp', Buffer.from(`${brand}\0\0\0\0${brand}`, 'latin1')),
    box(
      'meta',
      Buffer.alloc(4),
      box('pitm', Buffer.from('000000000001', 'hex')),
      box('iprp', box('ipco', box('ispe', size)), box('ipma', associations)),
    ),
    box('mdat', Buffer.from([1, 2, 3])),
  ]);
}
