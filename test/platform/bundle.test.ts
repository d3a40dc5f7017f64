import { expect, test } from 'vitest';
import { bundleStripe, classesUnder, membersIn } from '../../dev/bundle/stripe.ts';
import { bundleZod, namesUsedIn } from '../../dev/bundle/zod.ts';

test('a resource is used if its name follows a dot, on the same line or the next one', () => {
  expect(membersIn(['openStripe(settings)\n  .events.list({})', 'stripe.checkout.sessions.create()'])).toEqual(
    new Set(['events', 'list', 'checkout', 'sessions', 'create']),
  );
});

test('a resource in a group is kept if its group and its own name are used', () => {
  const texts = ['this.checkout = new resources.Checkout(this);', 'this.sessions = new SessionResource(stripe);'];
  expect(classesUnder(new Set(['checkout', 'sessions']), texts)).toEqual(new Set(['Checkout', 'SessionResource']));
});

test('the bundled client of Stripe has the methods of each resource that src/stripe uses, and not those of others', async () => {
  const bundle = await bundleStripe();
  for (const path of ['/v1/payment_intents', '/v1/setup_intents', '/v1/refunds', '/v1/events', '/v1/customers'])
    expect(bundle).toContain(`"${path}"`);
  expect(bundle).toContain('/v1/payment_methods/${encodeURIComponent');
  for (const path of ['/v1/issuing/cards', '/v1/subscriptions']) expect(bundle).not.toContain(`"${path}"`);
});

test('a name after `z.` is used, unless zod exports no value of that name', () => {
  expect(namesUsedIn(['z.object({ a: z.string() })', 'type A = z.infer<typeof a>; z.core.$ZodIssue'])).toEqual([
    'object',
    'string',
  ]);
});

test('the bundled zod has the code of schemas, and not that of JSON Schema', async () => {
  const bundle = await bundleZod();
  expect(bundle).toContain('invalid_type');
  expect(bundle).not.toContain('cannot be represented in JSON Schema');
});
