import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readOptions } from '../../bench/replay/options.ts';
import { makePlan, type Plan, readOrders } from '../../bench/replay/plan.ts';
import { createPriceRule, hasPricesOf } from '../../bench/replay/prices.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fusioncommerce-replay-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const header = 'InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country';
const day = '2010-12-01 08:26:00';

let files = 0;
async function write(content: string | Buffer, name = `${++files}.csv`): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, content);
  return path;
}

/** Rows of `InvoiceNo,StockCode,Quantity,UnitPrice`. */
const rowsOf = (...rows: string[]): string =>
  [
    header,
    ...rows.map((row) => row.split(',')).map(([n, sku, q, p]) => `${n},${sku},A thing,${q},${day},${p},17850.0,UK`),
  ]
    .join('\n')
    .concat('\n');

const plan = async (content: string | Buffer, limit?: number): Promise<Plan> => makePlan(await write(content), limit);

const counts = async (...rows: string[]) => Object.fromEntries((await plan(rowsOf(...rows))).counts);

async function ordersOf(of: Plan) {
  const orders = [];
  for await (const order of readOrders(of)) orders.push(order);
  return orders;
}

test.each([
  ['536365,A,6,2.55', 'sale'],
  ['536365,A,6,0.0', 'sale'],
  ['536365,A,6.0,2.5500', 'sale'],
  ['536365,A,1000000,99999999.99', 'orderTotal'],
  ['536365,A,1,1000000.00', 'orderTotal'],
  ['536365,A,1,999999.99', 'sale'],
  ['536365,A,1,0.29', 'orderTotal'],
  ['536365,A,1,0.30', 'sale'],
  ['536365,A,1000001,2.55', 'quantityLarge'],
  ['536365,A,0,2.55', 'quantityZero'],
  ['536365,A,-6,0.0', 'quantityNegative'],
  ['536365,A,1.5,2.55', 'quantityForm'],
  ['536365,A,,2.55', 'quantityForm'],
  ['536365,A,6,-0.01', 'priceNegative'],
  ['536365,A,6,-11062.06', 'priceNegative'],
  ['536365,A,6,0.001', 'priceDecimals'],
  ['536365,A,6,1e2', 'priceForm'],
  ['536365,A,6,', 'priceForm'],
  ['536365,A,6,100000000.00', 'priceLarge'],
  ['536365,,6,2.55', 'sku'],
  [`536365,${'x'.repeat(65)},6,2.55`, 'sku'],
  ['C536379,A,-1,27.50', 'cancellation'],
  ['C536379,A,-1000000000,27.50', 'cancellation'],
  ['C536379,A,-2147483648,27.50', 'stock'],
  ['C536379,A,1,27.50', 'quantityPositive'],
  ['A563185,B,1,11062.06', 'adjustment'],
  ['X1,A,1,2.55', 'invoice'],
  [',A,1,2.55', 'invoice'],
])('the row %s is counted as: %s', async (row, outcome) => {
  expect(await counts(row)).toEqual({ [outcome]: 1 });
});

test('each row is counted once, even a malformed one', async () => {
  const content = `${rowsOf('1,A,1,2.55', 'C2,A,-1,2.55', '3,A,0,1', '4,A,1,0.001')}5,A,one field too few,1\n\n1,A,"Adjust bad debt",1,${day},1,,\n`;
  const { rows, counts: found } = await plan(content);
  expect([rows, Object.fromEntries(found)]).toEqual([
    6,
    { sale: 1, cancellation: 1, quantityZero: 1, priceDecimals: 1, columns: 1, adjustment: 1 },
  ]);
});

test('sums are exact where binary floating point is not', async () => {
  const rows = Array.from({ length: 1000 }, (_, i) => `${i},A,3,0.1`).concat('7000,B,1,0.39', '7001,B,100,1.15');
  expect((await plan(rowsOf(...rows))).pence).toBe(30_000n + 39n + 11_500n);
});

test('an invoice becomes one order with its lines in order, even if they are not adjacent', async () => {
  const content = `${header}
1,A,First,1,${day},1.00,,UK
2,B,Second,2,${day},2.00,17850.0,UK
1,B,Other,3,${day},3.50,12583,UK
1,A,First,1,${day},1.00,,UK
3,A,Third,4,${day},1.00,,UK
`;
  const orders = await ordersOf(await plan(content));
  expect(orders.toSorted((a, b) => (a.invoice < b.invoice ? -1 : 1))).toEqual([
    {
      invoice: '1',
      customer: '12583',
      lines: [
        { sku: 'A', units: 1, pence: 100 },
        { sku: 'B', units: 3, pence: 350 },
        { sku: 'A', units: 1, pence: 100 },
      ],
    },
    { invoice: '2', customer: '17850', lines: [{ sku: 'B', units: 2, pence: 200 }] },
    { invoice: '3', customer: 'guest', lines: [{ sku: 'A', units: 4, pence: 100 }] },
  ]);
});

