import type { Books } from './books.ts';
import type { Finding } from './finding.ts';
import { type ClientRequest, finalResponse, type Incident, textOf } from './journal.ts';

type Moment = { at: number; text: string };

const maxMoments = 80;

/**
 * Adds the ids of related rows: an order's payments, refunds and reference. Campaigns are left out, because
 * too many rows relate to them.
 */
function findRelatedIds(books: Books, subjects: readonly string[]): Set<string> {
  const ids = new Set(subjects);
  for (let size = -1; size !== ids.size; ) {
    size = ids.size;
    for (const { id, order, intent } of books.payments) {
      if (!ids.has(id) && !ids.has(order) && !(intent !== null && ids.has(intent))) continue;
      for (const related of [id, order, intent]) if (related !== null) ids.add(related);
    }
    for (const { order, cart } of books.amounts) if (cart !== null && ids.has(cart)) ids.add(order);
    for (const { id, reference } of books.orders) {
      if (reference !== null && (ids.has(id) || ids.has(reference))) ids.add(id).add(reference);
    }
    for (const { id, payment, reason } of books.refunds) {
      if (ids.has(id) || (reason !== null && ids.has(reason))) ids.add(payment);
    }
  }
  return ids;
}

const mentions = (request: ClientRequest, ids: Set<string>): boolean => {
  if (request.key !== null && ids.has(request.key)) return true;
  if (request.path.split('/').some((part) => ids.has(part))) return true;
  const bodies = [request.body, ...request.responses.map(({ body }) => body)];
  return bodies.some((body) =>
    ['id', 'orderId', 'userId', 'purchaseOrderNumber'].some((name) => ids.has(textOf(body, name))),
  );
};

const shorten = (value: unknown): string => {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
};

function attemptMoments(request: ClientRequest): Moment[] {
  const response = finalResponse(request);
  return request.attempts.map(({ at, tookMs, outcome, code }, index) => {
    const sent = index === 0 ? ` ${request.body === null ? '' : shorten(request.body)}` : ' (retry)';
    const received = outcome === response?.status ? ` ${shorten(response.body)}` : '';
    const result = `${outcome}${code ? ` ${code}` : ''} after ${tookMs} ms${received}`;
    return { at, text: `client ${request.story}: ${request.method} ${request.path}${sent} → ${result}` };
  });
}

/**
 * The history that explains a finding: the requests and events of its subjects, and the faults around them, in order.
 */
export function formatHistory(finding: Finding, books: Books, incidents: readonly Incident[]): string[] {
  const ids = findRelatedIds(books, finding.subjects);
  const requests = books.requests.filter((request) => mentions(request, ids));
  const events = books.events.filter(({ key, id }) => ids.has(key) || ids.has(id));
  const spans = [
    ...requests.flatMap(({ attempts }) => attempts.map(({ at, tookMs }) => [at, at + tookMs] as const)),
    ...events.map(({ time }) => [time.getTime() - 500, time.getTime() + 2_000] as const),
  ];
  const isRelated = ({ at, until, subject }: Incident) =>
    subject === undefined ? spans.some(([from, to]) => at <= to && until >= from) : ids.has(subject);
  const moments: Moment[] = [
    ...requests.flatMap(attemptMoments),
    ...events.map(({ time, seq, topic, payload }) => ({
      at: time.getTime(),
      text: `event ${seq}: ${topic} ${shorten(payload)}`,
    })),
    ...incidents.filter(isRelated).map(({ at, kind, description }) => ({ at, text: `${kind}: ${description}` })),
  ].sort((a, b) => a.at - b.at);
  const lines = moments.map(({ at, text }) => `${new Date(at).toISOString().slice(11, 23)}  ${text}`);
  if (lines.length <= maxMoments) return lines;
  return [...lines.slice(0, maxMoments / 2), `… ${lines.length - maxMoments} more …`, ...lines.slice(-maxMoments / 2)];
}
