import type { Route } from '../http/route.ts';
import { catalogRoutes } from './catalog.ts';
import { eventRoutes } from './events.ts';
import { outsideRoutes } from './external-events.ts';
import { groupCommerceRoutes } from './group-commerce.ts';
import { inventoryRoutes } from './inventory.ts';
import { operationRoutes } from './operations.ts';
import { orderRoutes } from './orders.ts';
import { paymentRoutes } from './payments.ts';
import { shippingRoutes } from './shipping.ts';

/** Every operation of the API, in the order in which the documentation shows them. */
export const routes: Route[] = [
  ...catalogRoutes,
  ...inventoryRoutes,
  ...orderRoutes,
  ...groupCommerceRoutes,
  ...paymentRoutes,
  ...shippingRoutes,
  ...eventRoutes,
  ...outsideRoutes,
  ...operationRoutes(() => routes),
];
