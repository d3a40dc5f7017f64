/**
 * An abort signal for a long command. The first Ctrl-C prints `notice` and aborts. A second Ctrl-C, at least one second
 * later, exits at once.
 */
export function stopSignal(notice: string): AbortSignal {
  const stop = new AbortController();
  let first = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!stop.signal.aborted) {
        first = Date.now();
        console.error(`\n${notice}`);
        stop.abort();
      } else if (Date.now() - first > 1_000) process.exit(130); // npm forwards the first Ctrl-C again
    });
  }
  return stop.signal;
}
