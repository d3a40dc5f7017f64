/** One request, repeated, which is rejected with `status`. `newKeys`: each time with another unknown API key. */
export type RejectedRequest = {
  kind: 'rejected';
  method: 'GET' | 'POST';
  path: string;
  headers: Record<string, string>;
  body?: string;
  status: number;
  newKeys?: boolean;
};

/** A cart that can be checked out, and its `Cart-Token`. */
export type OpenCart = { id: string; token: string };

/** The requests that the load generator sends. It is plain data because it is sent to another process. */
export type Recipe =
  /** One request, repeated. */
  | { kind: 'same'; method: 'GET' | 'POST'; path: string }
  | RejectedRequest
  /** GET requests for each path in turn, starting over after the last. */
  | { kind: 'paths'; paths: string[] }
  /** Orders with this number of lines, each line with a different SKU. */
  | { kind: 'order'; skus: string[]; lines: number; async: boolean; fields?: object }
  /** The checkout of each cart. */
  | { kind: 'carts'; carts: OpenCart[]; total: number }
  /** Reads of each cart in turn, starting over after the last. */
  | { kind: 'cart-reads'; carts: OpenCart[] }
  /** Joins, each by a new user. */
  | { kind: 'join'; campaigns: string[] }
  /** New teams, each opened by a new user. */
  | { kind: 'team-open'; campaign: string }
  /** Joins of each team in turn, each by a new user. None after `places` for each team. */
  | { kind: 'team-join'; teams: string[]; places: number }
  /** Each client opens a team of three and fills it, by its id and by its code. Every request is counted. */
  | { kind: 'team-fill'; campaign: string }
  /** `payment_intent.succeeded`, once for each payment, with Stripe's signature. */
  | { kind: 'webhook'; payments: { paymentId: string; intentId: string }[]; amount: number; secret: string }
  /** An order, its payment, and the webhook that confirms it: three requests in sequence. */
  | { kind: 'checkout'; skus: string[]; secret: string };

export type LoadJob = {
  url: string;
  clients: number;
  /** The duration, or the number of requests. */
  for: { seconds: number } | { amount: number };
  headers: Record<string, string>;
  recipe: Recipe;
  /** Seed of the random choices. It must differ in each run because it is also part of the Idempotency-Keys. */
  seed: number;
};

/** `requests`: requests with the expected status (for `checkout`: complete checkouts). Latencies in ms. */
export type Loaded = {
  requests: number;
  /** `requests` and the requests still in flight at the end, whose work was done too. */
  begun: number;
  /** Responses with an unexpected status, and requests without a response. */
  failed: number;
  seconds: number;
  p50: number;
  p95: number;
  p99: number;
  /** The number of responses by status. */
  statuses: Record<string, number>;
  /** Status and body of the first unexpected response. */
  firstFailure: string | undefined;
};
