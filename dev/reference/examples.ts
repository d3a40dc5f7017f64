import { sampleCart } from '../../src/routes/cart-examples.ts';
import { sampleDiscount } from '../../src/routes/discounts.ts';
import {
  sampleCollection,
  sampleCustomer,
  sampleOrder,
  samplePayment,
  samplePriceList,
  sampleProduct,
  sampleProductGroup,
  sampleReturn,
  sampleShipment,
  sampleTaxRate,
} from '../../src/routes/examples.ts';
import { sampleCampaign, sampleParticipant } from '../../src/routes/group-commerce/campaign-examples.ts';
import { sampleTeam, sampleTeamPlace } from '../../src/routes/group-commerce/team-examples.ts';
import { sampleShippingOption } from '../../src/routes/shipping-options.ts';
import type { Content, OpenApi, Operation, Parameter, Samples } from './openapi.ts';

const sampleEvent = {
  specversion: '1.0',
  id: '019ab3f1-0a4b-7c3d-8e5f-6a7b8c9d0e20',
  type: 'order.created',
  source: '/fusioncommerce',
  time: '2026-01-31T12:00:00.000Z',
  tenantid: 'default',
  subject: sampleOrder.id,
  sequence: '42',
  data: {
    orderId: sampleOrder.id,
    customerId: sampleOrder.customerId,
    total: sampleOrder.total,
    currency: sampleOrder.currency,
    items: sampleOrder.items,
  },
};

const sampleKey = {
  id: '019ab3f6-2b3c-7d4e-8f50-61728394a5b6',
  prefix: 'sk_live_x7Qp',
  kind: 'secret',
  name: 'warehouse',
  scopes: ['orders:read', 'shipping:read'],
  origins: null,
  createdAt: '2026-01-31T12:00:00.000Z',
  expiresAt: null,
  revokedAt: null,
};

const sampleDeadLetter = {
  id: '019ab3f5-5f60-7172-8d84-9e0f1a2b3c4d',
  sink: 'shipping',
  eventId: sampleEvent.id,
  topic: 'order.confirmed',
  key: sampleOrder.id,
  message: { ...sampleEvent, type: 'order.confirmed', data: { orderId: sampleOrder.id } },
  reason: 'the label cannot show the name',
  attempts: 30,
  createdAt: '2026-01-31T14:00:00.000Z',
  replayedAt: null,
};

const { id, status, actualParticipants, securedParticipants, minParticipants, maxParticipants, endTime } =
  sampleCampaign;
const counts = { actualParticipants, securedParticipants, minParticipants, maxParticipants };
const sampleLive = { id, status, ...counts, endTime, secondsLeft: 3600 };

const sampleLiveTeam = {
  ...{ id: sampleTeam.id, status: 'forming', size: 3, joined: 2, secured: 1, mergedInto: null },
  ...{ endTime: sampleTeam.endTime, secondsLeft: 3600 },
};
/** The events of a stream that shows a change and then ends. */
const liveEvents = (name: string, data: object): string =>
  [
    `id: 6b86b273ff34fce1\nevent: ${name}`,
    `data: ${JSON.stringify(data)}\n`,
    'event: end',
    `data: ${JSON.stringify({ reason: 'time_limit', reconnect: true })}\n\n`,
  ].join('\n');

const listOf = (...data: object[]) => ({ data, nextCursor: null });

type Examples = {
  /** Request bodies by media type. */
  body?: Record<string, unknown>;
  /** Response bodies by status. */
  responses?: Record<string, unknown>;
};

const trackingUpdate = {
  body: {
    'application/json': {
      eventId: 'scan-1',
      trackingNumber: sampleShipment.trackingNumber,
      status: 'in_transit',
      occurredAt: '2026-01-31T18:00:00.000Z',
    },
  },
  responses: { 200: { received: true } },
};

