import * as z from 'zod';

/** The envelope of every list. */
export const listOf = (schema: z.ZodType) =>
  z.object({
    data: z.array(schema),
    nextCursor: z
      .string()
      .nullable()
      .meta({ description: 'The value of `cursor` for the next page; null on the last page' }),
  });

export const sampleImage = {
  id: '019ab3f0-77aa-7e51-9b06-5d4c3b2a1908',
  path: '/media/019ab3f0-77aa-7e51-9b06-5d4c3b2a1908.webp',
  alt: 'A black T-shirt',
  width: 1200,
  height: 1600,
};

export const sampleProduct = {
  id: '019ab3f0-5c1e-7d2a-9f10-3b1c5a7e9d21',
  sku: 'TEE-BLACK-M',
  name: 'Black T-shirt, M',
  description: 'Organic cotton',
  price: 29.99,
  currency: 'USD',
  inventory: 100,
  status: 'active',
  groupId: '019ab3ef-91d2-7b10-8c44-2f6d8e0a1b3c',
  options: { Size: 'M', Colour: 'Black' },
  slug: null,
  images: [sampleImage],
  weight: 180,
  taxCategory: null,
  compareAtPrice: 34.99,
  collections: [],
  metadata: {},
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const sampleProductExport = {
  type: ['text/csv', 'application/x-ndjson'],
  example: {
    'text/csv':
      'sku,name,description,price,currency,compareAtPrice,inventory,status,slug,weight,taxCategory,group,groupName,' +
      'collections,image,metadata,option:Size\r\n' +
      'TEE-BLACK-M,"Black T-shirt, M",,29.99,USD,,100,active,,180,,t-shirt,T-shirt,summer,,,M\r\n',
    'application/x-ndjson':
      '{"sku":"TEE-BLACK-M","name":"Black T-shirt, M","price":29.99,"currency":"USD","inventory":100,' +
      '"status":"active","weight":180,"group":"t-shirt","groupName":"T-shirt","options":{"Size":"M"},' +
      '"collections":["summer"],"image":[],"metadata":{}}\n',
  },
};

export const sampleOrderExport = {
  type: ['text/csv', 'application/x-ndjson'],
  example: {
    'text/csv':
      'orderId,createdAt,status,customerId,organizationId,purchaseOrderNumber,campaignId,total,currency,paymentId,' +
      'paymentStatus,amountRefunded,trackingNumber,shippingName,shippingLine1,shippingLine2,shippingCity,' +
      'shippingState,shippingPostalCode,shippingCountry,sku,quantity,price\r\n' +
      '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f,2026-01-31T12:00:00.000Z,created,customer-1,,,,59.98,USD,,,,,,,,,,,,' +
      'TEE-BLACK-M,2,29.99\r\n',
    'application/x-ndjson':
      '{"id":"019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f","customerId":"customer-1","items":[{"sku":"TEE-BLACK-M",' +
      '"quantity":2,"price":29.99}],"total":59.98,"currency":"USD","status":"created"}\n',
  },
};

export const sampleProductGroup = {
  id: sampleProduct.groupId,
  name: 'T-shirt',
  description: 'Organic cotton',
  slug: 't-shirt',
  options: ['Size', 'Colour'],
  metadata: {},
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
  products: [sampleProduct],
};

const { products: _, ...groupOfList } = sampleProductGroup;
export const sampleProductGroups = { data: [groupOfList], nextCursor: null };

export const sampleCollection = {
  id: '019ab3ee-0f1e-7d2c-9b3a-4e5f60718293',
  name: 'Summer',
  slug: 'summer',
  parentId: null,
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const samplePriceList = {
  id: '019ab3f0-6d2f-7e3b-8a21-4c2d6b8f0e32',
  name: 'Wholesale',
  currency: 'USD',
  startsAt: null,
  endsAt: '2036-12-31T23:00:00.000Z',
  audience: { customerGroup: 'wholesale' },
  priceCount: 1,
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const samplePrice = {
  sku: 'TEE-BLACK-M',
  quantity: 12,
  currency: 'USD',
  price: 24.99,
  source: { level: 'group', list: { id: samplePriceList.id, name: samplePriceList.name } },
  minQuantity: 10,
  nextBreak: null,
  breaks: [
    { minQuantity: 1, price: 29.99 },
    { minQuantity: 10, price: 24.99 },
  ],
};

export const sampleTaxRate = {
  id: '019ab3f0-6e3a-7a4c-9c53-4f5b6d7e8f90',
  name: 'VAT, reduced',
  country: 'DE',
  region: null,
  category: 'books',
  rate: 7,
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const sampleCustomer = {
  id: '019ab3f0-7e30-7f4c-9b32-5d3e7c901f43',
  email: 'ada@example.com',
  name: 'Ada Lovelace',
  phone: null,
  addresses: [
    {
      id: '019ab3f0-8f41-705d-8c43-6e4f8da12054',
      name: 'Ada Lovelace',
      line1: '1092 Indian Summer Court',
      city: 'San José',
      state: 'CA',
      postalCode: '95122',
      country: 'US',
    },
  ],
  group: 'wholesale',
  metadata: {},
  vatNumber: null,
  vatStatus: null,
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const sampleSession = {
  token: 'cs_live_8Zk2mQ4vX7cT1nB5yR9hJ3wL6pD0sGfA',
  expiresAt: '2026-01-31T13:00:00.000Z',
  customerId: sampleCustomer.id,
};

export const sampleStock = {
  sku: 'TEE-BLACK-M',
  quantity: 98,
  reserved: 2,
  version: 1,
  lowStockThreshold: 10,
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const sampleOrder = {
  id: '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e1f',
  customerId: 'customer-1',
  items: [
    {
      ...{ sku: 'TEE-BLACK-M', quantity: 2, price: 29.99, id: '1', name: null, discount: 0, tax: 0, total: 59.98 },
      ...{ refundedQuantity: 0, fulfilledQuantity: 0 },
    },
  ],
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
  number: 'K7QF2-M9X4T',
  cartId: null,
  source: null,
  email: null,
  subtotal: 59.98,
  discountTotal: 0,
  shippingTotal: 0,
  shippingTax: 0,
  taxTotal: 0,
  taxIncluded: false,
  taxLines: [],
  discounts: [],
  shippingOption: null,
  billingAddress: null,
  metadata: {},
  refunds: [],
  shipments: [],
  createdAt: '2026-01-31T12:00:00.000Z',
  updatedAt: '2026-01-31T12:00:00.000Z',
};

export const samplePayment = {
  id: '019ab3f1-1b2c-7d3e-9f40-5a6b7c8d9e0f',
  orderId: sampleOrder.id,
  amount: 59.98,
  currency: 'USD',
  status: 'pending',
  amountRefunded: 0,
  dispute: null,
  stripePaymentIntentId: 'pi_3Q0000000000000000000000',
  clientSecret: 'pi_3Q0000000000000000000000_secret_0000000000000000000000000',
  stripeAccount: null,
  failureReason: null,
  createdAt: '2026-01-31T12:00:01.000Z',
};

export const sampleRefund = {
  id: '019ab3f2-2c3d-7e4f-8a51-6b7c8d9e0f1a',
  paymentId: samplePayment.id,
  amount: 10,
  currency: 'USD',
  status: 'pending',
  reason: 'one shirt was torn',
  failureReason: null,
  items: [] as { lineId: string; quantity: number; amount: number }[],
  shipping: 0,
  createdAt: '2026-01-31T12:30:00.000Z',
};

export const sampleLineRefund = {
  ...sampleRefund,
  id: '019ab3f2-3d4e-7f50-9b62-7c8d9e0f1a2b',
  amount: 29.99,
  items: [{ lineId: '1', quantity: 1, amount: 29.99 }],
};

export const sampleReturn = {
  id: '019ab3f2-4e5f-7061-8c73-8d9e0f1a2b3c',
  orderId: sampleOrder.id,
  status: 'requested',
  items: [{ lineId: '1', quantity: 1, receivedQuantity: null, restock: true }],
  reason: 'too small',
  refund: null,
  createdAt: '2026-01-31T12:40:00.000Z',
  receivedAt: null,
  updatedAt: '2026-01-31T12:40:00.000Z',
};

export const sampleAddress = {
  name: 'Ada Lovelace',
  line1: '1092 Indian Summer Court',
  city: 'San José',
  state: 'CA',
  postalCode: '95122',
  country: 'US',
};

export const sampleShipment = {
  id: '019ab3f3-3d4e-7f50-9b62-7c8d9e0f1a2b',
  orderId: sampleOrder.id,
  trackingNumber: 'FC401205639182736455',
  carrier: 'manual',
  labelUrl: '/v1/shipments/019ab3f3-3d4e-7f50-9b62-7c8d9e0f1a2b/label',
  status: 'created',
  items: [{ lineId: '1', quantity: 2 }],
  createdAt: '2026-01-31T12:01:00.000Z',
};

export const sampleTenant = {
  id: 'shop',
  name: 'The tea shop',
  country: 'DE',
  currency: 'EUR',
  ...{ pricesIncludeTax: true, taxProvider: 'table' as const },
  shipFrom: { name: 'The tea shop', line1: 'Speicherstadt 4', city: 'Hamburg', postalCode: '20457', country: 'DE' },
  parcel: { weightGrams: 500, lengthMm: 300, widthMm: 200, heightMm: 100 },
  carrier: { name: 'shippo' as const, hasApiKey: true, hasWebhookSecret: true },
  delayedPayments: true,
  automaticLabels: true,
  holdSeconds: 1_800,
  cartSeconds: null,
  approvalSeconds: null,
  graceSeconds: null,
  storefrontUrl: 'https://tea.example',
  oidc: null,
  links: { terms: 'https://tea.example/terms', privacy: 'https://tea.example/privacy', returns: null },
  stripeAccount: null,
};
