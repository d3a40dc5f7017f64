import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ApiError } from '../../src/base/errors.ts';
import type { ImportLine } from '../../src/domain/imports/product-line.ts';
import { toPlainText } from '../../src/domain/imports/shopify/plain-text.ts';
import { readShopify } from '../../src/domain/imports/shopify/reader.ts';
import { type Cells, classicHeader, generateShopify, shopifyCsv } from '../support/shopify.ts';

async function* chunked(text: string): AsyncGenerator<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += 5_000) yield bytes.slice(at, at + 5_000);
}

async function readText(text: string): Promise<ImportLine[]> {
  const lines: ImportLine[] = [];
  for await (const line of readShopify(chunked(text), { allowLoopback: false }, 'EUR')) lines.push(line);
  return lines;
}
const read = (rows: Cells[], format?: 'classic' | 'current') => readText(shopifyCsv(rows, format));
const productsOf = (lines: ImportLine[]) => lines.flatMap((line) => ('product' in line ? [line.product] : []));
const rejectedOf = (lines: ImportLine[]) =>
  lines.flatMap((line) => ('code' in line ? [[line.line, line.detail] as const] : []));

const url = (name: string) => `https://cdn.shop.example/${name}.png`;
const plain: Cells = {
  Handle: 'mug',
  Title: 'Mug',
  'Option1 Name': 'Title',
  'Option1 Value': 'Default Title',
  'Variant SKU': 'MUG-1',
  'Variant Price': '9.50',
};
const hoodie: Cells = {
  ...plain,
  Handle: 'hoodie',
  Title: 'Hoodie',
  'Option1 Name': 'Size',
  'Option1 Value': 'M',
  'Option2 Name': 'Colour',
  'Option2 Value': 'Black',
  'Variant SKU': 'HOOD-M',
};
const variant = (size: string, more: Cells = {}): Cells => ({
  Handle: 'hoodie',
  'Option1 Value': size,
  'Option2 Value': 'Black',
  'Variant SKU': `HOOD-${size}`,
  'Variant Price': '20',
  ...more,
});
const image = (name: string, position = '', alt = ''): Cells => ({
  Handle: 'hoodie',
  'Image Src': url(name),
  'Image Position': position,
  'Image Alt Text': alt,
});

describe.each(['classic', 'current'] as const)('the %s product file of Shopify', (format) => {
  test('gives a product without options its price, stock, weight, texts and metadata, and no group', async () => {
    const full: Cells = {
      ...plain,
      'Body (HTML)': '<p>For <b>tea</b> &amp; coffee</p>',
      Vendor: 'Nørd',
      Type: 'Mugs',
      Tags: 'new, "sale"',
      'Product Category': 'Home > Kitchen',
      Published: 'true',
      Status: 'active',
      'Variant Grams': '312.4',
      'Variant Inventory Qty': '-3',
      'Variant Compare At Price': '12.00',
      'Variant Barcode': "'0123456789012",
      'SEO Title': 'A mug',
      'SEO Description': '',
      'Cost per item': '2.00',
      'Image Src': url('mug'),
      'Image Alt Text': 'A mug',
    };
    expect(productsOf(await read([full], format))).toEqual([
      {
        ...{ sku: 'MUG-1', name: 'Mug', slug: 'mug', description: 'For tea & coffee', status: 'active' },
        ...{ price: 9.5, currency: 'EUR', compareAtPrice: 12, inventory: 0, weight: 312 },
        metadata: {
          ...{ vendor: 'Nørd', type: 'Mugs', tags: 'new, "sale"', productCategory: 'Home > Kitchen' },
          ...{ barcode: '0123456789012', seoTitle: 'A mug' },
        },
        images: [{ url: url('mug'), alt: 'A mug' }],
      },
    ]);
  });

  test('makes each variant row a product of the group of its handle, with the names of the first row', async () => {
    const products = productsOf(await read([hoodie, variant('L'), variant('XL')], format));
    expect(products.map(({ sku, name, group, groupName, options }) => [sku, name, group, groupName, options])).toEqual([
      ['HOOD-M', 'Hoodie, M, Black', 'hoodie', 'Hoodie', { Size: 'M', Colour: 'Black' }],
      ['HOOD-L', 'Hoodie, L, Black', 'hoodie', 'Hoodie', { Size: 'L', Colour: 'Black' }],
      ['HOOD-XL', 'Hoodie, XL, Black', 'hoodie', 'Hoodie', { Size: 'XL', Colour: 'Black' }],
    ]);
    for (const product of products)
      expect([product.optionNames, product.slug]).toEqual([['Size', 'Colour'], undefined]);
  });

  test("gives the product's images to the first variant by their position, and a variant's own image to it", async () => {
    const rows = [
      { ...hoodie, 'Image Src': url('second'), 'Image Position': '2', 'Image Alt Text': 'Back' },
      variant('L', { 'Variant Image': url('large') }),
      image('third', '3'),
      image('first', '1', 'Front'),
      image('second', '4'),
    ];
    expect(productsOf(await read(rows, format)).map(({ images }) => images)).toEqual([
      [{ url: url('first'), alt: 'Front' }, { url: url('second'), alt: 'Back' }, { url: url('third') }],
      [{ url: url('large') }],
    ]);
  });
});