/** Examples that the declarations of the operations lack. A declared example takes precedence. */
export const examples: Record<string, Examples> = {
  importProducts: {
    responses: {
      200: {
        created: 1,
        updated: 0,
        rejected: [{ line: 2, code: 'validation_failed', detail: '/price: must be at least 0' }],
      },
    },
  },
  listPrices: { responses: { 200: listOf({ sku: sampleProduct.sku, minQuantity: 10, price: 24.99 }) } },
  placeOrder: {
    responses: { 202: { ...sampleOrder, reservation: null } },
  },
  listOrderEvents: { responses: { 200: listOf(sampleEvent) } },
  cancelOrder: {
    responses: { 200: { ...sampleOrder, status: 'cancelled', reservation: { status: 'released', expiresAt: null } } },
  },
  cancelCampaign: { responses: { 200: { ...sampleCampaign, status: 'failed' } } },
  leaveCampaign: {
    responses: { 200: { ...sampleParticipant, state: 'released', reason: 'left', secureBy: null } },
  },
  leaveTeam: {
    responses: {
      200: {
        team: { ...sampleTeam, joined: 0, status: 'cancelled' },
        participant: { ...sampleTeamPlace.participant, state: 'released', reason: 'left', secureBy: null },
      },
    },
  },
  watchCampaign: { responses: { 200: liveEvents('campaign', sampleLive) } },
  watchTeam: { responses: { 200: liveEvents('team', sampleLiveTeam) } },
  receiveStripeEvent: {
    body: {
      'application/json': {
        id: 'evt_3Q0000000000000000000000',
        object: 'event',
        type: 'payment_intent.succeeded',
        created: 1769860801,
        data: { object: { id: samplePayment.stripePaymentIntentId, object: 'payment_intent', status: 'succeeded' } },
      },
    },
    responses: { 200: { received: true } },
  },
  receiveTracking: trackingUpdate,
  receiveTrackingAt: trackingUpdate,
  receiveKafka: {
    body: {
      'application/cloudevents+json': inventoryAdjusted(),
      'application/cloudevents-batch+json': [inventoryAdjusted()],
      'application/json': [inventoryAdjusted()],
    },
  },
  getLabel: { responses: { 200: '%PDF-1.7 …' } },
  listKeys: { responses: { 200: listOf(sampleKey) } },
  createKey: { responses: { 201: { ...sampleKey, key: 'sk_live_x7Qp…' } } },
  addProductImage: {
    body: { 'image/webp': 'RIFF …', 'image/png': '\u0089PNG …', 'image/jpeg': 'ÿØÿ …', 'image/avif': '… ftypavif …' },
  },
  getMedia: { responses: { 200: 'RIFF … WEBP …' } },
  listEvents: { responses: { 200: listOf(sampleEvent) } },
  listDeadLetters: { responses: { 200: listOf(sampleDeadLetter) } },
  replayDeadLetter: { responses: { 202: { ...sampleDeadLetter, replayedAt: '2026-01-31T15:00:00.000Z' } } },
  getHealth: { responses: { 200: { status: 'ok' } } },
  getReadiness: {
    responses: {
      200: {
        ...{ status: 'ok', outboxAgeSeconds: 0, outboxCount: 0, deadLetters: 0 },
        ...{ cells: [{ cell: 'default', status: 'ok' }], problems: [] },
      },
    },
  },
};

function inventoryAdjusted(): object {
  return {
    specversion: '1.0',
    id: 'count-2026-01-31',
    type: 'inventory.adjusted',
    source: '/warehouse',
    time: '2026-01-31T12:00:00.000Z',
    tenantid: 'default',
    data: { sku: sampleProduct.sku, delta: 5, reason: 'delivery' },
  };
}

