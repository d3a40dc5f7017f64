import type Stripe from 'stripe';
import { defaultCell } from '../base/cells.ts';
import type { Context } from '../context.ts';

/** The payment, order and tenant in the metadata of a Stripe object. */
export type MadeFor = { paymentId: string | null; orderId: string | null; tenant: string | null };

export const madeFor = (metadata: Stripe.Metadata | null): MadeFor => ({
  paymentId: metadata?.paymentId ?? null,
  orderId: metadata?.orderId ?? null,
  tenant: metadata?.tenant ?? null,
});

/** The cell in metadata. The default cell is not named, so that its calls stay the same when a cell is added. */
export const cellMetadata = (cell: string): { cell?: string } => (cell === defaultCell ? {} : { cell });

/** The metadata of an intent: the payment for which it is made, and the cell where its updates are applied. */
export const metadataOf = ({ db }: Context, payment: { id: string; orderId: string; tenant: string }) => ({
  ...{ paymentId: payment.id, orderId: payment.orderId, tenant: payment.tenant },
  ...cellMetadata(db.cell),
});

/**
 * The cell that a Stripe object names. A payment without a cell in its metadata is in the default cell. An object that
 * names no payment (a dispute, or a refund that was made in the dashboard) says nothing about its cell.
 */
export const cellIn = (metadata: Stripe.Metadata | null | undefined): string | undefined =>
  metadata?.cell ?? (metadata?.paymentId === undefined ? undefined : defaultCell);
