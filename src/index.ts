import { app } from './app.ts';
import { consume } from './consumers/queue.ts';
import { runJobs } from './cron.ts';
import type { Bindings } from './env.ts';

export default { fetch: app.fetch, queue: consume, scheduled: runJobs } satisfies ExportedHandler<Bindings>;
