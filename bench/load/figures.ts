/** CPU in milliseconds by part. */
export type CpuOf = { worker: number; bridge: number; postgres: number };

/** One case in one round. Latencies in ms; CPU and calls are those of all `begun` requests together. */
export type Sample = {
  requests: number;
  begun: number;
  seconds: number;
  p50: number;
  p95: number;
  p99: number;
  /** Answers that were not 2xx, and requests without an answer. */
  refused: number;
  cpu: CpuOf;
  /** HTTP calls to the database. */
  calls: number;
};

/** A case over all rounds: medians; the spread is from the lowest to the highest rate. */
export type Figures = {
  rounds: number;
  requests: number;
  rate: number;
  lowest: number;
  highest: number;
  p50: number;
  p95: number;
  p99: number;
  refused: number;
  /** Milliseconds of CPU a request. */
  cpu: CpuOf;
  /** HTTP calls to the database a request, those of the relay included. */
  calls: number;
};

/** The middle one, or the mean of the two in the middle. NaN of none. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return Number.NaN;
  if (sorted.length % 2 === 1) return sorted[Math.floor(middle)] ?? Number.NaN;
  return ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** The smallest number that so many percent are not above (nearest rank). NaN of none. */
export function percentile(sorted: readonly number[] | Float64Array, percent: number): number {
  return sorted[Math.max(Math.ceil((percent / 100) * sorted.length) - 1, 0)] ?? Number.NaN;
}

/** Of the samples of one case, one a round. */
export function summarise(samples: readonly Sample[]): Figures {
  const of = (pick: (sample: Sample) => number): number => median(samples.map(pick));
  const rates = samples.map(({ requests, seconds }) => requests / seconds);
  return {
    rounds: samples.length,
    requests: samples.reduce((sum, { requests }) => sum + requests, 0),
    rate: median(rates),
    lowest: Math.min(...rates),
    highest: Math.max(...rates),
    p50: of(({ p50 }) => p50),
    p95: of(({ p95 }) => p95),
    p99: of(({ p99 }) => p99),
    refused: samples.reduce((sum, { refused }) => sum + refused, 0),
    cpu: {
      worker: of(({ cpu, begun }) => cpu.worker / begun),
      bridge: of(({ cpu, begun }) => cpu.bridge / begun),
      postgres: of(({ cpu, begun }) => cpu.postgres / begun),
    },
    calls: of(({ calls, begun }) => calls / begun),
  };
}
