import { RequestRejected } from '../http.ts';
import { type KafkaRecord, KafkaUnavailable, type Published } from './publisher.ts';

/**
 * What a server says of a record. `missing`: its topic is not there, which a bridge also says while it cannot know.
 * `away`: why the server is at fault, not the record.
 */
export type Answer = { ok: true } | { ok: false; permanent: boolean; reason: string; missing?: boolean; away?: string };

/** One server, as a dialect speaks to it. */
export type Server = {
  /** The size of a record in a request, in bytes. */
  sizeOf(record: KafkaRecord): number;
  /**
   * Sends records of one topic in one request. Answers in their order; `undefined` if it is not to be told which of
   * them were refused.
   * @throws KafkaUnavailable, RequestRejected
   */
  send(topic: string, records: KafkaRecord[]): Promise<Answer[] | undefined>;
  /** Every topic that is there. @throws KafkaUnavailable if that cannot be found out */
  listTopics(): Promise<Set<string>>;
};

/** A request has at most so much. Karapace takes bodies of 1 MiB and a little, the others more. */
const most = { records: 500, bytes: 1_000_000 };
/** A Worker has six connections at once. */
const maxAtOnce = 6;

function inParts(records: KafkaRecord[], sizeOf: Server['sizeOf']): KafkaRecord[][] {
  const parts: KafkaRecord[][] = [];
  const open = new Map<string, { part: KafkaRecord[]; bytes: number }>();
  for (const record of records) {
    const bytes = sizeOf(record);
    const last = open.get(record.topic);
    if (last && last.part.length < most.records && last.bytes + bytes <= most.bytes) {
      last.part.push(record);
      last.bytes += bytes;
      continue;
    }
    const part = [record];
    parts.push(part);
    open.set(record.topic, { part, bytes });
  }
  return parts;
}

const saying = ({ topic }: KafkaRecord, reason: string): string => `${topic}: ${reason}`.slice(0, 300);

/** What a failed request says of each of its records; `undefined` if they are to be sent apart. */
function answersTo(error: unknown, part: KafkaRecord[]): Answer[] | undefined {
  if (error instanceof KafkaUnavailable) {
    // A bridge that does not find a topic is silent for longer than we wait, and so is one with a gateway before it.
    const missing = /^(no answer|504)/.test(error.message);
    return part.map((record) => ({
      ok: false,
      permanent: false,
      reason: saying(record, error.message),
      away: error.message,
      missing,
    }));
  }
  if (!(error instanceof RequestRejected)) throw error;
  const missing = error.status === 404;
  if (part.length > 1 && !missing) return undefined;
  return part.map((record) => ({ ok: false, permanent: true, reason: saying(record, error.message), missing }));
}

/**
 * Publishes records of any topics to a server that takes one topic's in a request; what fails there holds up no other.
 * A request that was refused as a whole, or in part without saying which, is sent in halves until that is known: what
 * was accepted is then sent again, with the same `ce_id`. No request begins later than `deadlineMs` after the first
 * one. A record is refused for good only by a server that can list its topics: else something else, or half a Kafka, is
 * there.
 * @throws KafkaUnavailable if no record was accepted or refused for good, and the server was at fault
 */
export async function publishParts(server: Server, records: KafkaRecord[], deadlineMs: number): Promise<Published[]> {
  const until = Date.now() + deadlineMs;
  const answers = new Map<KafkaRecord, Answer>();
  let topics: Promise<Set<string>> | undefined;

  async function confirm(record: KafkaRecord, answer: Answer): Promise<Answer> {
    if (answer.ok || !(answer.permanent || answer.missing)) return answer;
    topics ??= server.listTopics();
    try {
      if (!(await topics).has(record.topic)) {
        return { ok: false, permanent: true, reason: saying(record, 'there is no such topic') };
      }
      return answer.missing ? { ...answer, permanent: false } : answer;
    } catch (error) {
      if (!(error instanceof KafkaUnavailable)) throw error;
      return { ok: false, permanent: false, reason: saying(record, error.message), away: error.message };
    }
  }

  async function sendPart(part: KafkaRecord[]): Promise<void> {
    const [first] = part;
    if (!first) return;
    let answered: Answer[] | undefined;
    try {
      if (Date.now() >= until) throw new KafkaUnavailable('no time was left for this record');
      answered = await server.send(first.topic, part);
    } catch (error) {
      answered = answersTo(error, part);
    }
    if (!answered && part.length > 1) {
      const middle = Math.ceil(part.length / 2);
      await sendPart(part.slice(0, middle));
      return sendPart(part.slice(middle));
    }
    for (const [index, record] of part.entries()) {
      const answer = answered?.[index] ?? { ok: false, permanent: false, reason: saying(record, 'no answer for it') };
      answers.set(record, await confirm(record, answer));
    }
  }

  const waiting = inParts(records, server.sizeOf);
  const work = async (): Promise<void> => {
    for (let part = waiting.shift(); part; part = waiting.shift()) await sendPart(part);
  };
  await Promise.all(Array.from({ length: Math.min(maxAtOnce, waiting.length) }, work));

  const all = records.map(
    (record): Answer =>
      answers.get(record) ?? { ok: false, permanent: false, reason: saying(record, 'it was not sent') },
  );
  const aways = all.flatMap((answer) => (answer.ok || answer.away === undefined ? [] : [answer.away]));
  const [away] = aways;
  if (away !== undefined && aways.length === all.length) throw new KafkaUnavailable(away);
  return all.map((answer) => (answer.ok ? answer : { ok: false, permanent: answer.permanent, reason: answer.reason }));
}