test.each([
  [{ Status: 'draft', Published: 'true' }, 'archived'],
  [{ Status: 'Archived' }, 'archived'],
  [{ Status: 'active', Published: 'FALSE' }, 'archived'],
  [{ Status: 'active' }, 'active'],
  [{ Published: 'TRUE' }, 'active'],
  [{}, undefined],
] as [Cells, string | undefined][])('a product with %j is %s', async (cells, status) => {
  expect(productsOf(await read([{ ...hoodie, ...cells }, variant('L')])).map((each) => each.status)).toEqual([
    status,
    status,
  ]);
});

test('a variant without a SKU gets the same one in every import, and a different one than every other variant', async () => {
  const skuless = (size: string, more: Cells = {}) => variant(size, { 'Variant SKU': '', ...more });
  const rows = [{ ...hoodie, 'Variant SKU': '' }, skuless('S/M'), skuless('S-M'), skuless('Größe 1'), skuless('漢')];
  const skus = productsOf(await read(rows)).map(({ sku }) => sku);
  expect(skus.slice(0, 4)).toEqual([
    'hoodie_m_black',
    expect.stringMatching(/^hoodie_s-m_black_[\da-f]{8}$/),
    'hoodie_s-m_black',
    'hoodie_größe-1_black',
  ]);
  expect(new Set(skus).size).toBe(5);
  expect(productsOf(await read(rows)).map(({ sku }) => sku)).toEqual(skus);
  const long = productsOf(
    await read(['a', 'b'].map((end) => ({ ...plain, Handle: `${'x'.repeat(120)}${end}`, 'Variant SKU': '' }))),
  );
  expect(long.map(({ sku }) => sku.length)).toEqual([64, 64]);
  expect(long[0]?.sku).not.toBe(long[1]?.sku);
});

test('the file has a currency for all prices, and a row without a price leaves both as they are', async () => {
  const [first, second] = productsOf(
    await read([plain, { ...plain, Handle: 'cup', 'Variant SKU': 'C', 'Variant Price': '' }]),
  );
  expect([first?.price, first?.currency, second?.price, second?.currency]).toEqual([9.5, 'EUR', undefined, undefined]);
});

