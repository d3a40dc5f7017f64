import { type Journal, textOf } from './journal.ts';
import type { ChaosPlatform } from './platform.ts';
import { type Random, seededRandom } from './random.ts';
import type { PlannedFault } from './schedule.ts';

type Intent = { id: string; status: string; amount: number; amount_received: number };
type Recent = {
  payment_intents: Intent[];
  refunds: { id: string; status: string; balance_transaction: unknown }[];
  disputes: Dispute[];
};
type Dispute = { payment_intent: string; status: string };
type DashboardAction = { action: string; body: Record<string, unknown>; subject: string };

const unpaid = ['requires_payment_method', 'requires_confirmation', 'requires_action'];
const dayS = 86_400;

/** Picks an action of this kind on an object that allows it now. Undefined if there is none. */
function pickAction(kind: string, recent: Recent, random: Random): DashboardAction | undefined {
  const { payment_intents: intents, refunds, disputes } = recent;
  const pick = <T>(list: T[]): T | undefined => (list.length === 0 ? undefined : random.pick(list));
  const onIntent = (
    action: string,
    statuses: string[],
    parametersFor: (intent: Intent) => object = () => ({}),
  ): DashboardAction | undefined => {
    const intent = pick(intents.filter(({ status }) => statuses.includes(status)));
    return intent && { action, subject: intent.id, body: { payment_intent: intent.id, ...parametersFor(intent) } };
  };
  const partOrAll = (whole: number) => (random.chance(0.5) ? {} : { amount: random.int(1, Math.max(whole - 1, 1)) });
  switch (kind) {
    case 'dashboard: hold captured':
      return onIntent('capture', ['requires_capture'], ({ amount }) => partOrAll(amount));
    case 'dashboard: payment refunded':
      return onIntent('refund', ['succeeded'], ({ amount_received: paid }) => ({
        ...partOrAll(paid),
        ...(random.chance(0.4) ? { failsAfterSeconds: random.pick([1, 2 * dayS]) } : {}),
      }));
    case 'dashboard: intent cancelled':
      return onIntent('cancel', random.chance(0.5) ? ['requires_capture'] : [...unpaid, 'processing']);
    case 'dashboard: amount or currency changed':
      return onIntent('change', unpaid, ({ amount }) =>
        random.chance(0.6) ? { amount: random.pick([50, amount + 100]) } : { currency: 'eur' },
      );
    case 'dashboard: refund returned by the bank': {
      const refund = pick(refunds.filter((row) => row.status === 'succeeded' && row.balance_transaction !== null));
      return refund && { action: 'fail_refund', subject: refund.id, body: { refund: refund.id } };
    }
    default: {
      const open = pick(disputes.filter(({ status }) => status.endsWith('needs_response')));
      if (open === undefined || random.chance(0.6)) {
        return onIntent('dispute', ['succeeded'], () => ({ inquiry: random.chance(0.3) }));
      }
      const body = { payment_intent: open.payment_intent, status: random.pick(['won', 'lost']) };
      return { action: 'close_dispute', subject: open.payment_intent, body };
    }
  }
}

/** Acts in Stripe's dashboard as a merchant could without our API, a few times. */
export async function actInDashboard(platform: ChaosPlatform, journal: Journal, fault: PlannedFault): Promise<void> {
  const random = seededRandom(fault.n, 'dashboard', fault.at);
  for (let times = Math.ceil(fault.size / 10); times > 0; times--) {
    const chosen = pickAction(fault.kind, (await platform.emulator('GET', 'recent')) as Recent, random);
    if (chosen === undefined) {
      journal.count('faults that could not be injected', `${fault.kind}: nothing to act on`);
      continue;
    }
    const { action, body, subject } = chosen;
    await platform.emulator('POST', `dashboard/${action}`, body);
    const details = ['amount', 'currency', 'status'].map((name) => String(Reflect.get(body, name) ?? '')).join(' ');
    journal.addIncident('dashboard', `${action} ${subject} ${details}`.trim(), {
      subject: textOf(body, 'payment_intent') || subject,
    });
    journal.count('faults', fault.kind);
  }
}
