/** The product group of a SKU. `slug`: the stem that the SKUs of the group share. `variant`: the rest of the SKU. */
export type PlannedGroup = { slug: string; name: string; variant: string };

/** A SKU to import. `opening`: its opening stock, the units of all its sale lines. `group`: only if it has variants. */
export type PlannedProduct = { sku: string; name: string; pence: number; opening: number; group?: PlannedGroup };

/** A row of the price list: the price of a unit if an order has at least `minQuantity` units of the SKU. */
export type PlannedPrice = { sku: string; minQuantity: number; pence: number };

/** The sale lines of an invoice as one order, in the order of the file. */
export type PlannedOrder = {
  invoice: string;
  customer: string;
  lines: { sku: string; units: number; pence: number }[];
};
