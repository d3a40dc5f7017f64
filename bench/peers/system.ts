/** How many products each shop has; the last one is the one of the race. */
export const products = 1000;

/** A shop under test: whoever drives it knows how its checkout goes. */
export type System = {
  name: string;
  version: string;
  /** Its database, for the statement counts. */
  database: string;
  /** Buys one unit of the product of this number (1 to `products`), pays, and resolves once the shop has confirmed it. */
  checkout: (product: number) => Promise<void>;
  /** HTTP requests that its servers have been sent for checkouts so far, Stripe's webhooks among them. */
  requests: () => number;
  /** CPU of its server processes, PostgreSQL apart, in ms since their start. */
  cpu: () => Promise<number>;
  /** The same by part, and of what is on this machine but somebody else's in production. */
  parts?: () => Promise<Record<string, number>>;
  /** How long buyers have waited for each step so far, all together, in ms. */
  waits?: () => Record<string, number>;
  /** Resolves when nothing is left to do for the checkouts that were answered. */
  settle: () => Promise<void>;
  /** Sets the stock of the last product. */
  stock: (units: number) => Promise<void>;
  /** Orders of the last product that are paid. */
  sold: () => Promise<number>;
  stop: () => Promise<void>;
};

export type Statement = { query: string; calls: number; ms: number };

export type Round = {
  checkouts: number;
  seconds: number;
  perSecond: number;
  p50Ms: number;
  p95Ms: number;
  /** How long the shop worked on after the last answer, in s. */
  settleSeconds: number;
  requests: number;
  statements: number;
  transactionStatements: number;
  serverCpuMs: number;
  postgresCpuMs: number;
  databaseBytes: number;
  /** CPU by part in ms a checkout. */
  parts: Record<string, number>;
  /** What the mean checkout waited for, step by step, in ms. */
  waits: Record<string, number>;
  /** What took PostgreSQL longest: calls and ms a checkout. */
  slowest: Statement[];
  failures: Record<string, number>;
};

export type Race = {
  buyers: number;
  units: number;
  sold: number;
  seconds: number;
  /** What the buyers were told, and how many of them. */
  answers: Record<string, number>;
};

export type Measured = { name: string; version: string; rounds: Round[]; race?: Race };
