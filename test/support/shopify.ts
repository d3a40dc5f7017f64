import { mulberry32 } from '../../dev/stripe/webhooks.ts';

/** The first line of the classic product file. */
export const classicHeader = [
  ...['Handle', 'Title', 'Body (HTML)', 'Vendor', 'Product Category', 'Type', 'Tags', 'Published'],
  ...['Option1 Name', 'Option1 Value', 'Option2 Name', 'Option2 Value', 'Option3 Name', 'Option3 Value'],
  ...['Variant SKU', 'Variant Grams', 'Variant Inventory Tracker', 'Variant Inventory Qty', 'Variant Inventory Policy'],
  ...['Variant Fulfillment Service', 'Variant Price', 'Variant Compare At Price', 'Variant Requires Shipping'],
  ...['Variant Taxable', 'Variant Barcode', 'Image Src', 'Image Position', 'Image Alt Text', 'Gift Card', 'SEO Title'],
  ...['SEO Description', 'Google Shopping / Google Product Category', 'Google Shopping / Gender', 'Variant Image'],
  ...['Variant Weight Unit', 'Variant Tax Code', 'Cost per item', 'Included / United States', 'Status'],
];

/** The first line of today's product file. */
export const currentHeader = [
  ...['Title', 'URL handle', 'Description', 'Vendor', 'Product category', 'Type', 'Tags', 'Published on online store'],
  ...['Status', 'SKU', 'Barcode', 'Option1 name', 'Option1 value', 'Option1 Linked To', 'Option2 name'],
  ...['Option2 value', 'Option2 Linked To', 'Option3 name', 'Option3 value', 'Option3 Linked To', 'Price'],
  ...['Compare-at price', 'Cost per item', 'Charge tax', 'Tax code', 'Unit price total measure', 'Inventory tracker'],
  ...['Inventory quantity', 'Continue selling when out of stock', 'Weight value (grams)', 'Weight unit for display'],
  ...['Requires shipping', 'Fulfillment service', 'Product image URL', 'Image position', 'Image alt text'],
  ...['Variant image URL', 'Gift card', 'SEO title', 'SEO description'],
  ...['Color (product.metafields.shopify.color-pattern)', 'Google Shopping / Google product category'],
];

/** The classic columns that have another name today. */
const renamed: Record<string, string> = {
  Handle: 'URL handle',
  'Body (HTML)': 'Description',
  Published: 'Published on online store',
  'Variant SKU': 'SKU',
  'Variant Grams': 'Weight value (grams)',
  'Variant Inventory Qty': 'Inventory quantity',
  'Variant Price': 'Price',
  'Variant Compare At Price': 'Compare-at price',
  'Variant Barcode': 'Barcode',
  'Image Src': 'Product image URL',
  'Variant Image': 'Variant image URL',
  'Cost per item': 'Cost per item',
};

export type Cells = Record<string, string>;

const quoted = (field: string) => (/[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field);

/** A file with these rows, whose cells have the classic names. */
export function shopifyCsv(rows: Cells[], format: 'classic' | 'current' = 'classic'): string {
  const header = format === 'classic' ? classicHeader : currentHeader;
  const lines = rows.map((row) => {
    const cells = new Map(
      Object.entries(row).map(([name, value]) => [
        (format === 'classic' ? name : (renamed[name] ?? name)).toLowerCase(),
        value,
      ]),
    );
    return header.map((name) => quoted(cells.get(name.toLowerCase()) ?? '')).join(',');
  });
  return `${[header.map(quoted).join(','), ...lines].join('\n')}\n`;
}

const titles = ['Hoodie “Nord”', 'Tee, "organic"', 'Чай Зелёный', 'Kaffee – Röstung', '抹茶 Set', "Men's Socks"];
const colours = ['Black', 'Bleu clair', 'Rosé', 'Grün/Weiß'];
const sizes = ['S', 'M', 'L', 'XL'];
const bodies = [
  '<p>Soft &amp; warm.</p>\n<ul>\n<li>100&nbsp;% cotton</li>\n<li>Made in "Porto"</li>\n</ul>',
  '<div class="a>b"><h2>Details</h2>Caf&eacute; &#8211; 250 g<br/>Enjoy</div><script>alert("x")</script>',
  'Plain text, without any tag',
  '',
];

/** What a generated file has: the variants and the images of each product. */
export type ShopifyProduct = { handle: string; variants: number; images: string[]; isArchived: boolean };

/**
 * The rows of a product file in the form of Shopify's own export: the product's fields are in its first row only, and
 * the images follow row by row, beyond the last variant in rows of their own. The same seed makes the same file.
 */
export function generateShopify(count: number, seed: number, origin: string) {
  const random = mulberry32(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const rows: Cells[] = [];
  const products: ShopifyProduct[] = [];
  for (let n = 0; n < count; n++) {
    const title = `${titles[n % titles.length]} ${n}`;
    const handle = `product-${n}`;
    const isPlain = below(10) < 6;
    const variants = isPlain
      ? [{ 'Option1 Name': 'Title', 'Option1 Value': 'Default Title' }]
      : sizes.slice(0, 2 + below(sizes.length - 1)).flatMap((size) =>
          colours.slice(0, below(4) === 0 ? 2 : 1).map((colour) => ({
            'Option1 Value': size,
            'Option2 Value': colour,
          })),
        );
    const images = Array.from({ length: below(10) === 0 ? 2 : 1 }, (_, i) => `${origin}/${handle}-${i}.png?v=${seed}`);
    const isArchived = below(20) === 0;
    const product: Cells = {
      Title: title,
      'Body (HTML)': bodies[n % bodies.length] ?? '',
      Vendor: 'Nørd & Co',
      'Product Category': 'Apparel & Accessories > Clothing',
      Type: 'Shirts',
      Tags: 'new, "sale", été',
      Published: isArchived ? 'false' : 'true',
      ...(isPlain ? {} : { 'Option1 Name': 'Size', 'Option2 Name': 'Colour' }),
      'Gift Card': 'false',
      'SEO Title': title,
      'Cost per item': '3.20',
      Status: isArchived && n % 2 === 0 ? 'draft' : 'active',
    };
    for (let i = 0; i < Math.max(variants.length, images.length); i++) {
      const variant = variants[i];
      rows.push({
        Handle: handle,
        ...(i === 0 ? product : {}),
        ...(variant && {
          ...variant,
          'Variant SKU': below(5) === 0 ? '' : `SH-${n}-${i}`,
          'Variant Grams': `${below(900)}.0`,
          'Variant Inventory Tracker': 'shopify',
          'Variant Inventory Qty': String(below(50) - 2),
          'Variant Inventory Policy': 'deny',
          'Variant Fulfillment Service': 'manual',
          'Variant Price': `${5 + below(90)}.${below(2) === 0 ? '00' : '95'}`,
          'Variant Compare At Price': below(3) === 0 ? '120.00' : '',
          'Variant Requires Shipping': 'true',
          'Variant Taxable': 'true',
          'Variant Barcode': below(2) === 0 ? `'0${1_000_000 + below(9_000_000)}` : '',
          'Variant Weight Unit': 'kg',
        }),
        ...(images[i] === undefined
          ? {}
          : { 'Image Src': images[i] ?? '', 'Image Position': String(i + 1), 'Image Alt Text': `${title}, №${i + 1}` }),
      });
    }
    products.push({ handle, variants: variants.length, images, isArchived });
  }
  return { rows, products };
}
