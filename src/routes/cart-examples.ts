import { sampleAddress, sampleImage, sampleOrder, samplePayment, sampleProduct } from './examples.ts';

const line = {
  ...{ id: '019ab3f0-9d2c-7a41-8f53-1c2d3e4f5a6b', sku: sampleProduct.sku, name: sampleProduct.name },
  ...{ image: sampleImage.path, quantity: 2, price: 29.99, compareAtPrice: 34.99 },
  ...{ subtotal: 59.98, discount: 6, tax: 5.4, total: 59.38, available: 100 },
};

export const sampleCart = {
  id: '019ab3f0-9c1b-7930-8e42-0b1c2d3e4f5a',
  status: 'open',
  currency: 'USD',
  customerId: null,
  email: 'ada@example.com',
  phone: null,
  items: [line],
  shippingAddress: sampleAddress,
  billingAddress: null,
  shippingOptions: [{ id: '019ab3ee-1a2b-7c3d-8e4f-5a6b7c8d9e0f', name: 'Standard', price: 5, minDays: 2, maxDays: 4 }],
  shippingOptionId: '019ab3ee-1a2b-7c3d-8e4f-5a6b7c8d9e0f',
  discountCodes: ['SPRING'],
  discounts: [
    {
      ...{ id: '019ab3ed-2b3c-7d4e-8f50-6b7c8d9e0f1a', code: 'SPRING', name: 'Spring sale', amount: 6 },
      allocations: [{ lineId: line.id, amount: 6 }],
    },
  ],
  taxLines: [{ name: 'Sales tax', rate: 10, taxable: 53.98, amount: 5.4 }],
  taxIncluded: false,
  totals: { subtotal: 59.98, discount: 6, shipping: 5, tax: 5.4, total: 64.38 },
  messages: [],
  organizationId: null,
  purchaseOrderNumber: null,
  metadata: {},
  source: { channel: 'web' },
  orderId: null,
  expiresAt: '2026-02-07T12:00:00.000Z',
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const sampleCheckout = { order: { ...sampleOrder, payment: samplePayment }, payment: samplePayment };
