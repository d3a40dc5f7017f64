/** One attempt of a request. `outcome`: the HTTP status, or why the client got no response. */
export type Attempt = {
  at: number;
  tookMs: number;
  outcome: number | 'connection lost' | 'timeout' | 'cancelled by the client';
  code?: string;
};

/** A response that a client got. `body` is JSON of any shape; `member` and `textOf` read it. */
export type ClientResponse = { status: number; body: unknown; replayed: boolean };

/** One request of a client with all its attempts. They share the Idempotency-Key, so they must have one effect. */
export type ClientRequest = {
  n: number;
  story: string;
  tenant: string;
  /** The operation's name for counts and for the audit, such as `orders.place`. */
  operation: string;
  method: string;
  path: string;
  key: string | null;
  body: unknown;
  attempts: Attempt[];
  /** The final responses in the order in which the client got them. All must be the same. */
  responses: ClientResponse[];
  /** The client stopped retrying without a response. */
  abandoned: boolean;
};

/** Another event of a run, for histories: a fault, a buyer's action at Stripe, a forged webhook. */
export type Incident = { at: number; until: number; kind: string; description: string; subject?: string };

/** Records all requests of clients and everything that was done to the platform. */
export class Journal {
  readonly requests: ClientRequest[] = [];
  readonly incidents: Incident[] = [];
  readonly #counts = new Map<string, Map<string, number>>();

  addRequest(fields: Omit<ClientRequest, 'n' | 'attempts' | 'responses' | 'abandoned'>): ClientRequest {
    const request = { n: this.requests.length + 1, ...fields, attempts: [], responses: [], abandoned: false };
    this.requests.push(request);
    return request;
  }

  /** Adds to the counter of this group and name. */
  count(group: string, name: string, by = 1): void {
    const names = this.#counts.get(group) ?? new Map<string, number>();
    names.set(name, (names.get(name) ?? 0) + by);
    this.#counts.set(group, names);
  }

  addIncident(kind: string, description: string, options: { forMs?: number; subject?: string } = {}): Incident {
    const at = Date.now();
    const { forMs = 0, ...subject } = options;
    const incident: Incident = { at, until: at + forMs, kind, description, ...subject };
    this.incidents.push(incident);
    return incident;
  }

  /** The counters of a group, highest first. */
  counts(group: string): [string, number][] {
    return [...(this.#counts.get(group) ?? [])].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  }

  total(group: string): number {
    return this.counts(group).reduce((sum, [, count]) => sum + count, 0);
  }
}

/** The response that counts for a request: the first successful one, or else the first. */
export const finalResponse = ({ responses }: ClientRequest): ClientResponse | undefined =>
  responses.find(({ status }) => status < 300) ?? responses[0];

/** A property of a JSON object; undefined if there is none. */
export const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;

/** A string property of a JSON object; empty if there is none. */
export const textOf = (value: unknown, name: string): string => {
  const found = member(value, name);
  return typeof found === 'string' ? found : '';
};
