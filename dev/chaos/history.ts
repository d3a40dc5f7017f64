import type { Books } from './books.ts';
import type { Finding } from './finding.ts';
import { type Asked, answerOf, type Incident, textOf } from './journal.ts';

type Moment = { at: number; text: string };

const mostMoments = 80;

/** What belongs to these ids: an order's payments and place, a payment's order, a place's campaign stays out of it. */
function relatedTo(books: Books, about: readonly string[]): Set<string> {
  const ids = new Set(about);
  for (let size = -1; size !== ids.size; ) {
    size = ids.size;
    for (const { id, order, intent } of books.payments) {
      if (!ids.has(id) && !ids.has(order) && !(intent !== null && ids.has(intent))) continue;
      for (const other of [id, order, intent]) if (other !== null) ids.add(other);
    }
    for (const { id, reference } of books.orders) {
      if (reference !== null && (ids.has(id) || ids.has(reference))) ids.add(id).add(reference);
    }
    for (const { id, payment, reason } of books.refunds) {
      if (ids.has(id) || (reason !== null && ids.has(reason))) ids.add(payment);
    }
  }
  return ids;
}

const mentions = (asked: Asked, ids: Set<string>): boolean => {
  if (asked.key !== null && ids.has(asked.key)) return true;
  if (asked.path.split('/').some((part) => ids.has(part))) return true;
  const texts = [asked.body, ...asked.answers.map(({ body }) => body)];
  return texts.some((text) =>
    ['id', 'orderId', 'userId', 'purchaseOrderNumber'].some((name) => ids.has(textOf(text, name))),
  );
};

const short = (value: unknown): string => {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
};

function requestsOf(asked: Asked): Moment[] {
  const answer = answerOf(asked);
  return asked.tries.map(({ at, took, heard, code }, index) => {
    const what = index === 0 ? ` ${asked.body === null ? '' : short(asked.body)}` : ' again';
    const said = heard === answer?.status ? ` ${short(answer.body)}` : '';
    return {
      at,
      text: `client ${asked.story}: ${asked.method} ${asked.path}${what} → ${heard}${code ? ` ${code}` : ''} after ${took} ms${said}`,
    };
  });
}

/** The shortest history that explains a finding: requests and answers about it, its events, the faults around them. */
export function historyOf(finding: Finding, books: Books, incidents: readonly Incident[]): string[] {
  const ids = relatedTo(books, finding.about);
  const asked = books.asked.filter((one) => mentions(one, ids));
  const events = books.events.filter(({ key, id }) => ids.has(key) || ids.has(id));
  const spans = [
    ...asked.flatMap(({ tries }) => tries.map(({ at, took }) => [at, at + took] as const)),
    ...events.map(({ time }) => [time.getTime() - 500, time.getTime() + 2_000] as const),
  ];
  const near = ({ at, until, subject }: Incident) =>
    subject === undefined ? spans.some(([from, to]) => at <= to && until >= from) : ids.has(subject);
  const moments: Moment[] = [
    ...asked.flatMap(requestsOf),
    ...events.map(({ time, seq, topic, payload }) => ({
      at: time.getTime(),
      text: `event ${seq}: ${topic} ${short(payload)}`,
    })),
    ...incidents.filter(near).map(({ at, kind, what }) => ({ at, text: `${kind}: ${what}` })),
  ].sort((a, b) => a.at - b.at);
  const lines = moments.map(({ at, text }) => `${new Date(at).toISOString().slice(11, 23)}  ${text}`);
  if (lines.length <= mostMoments) return lines;
  return [
    ...lines.slice(0, mostMoments / 2),
    `… ${lines.length - mostMoments} more …`,
    ...lines.slice(-mostMoments / 2),
  ];
}
