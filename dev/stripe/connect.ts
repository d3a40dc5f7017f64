import type Stripe from 'stripe';
import { type Account, type Accounts, APPLICATION_ID, type Call, PLATFORM_ID, type Route } from './account.ts';
import { listPage } from './lists.ts';
import { type ConnectedAccount, randomCharacters } from './store.ts';
import { badRequest, type Params, StripeFailure } from './wire.ts';

// Stripe Connect: the accounts that are connected to the platform, and the platform's access to them.

const PROFILE = ['mcc', 'name', 'product_description', 'support_email', 'support_phone', 'support_url', 'url'] as const;
const CREATE = [
  ...['business_profile', 'business_type', 'capabilities', 'controller', 'country', 'default_currency', 'email'],
  ...['metadata', 'type'],
];
const DUE = ['business_type', 'external_account', 'tos_acceptance.date', 'tos_acceptance.ip'];

/** Stripe's 403 for an account that does not exist or has revoked the platform's access. */
export function accountInvalid(id: string, maskedKey: string): StripeFailure {
  const message =
    `The provided key '${maskedKey}' does not have access to account '${id}' (or that account does not exist). ` +
    'Application access may have been revoked.';
  return new StripeFailure(403, { type: 'invalid_request_error', code: 'account_invalid', message }, { saved: false });
}

/** Throws Stripe's error if the account cannot take payments, for example because its onboarding is not finished. */
export function requireCharges(account: Account): void {
  if (account.chargesEnabled) return;
  throw badRequest(
    'Your account cannot currently make live charges. If you are a customer trying to make a purchase, please contact ' +
      'the owner of this site. Your transaction has not been processed.',
    { code: 'testmode_charges_only' },
  );
}

const INACTIVE = { card_payments: 'inactive', transfers: 'inactive' } satisfies Stripe.Account.Capabilities;

function requirements(due: string[], disabledReason: string | null): Stripe.Account.Requirements {
  return {
    alternatives: [],
    current_deadline: null,
    currently_due: due,
    disabled_reason: disabledReason as Stripe.Account.Requirements['disabled_reason'],
    errors: [],
    eventually_due: due,
    past_due: due,
    pending_verification: [],
  };
}

type AccountDraft = { id: string; created: number; email?: string; metadata?: Record<string, string> };

/** A Standard account whose owner has not started onboarding. */
function draftAccount({ id, created, email, metadata }: AccountDraft): Stripe.Account {
  return {
    id,
    object: 'account',
    business_profile: {
      annual_revenue: null,
      estimated_worker_count: null,
      mcc: null,
      minority_owned_business_designation: null,
      name: null,
      specified_commercial_transactions_act_url: null,
      support_address: null,
      support_email: null,
      support_phone: null,
      support_url: null,
      url: null,
    },
    business_type: null,
    capabilities: INACTIVE,
    charges_enabled: false,
    controller: {
      fees: { payer: 'account' },
      is_controller: true,
      losses: { payments: 'stripe' },
      requirement_collection: 'stripe',
      stripe_dashboard: { type: 'full' },
      type: 'application',
    },
    country: 'US',
    created,
    default_currency: 'usd',
    details_submitted: false,
    email: email ?? null,
    metadata: metadata ?? {},
    payouts_enabled: false,
    requirements: requirements(DUE, 'requirements.past_due'),
    type: 'standard',
  };
}

/** What an account looks like once its owner has finished onboarding. */
const READY = {
  capabilities: { card_payments: 'active', transfers: 'active' },
  charges_enabled: true,
  details_submitted: true,
  payouts_enabled: true,
  requirements: requirements([], null),
} satisfies Partial<Stripe.Account>;

type AccountChange = Partial<Pick<Stripe.Account, 'charges_enabled' | 'details_submitted' | 'payouts_enabled'>>;

/** Changes a connected account and sends `account.updated`, as Stripe does. Does nothing if all of it is so already. */
function applyChange(account: Account, connected: ConnectedAccount, change: Partial<Stripe.Account>): void {
  const before = connected.shown as unknown as Record<string, unknown>;
  const changed = Object.keys(change).filter(
    (name) => JSON.stringify(before[name]) !== JSON.stringify((change as Record<string, unknown>)[name]),
  );
  if (changed.length === 0) return;
  const previous = Object.fromEntries(changed.map((name) => [name, before[name]]));
  const shown = { ...connected.shown, ...change };
  account.accounts.platform.store.put('account', { ...connected, shown });
  account.emit('account.updated', shown, previous);
}

/** Finds a connected account for the endpoints under `/_emulator/`, which reach it without access too. */
function loadConnected(accounts: Accounts, id: string): { account: Account; connected: ConnectedAccount } {
  const [account, connected] = [accounts.find(id), accounts.connected(id)];
  if (account !== undefined && connected !== undefined) return { account, connected };
  throw new StripeFailure(404, { type: 'invalid_request_error', message: `No such account: '${id}'` });
}

/** The account that a request under `/_emulator/` names. Default: the platform's own. */
export function namedAccount(accounts: Accounts, id: string | undefined): Account {
  return id === undefined ? accounts.platform : loadConnected(accounts, id).account;
}

/** Finishes the onboarding of an account: it can take payments from now on. */
export function finishOnboarding(accounts: Accounts, id: string): void {
  const { account, connected } = loadConnected(accounts, id);
  applyChange(account, connected, READY);
}

/** Enables or disables charges or payouts, as Stripe does after a review. */
export function changeAccount(accounts: Accounts, id: string, change: AccountChange): Stripe.Account {
  const { account, connected } = loadConnected(accounts, id);
  const { charges_enabled } = change;
  const reviewed = charges_enabled
    ? { capabilities: READY.capabilities, requirements: READY.requirements }
    : { capabilities: INACTIVE, requirements: requirements([], 'under_review') };
  applyChange(account, connected, { ...change, ...(charges_enabled === undefined ? {} : reviewed) });
  return loadConnected(accounts, id).connected.shown;
}

