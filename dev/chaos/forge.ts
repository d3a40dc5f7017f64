import { signWebhook } from '../stripe/webhooks.ts';
import type { Shop } from './shop.ts';
import { storyOf } from './shop.ts';

type Wanted = { payment_id: string; intent: string; amount: string };

/** What somebody would send who wants goods without paying: that a payment of ours has succeeded. */
function forgery({ payment_id: paymentId, intent, amount }: Wanted, n: number): string {
  const minor = Math.round(Number(amount) * 100);
  return JSON.stringify({
    id: `evt_forged_${n}_${paymentId}`,
    object: 'event',
    type: 'payment_intent.succeeded',
    created: Math.floor(Date.now() / 1000),
    data: {
      object: {
        id: intent,
        object: 'payment_intent',
        status: 'succeeded',
        amount: minor,
        amount_received: minor,
        currency: 'usd',
        metadata: { paymentId },
      },
    },
  });
}

/** Sends forged webhooks for payments that wait for their money: each must be refused, and must move nothing. */
export async function forgeWebhooks(shop: Shop, n: number, size: number): Promise<void> {
  const wanted = await shop.platform.query<Wanted>(
    `select payment_id, stripe_payment_intent_id as intent, amount::text from payments.payments
     where status = 'pending' and stripe_payment_intent_id is not null order by payment_id desc limit $1`,
    [Math.ceil(size / 5)],
  );
  const story = storyOf(shop, `forger-${n}`, 'default');
  await Promise.all(
    wanted.map(async (payment) => {
      const raw = forgery(payment, n);
      const now = Math.floor(Date.now() / 1000);
      const signatures = {
        unsigned: '',
        'of another secret': signWebhook(raw, ['whsec_guessed'], now),
        'of another body': signWebhook(`${raw} `, ['whsec_dev'], now),
        'of long ago': signWebhook(raw, ['whsec_dev'], now - 3_600),
      };
      const how = story.draw.pick(Object.keys(signatures) as (keyof typeof signatures)[]);
      shop.journal.note('webhook', `forged for payment ${payment.payment_id}, ${how}`, { subject: payment.payment_id });
      shop.journal.count('faults', 'webhooks: forged');
      const headers = signatures[how] === '' ? {} : { 'stripe-signature': signatures[how] };
      await story.ask('webhooks.forged', 'POST', '/webhooks/stripe', { raw, headers });
    }),
  );
}
