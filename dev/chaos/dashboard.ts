import { type Journal, textOf } from './journal.ts';
import type { ChaosPlatform } from './platform.ts';
import { type Draw, drawOf } from './random.ts';
import type { PlannedFault } from './schedule.ts';

type Intent = { id: string; status: string; amount: number; amount_received: number };
type Recent = { payment_intents: Intent[]; refunds: { id: string; status: string }[]; disputes: Dispute[] };
type Dispute = { payment_intent: string; status: string };
type Act = { action: string; body: Record<string, unknown>; subject: string };

const unpaid = ['requires_payment_method', 'requires_confirmation', 'requires_action'];
const dayS = 86_400;

/** One action of this kind, on something that it fits at the moment; undefined if there is nothing. */
function choose(kind: string, recent: Recent, draw: Draw): Act | undefined {
  const { payment_intents: intents, refunds, disputes } = recent;
  const pick = <T>(list: T[]): T | undefined => (list.length === 0 ? undefined : draw.pick(list));
  const onIntent = (action: string, fits: string[], more: (intent: Intent) => object = () => ({})): Act | undefined => {
    const intent = pick(intents.filter(({ status }) => fits.includes(status)));
    return intent && { action, subject: intent.id, body: { payment_intent: intent.id, ...more(intent) } };
  };
  const part = (whole: number) => (draw.chance(0.5) ? {} : { amount: draw.int(1, Math.max(whole - 1, 1)) });
  switch (kind) {
    case 'dashboard: hold captured':
      return onIntent('capture', ['requires_capture'], ({ amount }) => part(amount));
    case 'dashboard: payment refunded':
      return onIntent('refund', ['succeeded'], ({ amount_received: paid }) => ({
        ...part(paid),
        ...(draw.chance(0.4) ? { failsAfterSeconds: draw.pick([1, 2 * dayS]) } : {}),
      }));
    case 'dashboard: intent cancelled':
      return onIntent('cancel', draw.chance(0.5) ? ['requires_capture'] : [...unpaid, 'processing']);
    case 'dashboard: amount or currency changed':
      return onIntent('change', unpaid, ({ amount }) =>
        draw.chance(0.6) ? { amount: draw.pick([50, amount + 100]) } : { currency: 'eur' },
      );
    case 'dashboard: refund sent back by the bank': {
      const refund = pick(refunds.filter(({ status }) => status === 'succeeded'));
      return refund && { action: 'fail_refund', subject: refund.id, body: { refund: refund.id } };
    }
    default: {
      const open = pick(disputes.filter(({ status }) => status.endsWith('needs_response')));
      if (open === undefined || draw.chance(0.6)) {
        return onIntent('dispute', ['succeeded'], () => ({ inquiry: draw.chance(0.3) }));
      }
      const body = { payment_intent: open.payment_intent, status: draw.pick(['won', 'lost']) };
      return { action: 'close_dispute', subject: open.payment_intent, body };
    }
  }
}

/** What a merchant does in Stripe's dashboard without telling us, a few times. */
export async function actInDashboard(platform: ChaosPlatform, journal: Journal, fault: PlannedFault): Promise<void> {
  const draw = drawOf(fault.n, 'dashboard', fault.at);
  for (let times = Math.ceil(fault.size / 10); times > 0; times--) {
    const act = choose(fault.kind, (await platform.emulator('GET', 'recent')) as Recent, draw);
    if (act === undefined) {
      journal.count('faults that did not come off', `${fault.kind}: nothing to act on`);
      continue;
    }
    const { action, body, subject } = act;
    await platform.emulator('POST', `dashboard/${action}`, body);
    const more = ['amount', 'currency', 'status'].map((name) => String(Reflect.get(body, name) ?? '')).join(' ');
    journal.note('dashboard', `${action} ${subject} ${more}`.trim(), {
      subject: textOf(body, 'payment_intent') || subject,
    });
    journal.count('faults', fault.kind);
  }
}
