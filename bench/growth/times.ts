/** Milliseconds per call, over `calls` measured calls. */
export type Times = { p50: number; p95: number; calls: number };
/** Needs at least one sample. */
export function timesOf(samples: number[]): Times {
  const sorted = [...samples].sort((a, b) => a - b);
  const quantile = (share: number): number =>
    sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN;
  return { p50: quantile(0.5), p95: quantile(0.95), calls: sorted.length };
}
