import type { Context } from '../../context.ts';
import { type OrderFilter, orderPage } from '../../db/orders/queries.ts';
import { type Order, toOrder } from '../orders/order.ts';
import { csvRecord, type Export, type ExportFormat, pageSize, streamRows, toExport, withoutFormula } from './format.ts';

/** The columns of CSV, which has one line for each line of an order. */
const columns = [
  ...['orderId', 'createdAt', 'status', 'customerId', 'organizationId', 'purchaseOrderNumber', 'campaignId'],
  ...['total', 'currency', 'paymentId', 'paymentStatus', 'amountRefunded', 'trackingNumber', 'shippingName'],
  ...['shippingLine1', 'shippingLine2', 'shippingCity', 'shippingState', 'shippingPostalCode', 'shippingCountry'],
  ...['sku', 'quantity', 'price'],
];

function toCsvLines(order: Order): string {
  const address = order.shippingAddress;
  const written = (text: string | null | undefined) =>
    text === null || text === undefined ? '' : withoutFormula(text);
  const ofOrder = [
    ...[order.id, order.createdAt, order.status, written(order.customerId), written(order.organizationId)],
    ...[written(order.purchaseOrderNumber), order.campaignId, order.total, order.currency, order.payment?.id],
    ...[order.payment?.status, order.payment?.amountRefunded, written(order.shipment?.trackingNumber)],
    ...[written(address?.name), written(address?.line1), written(address?.line2), written(address?.city)],
    ...[written(address?.state), written(address?.postalCode), address?.country],
  ];
  return order.items
    .map(({ sku, quantity, price }) => csvRecord([...ofOrder, withoutFormula(sku), quantity, price]))
    .join('');
}

/** The order as the API shows it, but a file that is passed on has no client secret with which somebody could pay. */
const toJsonLine = (order: Order): string =>
  `${JSON.stringify({ ...order, payment: order.payment && { ...order.payment, clientSecret: null } })}\n`;

/** Every order of the filter, newest first. @throws ApiError forbidden */
export async function exportOrders(context: Context, format: ExportFormat, filter: OrderFilter): Promise<Export> {
  const readPage = async (before: string | undefined) => {
    const { rows } = await context.db.read(context.call, 'orders:read', (db) =>
      orderPage(db, filter, before, pageSize),
    );
    return rows.map(({ order }) => toOrder(order));
  };
  const header = format === 'csv' ? csvRecord(columns) : '';
  const body = await streamRows(readPage, header, (order) =>
    format === 'csv' ? toCsvLines(order) : toJsonLine(order),
  );
  return toExport(context, { name: 'orders', format, body });
}