test('a SKU has its first description, its most frequent sale price (the first of equals) and all of its sales in stock', async () => {
  const content = `${header}
1,A,,1,${day},3.00,,UK
1,A,"  A ""fine"" thing,
in two lines ",2,${day},2.00,,UK
2,A,Later name,4,${day},2.00,,UK
3,A,,8,${day},3.00,,UK
C4,A,,-100,${day},9.99,,UK
C5,A,,-100,${day},9.99,,UK
C6,A,,-100,${day},9.99,,UK
7,a,,5,${day},0.5,,UK
C8,ONLY-BACK,Came back,-3,${day},1.25,,UK
9,LOST,damages,-7,${day},0.0,,UK
10,NO-PRICE,x,1,${day},-1,,UK
A11,B,Adjust bad debt,1,${day},11062.06,,UK
`;
  expect([...(await plan(content)).products.values()]).toEqual([
    { sku: 'A', name: 'A "fine" thing, in two lines', pence: 300, opening: 15 },
    { sku: 'a', name: 'a', pence: 50, opening: 5 },
    { sku: 'ONLY-BACK', name: 'Came back', pence: 125, opening: 0 },
    { sku: 'LOST', name: 'damages', pence: 0, opening: 0 },
  ]);
});

test('SKUs that are the same digits and then letters are variants of one group, which has the name of the first one', async () => {
  const skus = [
    '85123B',
    '85123A',
    '85123a',
    '85123BL',
    '85123ABC',
    '85123',
    '123A',
    '123B',
    'X22423A',
    '22423B',
    'C2',
  ];
  const content = [header, ...skus.map((sku, i) => `${i + 1},${sku},Thing ${i},1,${day},1,,UK`)].join('\n');
  const { products, notes } = await plan(content);
  const groups = [...products.values()].flatMap(({ sku, group }) => (group ? [[sku, group]] : []));
  expect(groups).toEqual([
    ['85123B', { slug: '85123', name: 'Thing 0', variant: 'B' }],
    ['85123A', { slug: '85123', name: 'Thing 0', variant: 'A' }],
    ['85123a', { slug: '85123', name: 'Thing 0', variant: 'a' }],
    ['85123BL', { slug: '85123', name: 'Thing 0', variant: 'BL' }],
  ]);
  expect(notes).toEqual([]);
});

test('a group has at most 250 variants; the other SKUs of its stem are in no group, and that is printed', async () => {
  const letters = (i: number) => String.fromCharCode(65 + Math.floor(i / 26), 65 + (i % 26));
  const { products, notes } = await plan(
    rowsOf(...Array.from({ length: 252 }, (_, i) => `${i},85123${letters(i)},1,1`)),
  );
  expect([...products.values()].map(({ group }) => group !== undefined)).toEqual([
    ...Array.from({ length: 250 }, () => true),
    false,
    false,
  ]);
  expect(notes).toEqual(['2 SKUs of the stem 85123 are in no group: a group has 250.']);
});

/** A is sold at 2.55 (most often), at 2.95 in small and 2.10 in large quantities; B always at one price. */
const history = rowsOf(
  ...['1,A,6,2.55', '2,A,6,2.55', '3,A,8,2.55', '4,A,2,2.95', '5,A,2,2.95', '6,A,2,2.55', '7,A,1,2.55'],
  // The lines of a SKU count together: 32 units.
  ...['8,A,16,2.10', '8,A,16,2.10', '9,B,5,1.00'],
  // A SKU at two prices in one invoice, and an invoice that is no order, do not count.
  ...['10,A,40,1.95', '10,A,8,1.85', '11,A,900000,9.99', '12,A,8,2.55', '12,B,1,1.00'],
);

test('each quantity has its most frequent price, and the price list has only the changes', async () => {
  const whole = await plan(history);
  expect(whole.products.get('A')?.pence).toBe(255);
  expect(whole.prices).toEqual([
    { sku: 'A', minQuantity: 2, pence: 295 },
    { sku: 'A', minQuantity: 6, pence: 255 },
    { sku: 'A', minQuantity: 32, pence: 210 },
  ]);
  expect((await plan(history, 2)).prices).toEqual(whole.prices);
});

test('the price of an order line comes from the highest quantity that all lines of its SKU reach, otherwise from the catalog', async () => {
  const of = await plan(history);
  const priceOf = createPriceRule(of);
  expect([1, 2, 5, 6, 31, 32, 1_000_000].map((units) => priceOf('A', units))).toEqual([
    255, 295, 295, 255, 255, 210, 210,
  ]);
  expect([priceOf('B', 7), priceOf('C', 1)]).toEqual([100, undefined]);
  const orders = await ordersOf(of);
  // Invoice 6 paid another price than most with two units, invoice 10 paid two prices.
  const fitting = orders.filter((order) => hasPricesOf(priceOf, order)).map(({ invoice }) => invoice);
  expect(fitting).toEqual(['1', '2', '3', '4', '5', '7', '8', '9', '12']);
});

test('an invoice of 1,200 lines becomes an order, one of 1,201 is rejected completely', async () => {
  const lines = (invoice: string, n: number) => Array.from({ length: n }, (_, i) => `${invoice},S${i},1,1.00`);
  const of = await plan(rowsOf(...lines('1', 1200), ...lines('2', 1201)));
  expect(Object.fromEntries(of.counts)).toEqual({ sale: 1200, orderLines: 1201 });
  expect((await ordersOf(of)).map((order) => [order.invoice, order.lines.length])).toEqual([['1', 1200]]);
});

