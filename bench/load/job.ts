/** The same request again and again, which is refused with this status; `newKeys`: with another invented key each time. */
export type Refused = {
  kind: 'refused';
  method: 'GET' | 'POST';
  path: string;
  headers: Record<string, string>;
  body?: string;
  status: number;
  newKeys?: boolean;
};

/** What the load generator sends. It travels to another process, so it is data and no function. */
export type Recipe =
  /** The same request again and again. */
  | { kind: 'same'; method: 'GET' | 'POST'; path: string }
  | Refused
  /** One path after the other, from the beginning again after the last. */
  | { kind: 'paths'; paths: string[] }
  /** Orders of so many lines over the SKUs, each line another one. */
  | { kind: 'order'; skus: string[]; lines: number; async: boolean }
  /** Each by a user who has not joined before. */
  | { kind: 'join'; campaigns: string[] }
  /** `payment_intent.succeeded`, once for each payment, signed as Stripe does it. */
  | { kind: 'webhook'; payments: { paymentId: string; intentId: string }[]; amount: number; secret: string }
  /** An order, its payment, and the webhook that confirms it: three requests, one after the other. */
  | { kind: 'checkout'; skus: string[]; secret: string };

export type LoadJob = {
  url: string;
  clients: number;
  /** How long, or how many requests. */
  for: { seconds: number } | { amount: number };
  headers: Record<string, string>;
  recipe: Recipe;
  /** Of the random choices; another one for each run, since it is also in the Idempotency-Keys. */
  seed: number;
};

/** `requests`: those that were answered as they should be, by 2xx or the status of a refusal (of `checkout`: whole ones). Latencies in ms. */
export type Loaded = {
  requests: number;
  /** Those that were on their way when time was up as well: their work was done too. */
  begun: number;
  refused: number;
  seconds: number;
  p50: number;
  p95: number;
  p99: number;
  /** How many answers of each status there were, and one that was refused. */
  statuses: Record<string, number>;
  refusal: string | undefined;
};
