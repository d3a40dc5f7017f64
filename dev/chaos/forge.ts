import { signWebhook } from '../stripe/webhooks.ts';
import type { Shop } from './shop.ts';
import { createStory } from './shop.ts';

type PendingPayment = { payment_id: string; intent: string; amount: string };

/** A webhook that claims that a payment succeeded, as someone would send to get goods without paying. */
function forgeEvent({ payment_id: paymentId, intent, amount }: PendingPayment, n: number): string {
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

/** Sends forged webhooks for pending payments. The API must reject each of them without any effect. */
export async function forgeWebhooks(shop: Shop, n: number, size: number): Promise<void> {
  const payments = await shop.platform.query<PendingPayment>(
    `select payment_id, stripe_payment_intent_id as intent, amount::text from payments.payments
     where status = 'pending' and stripe_payment_intent_id is not null order by payment_id desc limit $1`,
    [Math.ceil(size / 5)],
  );
  const story = createStory(shop, `forger-${n}`, 'default');
  await Promise.all(
    payments.map(async (payment) => {
      const raw = forgeEvent(payment, n);
      const now = Math.floor(Date.now() / 1000);
      const signatures = {
        unsigned: '',
        'signed with another secret': signWebhook(raw, ['whsec_guessed'], now),
        'signed for another body': signWebhook(`${raw} `, ['whsec_dev'], now),
        'signed an hour ago': signWebhook(raw, ['whsec_dev'], now - 3_600),
      };
      const signature = story.random.pick(Object.keys(signatures) as (keyof typeof signatures)[]);
      shop.journal.addIncident('webhook', `forged for payment ${payment.payment_id}, ${signature}`, {
        subject: payment.payment_id,
      });
      shop.journal.count('faults', 'webhooks: forged');
      const headers = signatures[signature] === '' ? {} : { 'stripe-signature': signatures[signature] };
      await story.request('webhooks.forged', 'POST', '/webhooks/stripe', { raw, headers });
    }),
  );
}
