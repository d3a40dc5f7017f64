/** CPU time in ms, by part. */
export type CpuOf = { worker: number; bridge: number; postgres: number };

/** One case in one round. Latencies in ms. CPU and calls are totals over all `begun` requests. */
export type Sample = {
  requests: number;
  begun: number;
  seconds: number;
  p50: number;
  p95: number;
  p99: number;
  /** Responses with an unexpected status, and requests without a response. */
  failed: number;
  cpu: CpuOf;
  /** HTTP calls to the database. */
  calls: number;
};

/** A case over all rounds: medians, and the lowest and highest rate. */
export type Figures = {
  rounds: number;
  requests: number;
  rate: number;
  lowest: number;
  highest: number;
  p50: number;
  p95: number;
  p99: number;
  failed: number;
  /** CPU time per request, in ms. */
  cpu: CpuOf;
  /** HTTP calls to the database per request, with those of the relay. */
  calls: number;
};

/** The middle number, or the mean of the two middle numbers. NaN for an empty list. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return Number.NaN;
  if (sorted.length % 2 === 1) return sorted[Math.floor(middle)] ?? Number.NaN;
  return ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** The smallest number that at least `percent` of the numbers do not exceed (nearest rank). NaN for an empty list. */
export function percentile(sorted: readonly number[] | Float64Array, percent: number): number {
  return sorted[Math.max(Math.ceil((percent / 100) * sorted.length) - 1, 0)] ?? Number.NaN;
}

/** Summarises the samples of one case, one per round. */
export function summarise(samples: readonly Sample[]): Figures {
  const medianOf = (pick: (sample: Sample) => number): number => median(samples.map(pick));
  const rates = samples.map(({ requests, seconds }) => requests / seconds);
  return {
    rounds: samples.length,
    requests: samples.reduce((sum, { requests }) => sum + requests, 0),
    rate: median(rates),
    lowest: Math.min(...rates),
    highest: Math.max(...rates),
    p50: medianOf(({ p50 }) => p50),
    p95: medianOf(({ p95 }) => p95),
    p99: medianOf(({ p99 }) => p99),
    failed: samples.reduce((sum, { failed }) => sum + failed, 0),
    cpu: {
      worker: medianOf(({ cpu, begun }) => cpu.worker / begun),
      bridge: medianOf(({ cpu, begun }) => cpu.bridge / begun),
      postgres: medianOf(({ cpu, begun }) => cpu.postgres / begun),
    },
    calls: medianOf(({ calls, begun }) => calls / begun),
  };
}
