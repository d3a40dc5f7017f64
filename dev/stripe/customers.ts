import type { Account, Call, Route } from './account.ts';
import { listPage } from './lists.ts';
import { attachMethod, checkAttachable, checkOwner, readMethod } from './methods.ts';
import { type Customer, newId } from './store.ts';
import { missing, type Params } from './wire.ts';

const FIELDS = ['description', 'email', 'name', 'phone'] as const;

/** Loads the customer that a parameter or the path names. */
export function loadCustomer(account: Account, id: string, status: 400 | 404 = 400): Customer {
  const customer = account.store.get('customer', id);
  if (customer === undefined) throw missing('customer', id, status === 404 ? 'id' : 'customer', status);
  return customer;
}

function setFields(customer: Customer, params: Params): void {
  for (const field of FIELDS) {
    const value = params.text(field);
    if (value !== undefined) customer[field] = value === '' ? null : value;
  }
  customer.metadata = params.metadata(customer.metadata);
}

function createCustomer(call: Call): Customer {
  const { account, params } = call;
  params.allowOnly([...FIELDS, 'metadata', 'payment_method']);
  const customer: Customer = {
    id: newId('cus'),
    object: 'customer',
    balance: 0,
    created: account.seconds(),
    default_source: null,
    delinquent: false,
    description: null,
    email: null,
    invoice_settings: {
      custom_fields: null,
      default_payment_method: null,
      footer: null,
      rendering_options: null,
    },
    livemode: false,
    metadata: {},
    name: null,
    phone: null,
    shipping: null,
  };
  setFields(customer, params);
  const method = readMethod(call);
  if (method !== undefined) {
    checkOwner(account, method, customer.id);
    checkAttachable(account, method);
  }
  account.store.put('customer', customer);
  account.emit('customer.created', customer);
  if (method !== undefined) attachMethod(account, method, customer.id);
  return customer;
}

export const customerRoutes: Route[] = [
  { method: 'POST', path: '/v1/customers', handle: createCustomer },
  { method: 'GET', path: '/v1/customers/:id', handle: ({ account, id }) => loadCustomer(account, id, 404) },
  {
    method: 'POST',
    path: '/v1/customers/:id',
    handle: ({ account, params, id }) => {
      params.allowOnly([...FIELDS, 'metadata']);
      const customer = loadCustomer(account, id, 404);
      setFields(customer, params);
      account.store.put('customer', customer);
      account.emit('customer.updated', customer);
      return customer;
    },
  },
  {
    method: 'GET',
    path: '/v1/customers',
    handle: ({ account, params }) =>
      listPage(params, '/v1/customers', 'customer', account.store.all('customer'), {
        email: (customer, value) => customer.email === value,
      }),
  },
  {
    method: 'GET',
    path: '/v1/customers/:id/payment_methods',
    handle: ({ account, params, id }) => {
      const customer = loadCustomer(account, id, 404);
      const saved = account.store.all('payment_method').filter((method) => method.customer === customer.id);
      return listPage(params, `/v1/customers/${id}/payment_methods`, 'PaymentMethod', saved, {
        type: (method, value) => method.type === value,
      });
    },
  },
];