test('only the invalid row is rejected, with its line and the reason', async () => {
  const rows = [
    hoodie,
    variant('S', { 'Variant Price': 'ten' }),
    variant('L', { 'Option2 Value': '' }),
    variant('XL', { 'Image Src': 'http://cdn.shop.example/a.png' }),
    image('a'),
    { Handle: 'hoodie', 'Image Src': 'https://127.0.0.1/b.png' },
    { Handle: 'hoodie', Vendor: 'x' },
    variant('XXL', { 'Variant SKU': 'HOOD-M' }),
    variant('3XL', { 'Variant Inventory Qty': '1.5' }),
    variant('4XL', { 'Option3 Value': 'Wool' }),
    variant('5XL', { 'Variant Price': '9.999' }),
    variant('6XL'),
    { Title: '', Handle: '', 'Variant SKU': 'X' },
    { ...plain, 'Variant Grams': '1 kg' },
    { ...plain, Handle: 'mug', Title: '', 'Variant SKU': 'MUG-2' },
  ];
  const lines = await read(rows);
  expect(productsOf(lines).map(({ sku }) => sku)).toEqual(['HOOD-M', 'HOOD-6XL', 'MUG-2']);
  expect(rejectedOf(lines).toSorted(([a], [b]) => a - b)).toEqual([
    [3, 'Variant Price must be an amount such as 29.99, and not "ten".'],
    [4, 'Option2 Value is required: the product has the option "Colour".'],
    [5, 'Image Src: The URL must begin with https://.'],
    [7, 'Image Src: The URL leads to an address that is not public.'],
    [8, 'The row has neither a variant nor an image.'],
    [9, 'Line 2 has the SKU "HOOD-M" too. Each variant needs its own.'],
    [10, 'Variant Inventory Qty must be a whole number such as 3, and not "1.5".'],
    [11, `Option3 Value needs the name of the option in the product's first row.`],
    [12, 'Variant Price must be an amount such as 29.99, and not "9.999".'],
    [14, 'Handle is required.'],
    [15, 'Variant Grams must be a number of grams such as 250, and not "1 kg".'],
  ]);
});

test('a second variant without options is rejected, and so is an image of a product without a variant', async () => {
  const lines = await read([
    plain,
    { ...plain, Title: '', 'Variant SKU': 'MUG-2' },
    { Handle: 'lost', 'Image Src': url('x') },
  ]);
  expect(rejectedOf(lines)).toEqual([
    [3, 'The row needs option values, because its product has several variants.'],
    [4, 'The image needs a row with a variant of its product.'],
  ]);
});

test('the 21st image of a product is rejected, and its first variant keeps its own image', async () => {
  const rows = [
    { ...hoodie, 'Variant Image': url('own') },
    ...Array.from({ length: 21 }, (_, n) => image(`i-${n}`, String(n + 1))),
  ];
  const lines = await read(rows);
  expect(productsOf(lines)[0]?.images?.map((each) => each.url)).toEqual([
    ...Array.from({ length: 19 }, (_, n) => url(`i-${n}`)),
    url('own'),
  ]);
  expect(rejectedOf(lines)).toEqual([22, 23].map((line) => [line, 'A product has at most 20 images.']));
});

test('the rows of one handle are held up to 2,000, and the rest of them is rejected', async () => {
  const rows = [hoodie, ...Array.from({ length: 2_004 }, (_, n) => image(`i-${n % 5}`))];
  const lines = await read([...rows, plain]);
  expect(productsOf(lines).map(({ sku }) => sku)).toEqual(['HOOD-M', 'MUG-1']);
  const rejected = rejectedOf(lines);
  expect([rejected.length, rejected[0]]).toEqual([
    5,
    [2_002, 'A product can have 2,000 rows and 4 million characters at most.'],
  ]);
});

test('a file without the columns of Shopify is rejected as a whole', async () => {
  for (const text of ['sku,name\nA,a\n', '', 'Handle\nx\n', '"Handle\n', 'Handle;Title\na;b\n']) {
    const lines = readText(text);
    if (text === '') expect(await lines).toEqual([]);
    else await expect(lines).rejects.toThrow(ApiError);
  }
});

test('malformed lines, and rows of another length, are rejected without harm to the product around them', async () => {
  const [header, first, second] = shopifyCsv([hoodie, variant('L')]).split('\n');
  const lines = await readText([header, first, 'hoodie,"broken', 'hoodie,too,short', second, ''].join('\n'));
  expect(productsOf(lines).map(({ sku }) => sku)).toEqual(['HOOD-M', 'HOOD-L']);
  expect(rejectedOf(lines).map(([line]) => line)).toEqual([3, 4]);
});

test('HTML becomes plain text', () => {
  expect(toPlainText('<p>One&nbsp;two<br>three</p>\n\n<ul><li>a</li>\n<li>b &lt; c</li></ul>')).toBe(
    'One\u00a0two\nthree\n\na\n\nb < c',
  );
  expect(toPlainText('<style>p {}</style>a<!-- <b> -->b<script>if (a<b) "</p>"</script><x title="a>b">c')).toBe('abc');
  expect(
    toPlainText('&lt;script&gt;alert(1)&lt;/script&gt; &amp;lt; &#x1F375;&#8211;&eacute;&bogus; &#0; &#xD800;'),
  ).toBe('alert(1) &lt; 🍵–é&bogus; \ufffd \ufffd');
  expect(toPlainText('line one\nline two, 3 < 4')).toBe('line one\nline two, 3 < 4');
  for (const [html, text] of [
    ['<<b>img src=x onerror=alert(1)>', ''],
    ['a<img src=x onerror="alert(1)', 'a'],
    ['&lt;img src=x onerror=alert(1)', '< img src=x onerror=alert(1)'],
  ] as const)
    expect(toPlainText(html)).toBe(text);
});