/** Adds an account that has finished onboarding, unless it is connected already. Sends no event. */
export function addReadyAccount(accounts: Accounts, id: string, metadata: Record<string, string> = {}): Stripe.Account {
  const known = accounts.connected(id);
  if (known !== undefined) return known.shown;
  const shown = { ...draftAccount({ id, created: accounts.seconds(), metadata }), ...READY };
  accounts.add({ id, access: true, shown });
  return shown;
}

/** Gives or takes the platform's access, as the account's owner does in Stripe's dashboard. */
export function setAccess(accounts: Accounts, id: string, access: boolean): { id: string; access: boolean } {
  const { account, connected } = loadConnected(accounts, id);
  if (connected.access === access) return { id, access };
  const application = { id: APPLICATION_ID, object: 'application', name: 'FusionCommerce' };
  const change = () => accounts.platform.store.put('account', { ...connected, access });
  // The platform receives both events: the last one with access, or the first.
  if (access) change();
  account.emit(`account.application.${access ? 'authorized' : 'deauthorized'}`, application);
  if (!access) change();
  return { id, access };
}

function showPlatform(account: Account): Stripe.Account {
  const { controller: _, ...shown } = draftAccount({ id: PLATFORM_ID, created: account.seconds() });
  return { ...shown, ...READY, controller: { type: 'account' } };
}

/** Shows the account that the request names. Only the platform sees other accounts than its own. */
function showAccount({ account, id, maskedKey }: Call): Stripe.Account {
  if (account.connectedId !== null && account.connectedId !== id) throw accountInvalid(id, maskedKey);
  if (id === PLATFORM_ID) return showPlatform(account);
  const connected = account.accounts.connected(id);
  if (connected?.access !== true) throw accountInvalid(id, maskedKey);
  return connected.shown;
}

/** Throws if the request is not for a Standard account, or not one that Stripe's defaults describe. */
function checkController(params: Params): void {
  const type = params.choice('type', ['standard', 'express', 'custom']);
  const controller = params.child('controller');
  if (controller === undefined) {
    if (type === 'express' || type === 'custom') {
      throw badRequest(`The emulator does not support accounts of the type ${type}.`, { param: 'type' });
    }
    return;
  }
  if (type !== undefined) {
    throw badRequest('You may only specify one of these parameters: type, controller.', { param: 'controller' });
  }
  controller.allowOnly(['fees', 'losses', 'requirement_collection', 'stripe_dashboard']);
  const fees = controller.child('fees')?.choice('payer', ['account', 'application']);
  const losses = controller.child('losses')?.choice('payments', ['application', 'stripe']);
  const collection = controller.choice('requirement_collection', ['application', 'stripe']);
  const page = controller.child('stripe_dashboard')?.choice('type', ['express', 'full', 'none']);
  // Anything else than Stripe's defaults is another kind of account than Standard.
  const other = [fees === 'application', losses === 'application', collection === 'application'].includes(true);
  if (other || page === 'express' || page === 'none') {
    throw badRequest('The emulator supports controllers with the properties of a Standard account only.', {
      param: 'controller',
    });
  }
}

function setProfile(params: Params, shown: Stripe.Account): void {
  const profile = params.child('business_profile');
  profile?.allowOnly(PROFILE);
  for (const field of PROFILE) {
    const value = profile?.text(field);
    if (value !== undefined && shown.business_profile) shown.business_profile[field] = value || null;
  }
  const email = params.text('email');
  if (email !== undefined) shown.email = email || null;
  shown.metadata = params.metadata(shown.metadata);
}

function createAccount({ account, params }: Call): Stripe.Account {
  params.allowOnly(CREATE);
  const id = `acct_1${randomCharacters(15)}`;
  const shown = draftAccount({ id, created: account.seconds() });
  checkController(params);
  const type = params.choice('business_type', ['company', 'government_entity', 'individual', 'non_profit']);
  shown.business_type = type ?? null;
  shown.country = params.optional('country') ?? shown.country ?? 'US';
  shown.default_currency = params.optional('default_currency') ?? shown.default_currency ?? 'usd';
  setProfile(params, shown);
  account.accounts.add({ id, access: true, shown });
  return shown;
}

function updateAccount(call: Call): Stripe.Account {
  const { account, params, id } = call;
  params.allowOnly(['business_profile', 'email', 'metadata']);
  const shown = structuredClone(showAccount(call));
  const connected = account.accounts.connected(id);
  const owner = account.accounts.find(id);
  if (connected === undefined || owner === undefined) {
    throw badRequest('To update your own account, use the Dashboard.');
  }
  setProfile(params, shown);
  applyChange(owner, connected, shown);
  return shown;
}

export const accountRoutes: Route[] = [
  { method: 'POST', path: '/v1/accounts', platformOnly: true, handle: createAccount },
  {
    method: 'GET',
    path: '/v1/account',
    handle: (call) => showAccount({ ...call, id: call.account.connectedId ?? PLATFORM_ID }),
  },
  { method: 'GET', path: '/v1/accounts/:id', handle: showAccount },
  { method: 'POST', path: '/v1/accounts/:id', platformOnly: true, handle: updateAccount },
  {
    method: 'GET',
    path: '/v1/accounts',
    platformOnly: true,
    handle: ({ account, params }) => {
      const visible = account.store.all('account').filter(({ access }) => access);
      const listed = visible.map(({ shown }) => ({ ...shown, created: shown.created ?? 0 }));
      return listPage(params, '/v1/accounts', 'account', listed);
    },
  },
];
