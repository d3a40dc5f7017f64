import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { address, email, id, metadata, reference, text, time } from '../../base/fields.ts';
import { newId } from '../../base/ids.ts';
import { normalizeVatNumber, vatNumberFault } from '../../base/vat.ts';
import type { Context } from '../../context.ts';
import { type CustomerFilter, type CustomerRow, customerById, customerPage } from '../../db/orders/customers.ts';
import { runWrite } from '../refusals.ts';
import { readAsShopper } from './shoppers.ts';

const savedAddress = address.extend({ id }).meta({ id: 'SavedAddress' });

export const customer = z
  .object({
    id,
    email: z.string(),
    name: z.string().nullable(),
    phone: z.string().nullable(),
    addresses: z.array(savedAddress),
    group: z.string().nullable().meta({ description: 'The price lists of this group apply' }),
    metadata,
    vatNumber: z.string().nullable(),
    vatStatus: z.enum(['pending', 'valid', 'invalid']).nullable().meta({
      description: 'What VIES says about the number. `pending` until it has answered; null without a number',
    }),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Customer' });

export type Customer = z.infer<typeof customer>;

const maxAddressText = 100_000;

const addresses = z
  .array(
    address.extend({ id: id.optional().meta({ description: 'Given back to keep it; a new address gets its own' }) }),
  )
  .max(50)
  .superRefine((list, check) => {
    // A page of 100 customers must fit into the memory of an isolate.
    if (JSON.stringify(list).length > maxAddressText)
      check.addIssue({ code: 'custom', message: `must have at most ${maxAddressText} characters in all, as JSON` });
    const ids = list.map((each) => each.id);
    for (const [index, each] of ids.entries()) {
      if (each !== undefined && ids.indexOf(each) < index)
        check.addIssue({ code: 'custom', path: [index, 'id'], message: 'is the id of an earlier address' });
    }
  });

const vatNumber = z
  .string()
  .max(40, { abort: true })
  .overwrite(normalizeVatNumber)
  .superRefine((number, check) => {
    const fault = vatNumberFault(number);
    if (fault !== undefined) check.addIssue({ code: 'custom', message: fault });
  })
  .meta({
    description:
      'A VAT number of the European Union with its country code. Spaces, dots and hyphens are removed. null removes it',
    examples: ['DE136695976'],
  });

const fields = {
  email,
  name: text(200).nullable().optional(),
  phone: text(64).nullable().optional(),
  addresses: addresses.optional(),
  group: reference.nullable().optional(),
  metadata: metadata.optional(),
  vatNumber: vatNumber.nullable().optional(),
};

export const newCustomer = z.strictObject(fields);

export const customerChange = z
  .strictObject(fields)
  .partial()
  .refine((change) => Object.keys(change).length > 0, { error: 'must change at least one field' });

type NewCustomer = z.infer<typeof newCustomer>;

const toCustomer = (row: CustomerRow): Customer => ({
  id: row.id,
  email: row.email,
  name: row.name,
  phone: row.phone,
  addresses: row.addresses as Customer['addresses'],
  group: row.group,
  metadata: row.metadata,
  vatNumber: row.vatNumber,
  vatStatus: row.vatStatus,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});

/** Gives an id to each address that has none. */
const withIds = (context: Context, given: NewCustomer['addresses']) =>
  given === undefined ? {} : { addresses: given.map((each) => ({ ...each, id: each.id ?? newId(context.now()) })) };

async function write(context: Context, name: 'create_customer' | 'update_customer', input: unknown) {
  const { answer, replayed } = await runWrite<CustomerRow & { version: number }>(context, `orders.${name}`, input);
  return { customer: toCustomer(answer), version: answer.version, replayed };
}

/** @throws ApiError email_taken */
export const createCustomer = (context: Context, input: NewCustomer) =>
  write(context, 'create_customer', { ...input, ...withIds(context, input.addresses), id: newId(context.now()) });

/**
 * Changes only the given fields; `addresses` and `metadata` are replaced as a whole.
 * @throws ApiError not_found, version_mismatch, email_taken, forbidden (a session changes only name, phone, addresses)
 */
export const updateCustomer = (
  context: Context,
  customerId: string,
  change: z.infer<typeof customerChange>,
  ifMatch: number[] | undefined,
) =>
  write(context, 'update_customer', {
    id: customerId,
    ifMatch,
    change: { ...change, ...withIds(context, change.addresses) },
  });

/** @throws ApiError not_found */
export async function readCustomer(context: Context, customerId: string) {
  if (context.call.shopper) {
    const own = await readAsShopper<CustomerRow & { version: number }>(context, 'orders.show_customer', {
      id: customerId,
    });
    return { customer: toCustomer(own), version: own.version };
  }
  const { rows } = await context.db.read(context.call, 'customers:read', (db) => customerById(db, customerId));
  const [found] = rows;
  if (!found) throw new ApiError('not_found');
  return { customer: toCustomer(found.customer), version: found.version };
}

/** Customers, newest first. */
export async function listCustomers(
  context: Context,
  filter: CustomerFilter,
  before: string | undefined,
  limit: number,
) {
  const { rows } = await context.db.read(context.call, 'customers:read', (db) =>
    customerPage(db, filter, before, limit),
  );
  return rows.map((row) => toCustomer(row.customer));
}
