/** The number of products in each shop. The last product is the one that buyers compete for. */
export const products = 1000;

/** A shop under test, with the operations that the benchmark needs. */
export type System = {
  name: string;
  version: string;
  /** The name of its database, for the statement counts. */
  database: string;
  /** Buys one unit of a product (number 1 to `products`) and pays. Resolves once the shop has confirmed the order. */
  checkout: (product: number) => Promise<void>;
  /** The number of HTTP requests to its servers so far, with Stripe's webhooks. */
  requests: () => number;
  /** CPU time of its server processes since their start, without PostgreSQL, in ms. */
  cpu: () => Promise<number>;
  /** CPU time by part, also of the parts that run on this machine only for the benchmark. */
  parts?: () => Promise<Record<string, number>>;
  /** The total time that buyers have waited for each step so far, in ms. */
  waits?: () => Record<string, number>;
  /** Resolves when all background work of the finished checkouts is done. */
  settle: () => Promise<void>;
  /** Sets the stock of the last product. */
  stock: (units: number) => Promise<void>;
  /** The number of paid orders of the last product. */
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
  /** Seconds of background work after the last checkout. */
  settleSeconds: number;
  requests: number;
  statements: number;
  transactionStatements: number;
  serverCpuMs: number;
  postgresCpuMs: number;
  databaseBytes: number;
  /** CPU time by part, in ms per checkout. */
  parts: Record<string, number>;
  /** The mean time that a checkout waited for each step, in ms. */
  waits: Record<string, number>;
  /** The statements with the longest total time. Calls and ms are per checkout. */
  slowest: Statement[];
  failures: Record<string, number>;
};

export type Race = {
  buyers: number;
  units: number;
  sold: number;
  seconds: number;
  /** The number of buyers by outcome: `sold`, or the error of the shop. */
  outcomes: Record<string, number>;
};

export type Measured = { name: string; version: string; rounds: Round[]; race?: Race };
