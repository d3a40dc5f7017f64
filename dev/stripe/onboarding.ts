import type Stripe from 'stripe';
import type { Accounts, Call, Route } from './account.ts';
import { finishOnboarding } from './connect.ts';
import { type OnboardingLink, randomCharacters } from './store.ts';
import { badRequest, invalid, missing, type Params } from './wire.ts';

// Account links: the page on which the owner of a connected account finishes its onboarding.

const LIFETIME_SECONDS = 300;

function readUrl(params: Params, name: string): string {
  const url = params.required(name);
  if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return url;
  throw invalid('Not a valid URL', name, 'url_invalid');
}

function createLink({ account, params }: Call): Stripe.AccountLink {
  params.allowOnly(['account', 'collect', 'collection_options', 'refresh_url', 'return_url', 'type']);
  const id = params.required('account');
  const type = params.required('type');
  if (type !== 'account_onboarding') {
    const message = `You cannot create \`${type}\` type Account Links for this account.`;
    throw type === 'account_update'
      ? badRequest(message, { param: 'type' })
      : invalid('Invalid type: must be one of account_onboarding, or account_update', 'type');
  }
  const [refreshUrl, returnUrl] = [readUrl(params, 'refresh_url'), readUrl(params, 'return_url')];
  if (account.accounts.connected(id)?.access !== true) {
    const message = 'You requested an account link for an account that is not connected to your platform or does not';
    throw badRequest(`${message} exist.`, { param: 'account' });
  }
  const created = account.seconds();
  const secret = randomCharacters(16);
  const expiresAt = created + LIFETIME_SECONDS;
  const link = { id: secret, account: id, expiresAt, refreshUrl, returnUrl, opened: false, used: false };
  account.store.put('link', link);
  const url = `${account.url}/_emulator/account_links/${secret}/onboard`;
  return { object: 'account_link', created, expires_at: expiresAt, url };
}

function loadLink(accounts: Accounts, id: string): OnboardingLink {
  const link = accounts.platform.store.get('link', id);
  if (link === undefined) throw missing('account link', id, 'id', 404);
  return link;
}

/** Whether the link can still be used. A page that was opened in time can be sent later. */
function isValid(accounts: Accounts, link: OnboardingLink): boolean {
  const inTime = link.opened || accounts.seconds() < link.expiresAt;
  return inTime && !link.used && accounts.connected(link.account)?.access === true;
}

/** Opens the page of a link. A link that has expired or was opened before redirects to its `refresh_url`. */
export function openLink(accounts: Accounts, id: string): { html: string } | { location: string } {
  const link = loadLink(accounts, id);
  if (link.opened || !isValid(accounts, link)) return { location: link.refreshUrl };
  accounts.platform.store.put('link', { ...link, opened: true });
  return {
    html: `<!doctype html><html lang="en"><title>Onboarding (emulated)</title>
<h1>Onboarding (emulated)</h1><p>This page belongs to the local Stripe emulator. It is not Stripe.</p>
<p>May account ${link.account} take payments?</p>
<form method="post"><button name="outcome" value="finish">Finish onboarding</button>
<button name="outcome" value="leave">Leave without finishing</button></form></html>`,
  };
}

/** Sends the form of the page. The browser returns to the platform, whether onboarding is finished or not. */
export function useLink(accounts: Accounts, id: string, outcome: 'finish' | 'leave'): { location: string } {
  const link = loadLink(accounts, id);
  if (!isValid(accounts, link)) return { location: link.refreshUrl };
  accounts.platform.store.put('link', { ...link, opened: true, used: true });
  if (outcome === 'finish') finishOnboarding(accounts, link.account);
  return { location: link.returnUrl };
}

export const linkRoutes: Route[] = [
  { method: 'POST', path: '/v1/account_links', platformOnly: true, handle: createLink },
];
