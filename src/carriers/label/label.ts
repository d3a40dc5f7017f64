import { CarrierError, type LabelRequest } from '../carrier.ts';
import { addressLines, fitLines, type Line, leading, requirePrintable } from './address-lines.ts';
import { code128Widths } from './code128.ts';
import { PdfPage, textWidth } from './pdf.ts';

// 4 × 6 inches, the size of thermal label printers.
const width = 288;
const height = 432;
const margin = 12;
const inner = width - 2 * margin;

// 3 dots of a 203 dpi printer (15 mil), so that every bar is a whole number of dots. Below 10 mil hand scanners become
// unreliable.
const finestModule = 0.72;
const bestModule = (3 * 72) / 203;
const quietZone = 10;

const drawRows = (page: PdfPage, rows: Line[], size: number, x: number, top: number): void => {
  rows.forEach((row, index) => {
    page.text(x, top - size * (0.8 + index * leading), size, row.weight, row.text);
  });
};

const drawBarcode = (page: PdfPage, text: string, bottom: number, barHeight: number): void => {
  const widths = code128Widths(text);
  const modules = widths.reduce((sum, module) => sum + module, 0);
  const module = Math.min(bestModule, (width - 2) / (modules + 2 * quietZone));
  if (module < finestModule) throw new CarrierError('manual', 'the tracking number is too long for the label', true);
  let x = (width - modules * module) / 2;
  widths.forEach((count, index) => {
    if (index % 2 === 0) page.rectangle(x, bottom, count * module, barHeight);
    x += count * module;
  });
};

const centred = (page: PdfPage, y: number, size: number, text: string): void => {
  page.text((width - textWidth(text, size, 'bold')) / 2, y, size, 'bold', text);
};

const centimetres = (millimetres: number): string => String(Math.round(millimetres) / 10);

// Notices for the packer about letters that are not on the label, or that the printing system may lack.
const notices = (scripts: Set<string>, reference: string): Line[] => {
  const found: Line[] = [];
  if (scripts.has('east_asian')) {
    const text = `CHECK: the address has Chinese, Japanese or Korean letters. If any are missing above, do not ship: the complete address is in order ${reference}.`;
    found.push({ text, weight: 'bold' });
  }
  if (scripts.has('transliterated')) {
    found.push({
      text: `Address transliterated into Latin letters. The original is in order ${reference}.`,
      weight: 'regular',
    });
  }
  return found;
};

/**
 * Draws a 4 × 6 inch shipping label as a PDF: sender, weight and size, recipient, routing line (country and postal
 * code), Code 128 of the tracking number with the number under it, reference and shipment id. The same request gives
 * the same bytes, so the label can be drawn again at any time.
 *
 * Letters: see `makePrintable`. Chinese, Japanese and Korean use the fonts of the reader's system, which desktop
 * systems have, because embedded ones would be too large. If they are missing, the letters stay blank; the label's last
 * lines warn about that. Text that can be neither printed nor transliterated is rejected, never left out.
 * @throws CarrierError (permanent) that names the field
 */
export function drawLabel(request: LabelRequest, trackingNumber: string): Uint8Array {
  const to = addressLines(request.to, 'to');
  const from = addressLines(request.from, 'from');
  const reference = requirePrintable(request.reference, 'reference', request.to.country).text;
  const page = new PdfPage(width, height);
  const rule = (y: number, weight = 0.75) => page.rectangle(margin, y, inner, weight);
  const caption = (x: number, y: number, text: string) => page.text(x, y, 5.5, 'bold', text);

  caption(margin, 414, 'FROM');
  const sender = fitLines(from.lines, { width: 180, height: 50, largest: 7.5, smallest: 4.5 });
  drawRows(page, sender.rows, sender.size, margin, 410);
  const { weightGrams, lengthMm, widthMm, heightMm } = request.parcel;
  const weight = `${(weightGrams / 1000).toFixed(2)} kg`;
  const size = `${[lengthMm, widthMm, heightMm].map(centimetres).join(' × ')} cm`;
  page.text(width - margin - textWidth(weight, 14, 'bold'), 404, 14, 'bold', weight);
  page.text(width - margin - textWidth(size, 7, 'regular'), 394, 7, 'regular', size);
  rule(356, 2);

  caption(margin, 346, 'SHIP TO');
  const recipient = fitLines(to.lines, { width: inner, height: 116, largest: 15, smallest: 6 });
  drawRows(page, recipient.rows, recipient.size, margin, 342);
  rule(222);

  page.rectangle(margin, 184, 52, 32);
  const country = request.to.country;
  page.text(margin + (52 - textWidth(country, 24, 'bold')) / 2, 191.5, 24, 'bold', country, 1);
  const code = fitLines([{ text: to.postalCode, weight: 'bold' }], {
    width: 200,
    height: 31,
    largest: 26,
    smallest: 6,
  });
  drawRows(page, code.rows, code.size, margin + 62, 197 + (code.rows.length * code.size * leading) / 2);
  rule(177, 2);

  centred(page, 166, 5.5, 'TRACKING NUMBER');
  drawBarcode(page, trackingNumber, 88, 72);
  centred(page, 73, 12, trackingNumber.replace(/(.{4})(?=.)/g, '$1 '));
  rule(64, 2);

  const small: Line[] = [
    { text: `Ref. ${reference}`, weight: 'bold' },
    { text: `Shipment ${request.shipmentId}`, weight: 'regular' },
    ...notices(new Set([...to.scripts, ...from.scripts]), reference),
  ];
  const last = fitLines(small, { width: inner, height: 48, largest: 8, smallest: 4.5 });
  drawRows(page, last.rows, last.size, margin, 60);
  return page.toBytes(`Shipping label ${trackingNumber}`);
}
