import { authorization, type RestSettings } from '../http.ts';
import { KafkaUnavailable } from '../publish/publisher.ts';

/**
 * A record as Kafka stores it. Texts are decoded as UTF-8; invalid bytes are replaced, so the text is then not JSON.
 */
export type ConsumedRecord = {
  topic: string;
  partition: number;
  offset: number;
  key: string | null;
  value: string | null;
  headers: Record<string, string>;
};

/**
 * A member of a consumer group, over a broker's HTTP interface. Each record goes to one member at a time, in order
 * within its partition. Records that were not committed are delivered again, to any member.
 */
export interface KafkaConsumer {
  /** Waits at most `waitMs` milliseconds for records. @throws KafkaUnavailable */
  poll(waitMs: number): Promise<ConsumedRecord[]>;
  /** Commits everything that `poll` has returned. @throws KafkaUnavailable */
  commit(): Promise<void>;
  /** Leaves the group. If that fails, the member leaves when its session expires. Never throws. */
  close(): Promise<void>;
}

export type ConsumerSettings = RestSettings & { group: string; topics: string[] };

type Request = { method: string; path: string; headers?: Record<string, string>; body?: unknown; waitMs?: number };

/** How long a response may take beyond the requested wait, in milliseconds. */
const deadlineMs = 8_000;

/**
 * Sends one request to a broker's HTTP interface. Returns the response's JSON, or null if it is empty.
 * @throws KafkaUnavailable for any response that is not a success
 */
export async function callBroker(settings: RestSettings, request: Request): Promise<unknown> {
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
      `${method} ${path.split('/')[1] ?? ''}: ${error instanceof Error ? error.name : 'no response'}`,
    );
  }
}
