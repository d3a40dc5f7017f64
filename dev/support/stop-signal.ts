/**
 * A signal for a long command: the first Ctrl-C aborts it and says so by `notice`; another one, a second later or more,
 * does not wait for it.
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
      } else if (Date.now() - first > 1_000) process.exit(130); // npm passes a Ctrl-C on that we had already
    });
  }
  return stop.signal;
}
