import * as z from 'zod';

/** The envelope of every list. */
export const listOf = (schema: z.ZodType) =>
  z.object({
    data: z.array(schema),
    nextCursor: z.string().nullable().meta({ description: 'For `?cursor=`; null on the last page' }),
  });

export const sampleProduct = {
  id: '019ab3f0-5c1e-7d2a-9f10-3b1c5a7e9d21',
  sku: 'TEE-BLACK-M',
  name: 'Black T-shirt, M',
  description: 'Organic cotton',
  price: 29.99,
  currency: 'USD',
  inventory: 100,
  status: 'active',
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const sampleStock = {
  sku: 'TEE-BLACK-M',
  quantity: 98,
  reserved: 2,
  version: 1,
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const sampleOrder = {
  id: '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f',
  customerId: 'customer-1',
  items: [{ sku: 'TEE-BLACK-M', quantity: 2, price: 29.99 }],
  total: 59.98,
  currency: 'USD',
  status: 'created',
  failureReason: null,
  organizationId: null,
  purchaseOrderNumber: null,
  shippingAddress: null,
  campaignId: null,
  reservation: { status: 'held', expiresAt: '2026-01-31T12:15:00.000Z' },
  payment: null,
  shipment: null,
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};
