/** What became of one attempt of a request: an answer, or why the client heard none. */
export type Try = {
  at: number;
  took: number;
  heard: number | 'cut' | 'timeout' | 'hung up';
  code?: string;
};

// A test and an audit read any shape of answer; `Shape` says what they expect where they read it.
export type Heard = { status: number; body: unknown; replayed: boolean };

/** One request of a client, with all its attempts: they share the Idempotency-Key, and so have one effect. */
export type Asked = {
  n: number;
  story: string;
  tenant: string;
  /** The operation's name, for counts and for the audit: `orders.place`. */
  operation: string;
  method: string;
  path: string;
  key: string | null;
  body: unknown;
  tries: Try[];
  /** Every answer that was heard and that counts, in the order in which they were heard: they must be one. */
  answers: Heard[];
  /** The client has gone away without having heard anything. */
  abandoned: boolean;
};

/** What else happened, for histories: a fault, a buyer at Stripe, a webhook of ours. */
export type Incident = { at: number; until: number; kind: string; what: string; subject?: string };

/** Everything that clients have said and heard, and everything that was done to the platform. */
export class Journal {
  readonly asked: Asked[] = [];
  readonly incidents: Incident[] = [];
  readonly #counts = new Map<string, Map<string, number>>();

  open(about: Omit<Asked, 'n' | 'tries' | 'answers' | 'abandoned'>): Asked {
    const asked: Asked = { n: this.asked.length + 1, ...about, tries: [], answers: [], abandoned: false };
    this.asked.push(asked);
    return asked;
  }

  /** Counts something by its group and name. */
  count(group: string, name: string, by = 1): void {
    const names = this.#counts.get(group) ?? new Map<string, number>();
    names.set(name, (names.get(name) ?? 0) + by);
    this.#counts.set(group, names);
  }

  note(kind: string, what: string, more: { forMs?: number; subject?: string } = {}): Incident {
    const at = Date.now();
    const { forMs = 0, ...subject } = more;
    const incident: Incident = { at, until: at + forMs, kind, what, ...subject };
    this.incidents.push(incident);
    return incident;
  }

  /** The counts of a group, the most frequent first. */
  counts(group: string): [string, number][] {
    return [...(this.#counts.get(group) ?? [])].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  }

  total(group: string): number {
    return this.counts(group).reduce((sum, [, count]) => sum + count, 0);
  }
}

/** What a request was answered: what was done, where one of its attempts was told so. */
export const answerOf = ({ answers }: Asked): Heard | undefined =>
  answers.find(({ status }) => status < 300) ?? answers[0];

/** A member of a JSON object, or undefined. */
export const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;

export const textOf = (value: unknown, name: string): string => {
  const found = member(value, name);
  return typeof found === 'string' ? found : '';
};
