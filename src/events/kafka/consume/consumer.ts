import { authorization, type RestSettings } from '../http.ts';
import { KafkaUnavailable } from '../publish/publisher.ts';

/** A record as Kafka has it. Texts are UTF-8; bytes that are none are replaced, and are then no JSON. */
export type Consumed = {
  topic: string;
  partition: number;
  offset: number;
  key: string | null;
  value: string | null;
  headers: Record<string, string>;
};

/**
 * One member of a consumer group, over some broker's HTTP interface. It gives each record to one member at a time, in
 * order for each partition. What was not committed comes again, to whichever member is next.
 */
export interface KafkaConsumer {
  /** Waits at most so long (milliseconds) for records. @throws KafkaUnavailable */
  poll(waitMs: number): Promise<Consumed[]>;
  /** Commits all that `poll` has returned. @throws KafkaUnavailable */
  commit(): Promise<void>;
  /** Leaves the group; what cannot be told to it, its session's end does. Never throws. */
  close(): Promise<void>;
}

export type ConsumerSettings = RestSettings & { group: string; topics: string[] };

type Request = { method: string; path: string; headers?: Record<string, string>; body?: unknown; waitMs?: number };

/** What a broker's HTTP interface has for an answer beyond the time that it was told to wait, in milliseconds. */
const deadlineMs = 8_000;

/**
 * Asks a broker's HTTP interface once; its answer's JSON, or null without any.
 * @throws KafkaUnavailable for every answer but a good one
 */
export async function ask(settings: RestSettings, request: Request): Promise<unknown> {
  const { method, path, headers = {}, body, waitMs = 0 } = request;
  try {
    const response = await fetch(settings.url.replace(/\/+$/, '') + path, {
      method,
      headers: { ...authorization(settings), ...headers },
      redirect: 'manual',
      signal: AbortSignal.timeout(waitMs + (settings.deadlineMs ?? deadlineMs)),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new KafkaUnavailable(`${response.status}: ${text.slice(0, 200)}`);
    return text === '' ? null : JSON.parse(text);
  } catch (error) {
    if (error instanceof KafkaUnavailable) throw error;
    throw new KafkaUnavailable(
      `${method} ${path.split('/')[1] ?? ''}: ${error instanceof Error ? error.name : 'no answer'}`,
    );
  }
}
