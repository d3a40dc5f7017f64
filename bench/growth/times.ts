/** Milliseconds a call; `calls` of them were measured. */
export type Times = { p50: number; p95: number; calls: number };
/** Of at least one sample. */
export function timesOf(samples: number[]): Times {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN;
  return { p50: at(0.5), p95: at(0.95), calls: sorted.length };
}