test('no text made of HTML contains a tag, whatever the HTML is', () => {
  const part = fc.constantFrom(
    ...['<', '>', '"', "'", '&lt;', '&gt;', '&amp;', '&#60;', '</', '<!--', '-->', '/>', '<b', '<script', '</script>'],
    ...['a', ' ', '=', '\n', 'onerror', '<svg', '!', '?', '💶', '\ud800'],
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
      expect(toPlainText(parts.join(''))).not.toMatch(/<[a-z!?/]/i);
    }),
    { numRuns: 5_000, seed: 20261130 },
  );
});

test.each([
  ['unclosed quotes', '<a "'],
  ['unclosed tags', '<b'],
  ['unclosed comments', '<!--'],
  ['unclosed scripts', '<script>'],
  ['written tags', '&lt;b'],
  ['line breaks', '<br> '],
])('a megabyte of %s is read', (_name, part) => {
  expect(toPlainText(part.repeat(1_000_000 / part.length)).length).toBeLessThan(2_000_000);
});

test('random rows never throw, and every row is a product, an image of its product, or rejected', async () => {
  const cell = fc.constantFrom(
    ...['', '', '', 'M', 'L', 'Default Title', 'Size', '9.5', '-1', '0', 'x', 'true', 'FALSE', 'draft', '\0', '\ud800'],
    ...[
      'https://cdn.example/a.png',
      'https://cdn.example/b.png',
      'http://x',
      'https://10.0.0.1/a',
      '99999999999',
      '1e5',
    ],
    ...['<p>a</p>', "'0123", '..', ' ', 'ä'.repeat(600), '__proto__', 'Title', '=1+1', '"', 'a\nb'],
  );
  const header = classicHeader.slice(0, 33);
  const row = fc
    .record({
      handle: fc.constantFrom('a', 'b', 'c', 'É', '--', ''),
      cells: fc.array(cell, { minLength: 33, maxLength: 33 }),
    })
    .map(
      ({ handle, cells }): Cells => ({
        ...Object.fromEntries(header.map((name, i) => [name, cells[i] ?? ''])),
        Handle: handle,
      }),
    );
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 12 }), async (rows) => {
      const csv = shopifyCsv(rows);
      const lines = await readText(csv);
      const numbers = lines.map(({ line }) => line);
      expect(new Set(numbers).size).toBe(numbers.length);
      const images = productsOf(lines).flatMap((product) => product.images?.map((each) => each.url) ?? []);
      // A row that is no line of its own has only an image, which a product has; or it is blank.
      const written: string[][] = parse(csv, { relaxColumnCount: true });
      let line = 1;
      for (const fields of written) {
        if (line > 1 && !numbers.includes(line)) {
          const source = fields[classicHeader.indexOf('Image Src')]?.trim() ?? '';
          expect(source === '' ? fields.join('') : images).toEqual(
            source === '' ? '' : expect.arrayContaining([source]),
          );
        }
        line += 1 + fields.join('').split('\n').length - 1;
      }
    }),
    { numRuns: 300, seed: 20261130 },
  );
});

test('the generated file of 2,000 products is read without a rejected row', async () => {
  const { rows, products } = generateShopify(2_000, 13, 'https://cdn.shop.example');
  for (const format of ['classic', 'current'] as const) {
    const lines = await read(rows, format);
    expect(rejectedOf(lines)).toEqual([]);
    expect(lines.length).toBe(products.reduce((sum, { variants }) => sum + variants, 0));
    const images = productsOf(lines).reduce((sum, product) => sum + (product.images?.length ?? 0), 0);
    expect(images).toBe(products.reduce((sum, each) => sum + each.images.length, 0));
  }
});
