import type { Progress } from '../support/progress.ts';

/** How a start reports to its caller. */
export type StartCallbacks = {
  progress: Progress;
  /** Called for each part as soon as it can be stopped, in the order in which they start. */
  onPartStarted: (part: string, stop: () => Promise<void>) => void;
  /** Called when a part has exited, also when it was stopped. */
  onPartExited: (part: string, reason: string) => void;
  /** Called for each line that `wrangler dev` prints. */
  onWorkerLine: (line: string) => void;
  /** Throws if the start was stopped. */
  throwIfStopped: () => void;
};