/** The example value of `{id}`, by the path before it. */
const ids: Record<string, string> = {
  '/v1/products': sampleProduct.id,
  '/v1/product-groups': sampleProductGroup.id,
  '/v1/collections': sampleCollection.id,
  '/v1/price-lists': samplePriceList.id,
  '/v1/discounts': sampleDiscount.id,
  '/v1/shipping-options': sampleShippingOption.id,
  '/v1/tax-rates': sampleTaxRate.id,
  '/v1/customers': sampleCustomer.id,
  '/v1/carts': sampleCart.id,
  '/v1/orders': sampleOrder.id,
  '/v1/campaigns': sampleCampaign.id,
  '/v1/teams': sampleTeam.id,
  '/v1/payments': samplePayment.id,
  '/v1/returns': sampleReturn.id,
  '/v1/shipments': sampleShipment.id,
  '/v1/dead-letters': sampleDeadLetter.id,
  '/v1/keys': sampleKey.id,
};

/** The values that page/start.js replaces in the examples on the local platform. */
export const samples: Samples = {
  samples: {
    '/v1/products?limit=1': { id: sampleProduct.id, sku: sampleProduct.sku },
    '/v1/price-lists?limit=1': { id: samplePriceList.id },
    '/v1/discounts?limit=1': { id: sampleDiscount.id },
    '/v1/shipping-options?limit=1': { id: sampleShippingOption.id },
    '/v1/tax-rates?limit=1': { id: sampleTaxRate.id },
    '/v1/customers?limit=1': { id: sampleCustomer.id },
    '/v1/orders?limit=100': { id: sampleOrder.id, 'payment.id': samplePayment.id, 'shipment.id': sampleShipment.id },
    '/v1/campaigns?limit=1': { id: sampleCampaign.id },
    '/v1/dead-letters?limit=1': { id: sampleDeadLetter.id },
  },
  newSku: { sample: sampleProduct.sku, operations: ['createProduct', 'importProducts'] },
};

/** Adds an example to a path parameter. */
function withExample(path: string, parameter: Parameter): Parameter {
  if (parameter.in !== 'path') return parameter;
  const declared = parameter.schema.examples ?? parameter.schema.enum;
  const sampleId = parameter.name === 'id' ? ids[path.slice(0, path.indexOf('/{'))] : undefined;
  const named: Record<string, string> = {
    ...{ place: 'default', productId: sampleProduct.id, slug: sampleProductGroup.slug },
  };
  const example = sampleId ?? named[parameter.name] ?? (Array.isArray(declared) ? declared[0] : undefined);
  if (example === undefined)
    throw new Error(`${path}: {${parameter.name}} has no example. Add one in ${import.meta.filename}`);
  return { ...parameter, example };
}

/** Adds examples, given by media type, to content that has none. */
function fillContent(content: Content, byType: Record<string, unknown>): Content {
  return Object.fromEntries(
    Object.entries(content).map(([type, media]) => [
      type,
      media.example === undefined && type in byType ? { ...media, example: byType[type] } : media,
    ]),
  );
}

/** Adds an example to each path parameter, the request body and each response of an operation. */
function withExamples(path: string, operation: Operation): Operation {
  const { body = {}, responses: bodies = {} } = examples[operation.operationId] ?? {};
  const { requestBody } = operation;
  const responses = Object.entries(operation.responses).map(([status, response]) => {
    if ('$ref' in response || !(status in bodies) || response.content === undefined) return [status, response];
    const byType = Object.fromEntries(Object.keys(response.content).map((type) => [type, bodies[status]]));
    return [status, { ...response, content: fillContent(response.content, byType) }];
  });
  return {
    ...operation,
    parameters: operation.parameters.map((parameter) =>
      '$ref' in parameter ? parameter : withExample(path, parameter),
    ),
    ...(requestBody ? { requestBody: { ...requestBody, content: fillContent(requestBody.content, body) } } : {}),
    responses: Object.fromEntries(responses) as Operation['responses'],
  };
}

/** Adds the missing examples to the paths of a document. */
export const pathsWithExamples = ({ paths }: OpenApi): OpenApi['paths'] =>
  Object.fromEntries(
    Object.entries(paths).map(([path, methods]) => [
      path,
      Object.fromEntries(Object.entries(methods).map(([method, operation]) => [method, withExamples(path, operation)])),
    ]),
  );