test('with a limit, the first invoices are included completely, and the others are counted', async () => {
  const of = await plan(rowsOf('1,A,1,1', 'C2,A,-1,1', '3,A,0,1', '4,A,1,1', '1,B,1,1'), 2);
  expect(Object.fromEntries(of.counts)).toEqual({ sale: 2, cancellation: 1, quantityZero: 1, limit: 1 });
  expect((await ordersOf(of)).map((order) => [order.invoice, order.lines.length])).toEqual([['1', 2]]);
  // The stock is calculated from the whole file, so that runs with different limits need the same stock.
  expect(of.products.get('A')?.opening).toBe(2);
});

test('a file is identified by its content, compressed or not, with a byte order mark or columns in another order', async () => {
  const content = rowsOf('1,A,1,1.00', '2,B,1,1.00');
  const plain = await plan(content);
  const packed = await plan(gzipSync(content));
  expect(packed.id).toMatch(/^[0-9a-f]{16}$/);
  expect({ ...packed, path: '' }).toEqual({ ...plain, path: '' });
  expect((await plan(`${content}3,A,x,1,${day},1,,UK\n`)).id).not.toBe(plain.id);

  const other = await plan(`\ufeffUnitPrice,More,${header.replace(',UnitPrice', '')}\n2.50,x,1,A,Thing,3,${day},,UK\n`);
  expect((await ordersOf(other))[0]?.lines).toEqual([{ sku: 'A', units: 3, pence: 250 }]);
});

test('an unreadable file is reported with the reason', async () => {
  const packed = gzipSync(rowsOf(...Array.from({ length: 500 }, (_, i) => `${i},S${i * 7919},${i + 1},1.00`)));
  await expect(makePlan(join(dir, 'none.csv'))).rejects.toThrow(/none\.csv: there is no such file/);
  await expect(makePlan(dir)).rejects.toThrow('it is a folder');
  await expect(plan('')).rejects.toThrow('is empty');
  await expect(plan('InvoiceNo,StockCode,Price\n')).rejects.toThrow(
    'lacks the columns Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country. Its header line has: InvoiceNo, StockCode, Price',
  );
  await expect(plan(packed.subarray(0, packed.length / 2))).rejects.toThrow('is damaged: unexpected end of file');
  await expect(plan(`${rowsOf('1,A,1,1')}"${'x'.repeat(2_000_000)}`)).rejects.toThrow('is not a valid CSV file');
});

test('a file that changes between two reads is not replayed', async () => {
  const path = await write(rowsOf('1,A,1,1', '2,B,1,1'));
  const of = await makePlan(path);
  await writeFile(path, rowsOf('1,A,1,1', '2,B,2,1'));
  await expect(ordersOf(of)).rejects.toThrow('has changed during the replay');
});

test('options default to the variables of the local platform', () => {
  expect(readOptions(['a.csv'], { PORT: '1', POSTGRES_PORT: '2', KAFKA_PORT: '3' }, {})).toEqual({
    file: 'a.csv',
    url: 'http://127.0.0.1:1',
    key: 'sk_dev_default',
    databaseUrl: 'postgres://fusion_owner:fusion_owner@127.0.0.1:2/fusion',
    kafka: { url: 'http://127.0.0.1:3', username: 'dev', password: 'dev' },
    concurrency: 16,
    limit: Number.POSITIVE_INFINITY,
  });
  const args = [
    '--url',
    'https://shop.example/',
    '--kafka-password=x',
    '--concurrency',
    '4',
    '--limit',
    '9',
    'b.csv.gz',
  ];
  expect(readOptions(args, { DATABASE_URL: 'postgres://me@localhost/mine' }, {})).toMatchObject({
    url: 'https://shop.example',
    databaseUrl: 'postgres://me@localhost/mine',
    kafka: { password: 'x' },
    concurrency: 4,
    limit: 9,
  });
  const brokers = ['--kafka-brokers', 'broker-1:9092, [::1]:19092', 'c.csv'];
  expect(readOptions(brokers, {}, {})?.kafkaBrokers).toEqual(['broker-1:9092', '[::1]:19092']);
  expect(readOptions(['--help'], {}, {})).toBeNull();
});

test.each([
  [[], 'give exactly one file'],
  [['a', 'b'], 'give exactly one file'],
  [['a', '--limit', '0'], '--limit 0 is not a whole number from 1'],
  [['a', '--concurrency', '999'], '--concurrency 999 is not a whole number from 1 to 256'],
  [['a', '--url', 'shop'], '--url shop is not a valid address'],
  [['a', '--kafka-brokers', 'http://broker:9092'], '--kafka-brokers http://broker:9092 is not a list of host:port'],
  [['a', '--fast'], "Unknown option '--fast'"],
])('the command line %j is rejected', (args, message) => {
  expect(() => readOptions(args, {}, {})).toThrow(message);
});
