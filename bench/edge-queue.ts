type Settings = { name: string; maxBatchSize: number; maxRetries: number; concurrency: number };
type Message = { id: string; timestamp: Date; body: unknown; attempts: number };
type Outcome = {
  outcome: string;
  retryBatch: { retry: boolean; delaySeconds?: number };
  retryMessages: { msgId: string; delaySeconds?: number }[];
};
type Variables = {
  SETTINGS: Settings;
  CONSUMER: { queue: (name: string, messages: Message[]) => Promise<Outcome> };
};
type Execution = { waitUntil: (work: Promise<unknown>) => void };
type Incoming = { body: string; contentType?: string; delaySecs?: number };

const waiting: Message[] = [];
/** Messages that are delayed, and until when. */
const later = new Map<Message, number>();
let running = 0;
let count = 0;

async function deliver({ SETTINGS, CONSUMER }: Variables): Promise<void> {
  running++;
  try {
    for (;;) {
      for (const [message, due] of later) {
        if (due > Date.now()) continue;
        later.delete(message);
        waiting.push(message);
      }
      const batch = waiting.splice(0, SETTINGS.maxBatchSize);
      if (batch.length === 0) return;
      const { outcome, retryBatch, retryMessages } = await CONSUMER.queue(SETTINGS.name, batch);
      const again = new Map(retryMessages.map(({ msgId, delaySeconds }) => [msgId, delaySeconds ?? 0]));
      const all = outcome !== 'ok' || retryBatch.retry;
      for (const message of batch) {
        if (!all && !again.has(message.id)) continue;
        if (message.attempts++ > SETTINGS.maxRetries) console.error(`${SETTINGS.name} dropped a message`);
        else later.set(message, Date.now() + (again.get(message.id) ?? 1) * 1000);
      }
    }
  } finally {
    running--;
  }
}

let waking = false;

/** Delivers delayed messages when their time comes. */
async function wake(variables: Variables): Promise<void> {
  if (waking) return;
  waking = true;
  try {
    while (later.size > 0) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const isDue = [...later.values()].some((due) => due <= Date.now());
      if (isDue && running < variables.SETTINGS.concurrency) await deliver(variables);
    }
  } finally {
    waking = false;
  }
}

/**
 * One of Cloudflare's queues for a benchmark: batches of what waits, at once and from memory, to as many consumers at a
 * time as are set. A delayed message is delivered within 100 ms after its time.
 */
const worker = {
  async fetch(request: Request, variables: Variables, execution: Execution): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname !== '/batch' && pathname !== '/message') return new Response(null, { status: 404 });
    const incoming: { body: unknown; delaySecs: number }[] =
      pathname === '/message'
        ? [{ body: await request.json(), delaySecs: 0 }]
        : ((await request.json()) as { messages: Incoming[] }).messages.map(({ body, delaySecs = 0 }) => ({
            body: JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0)))),
            delaySecs,
          }));
    const timestamp = new Date();
    for (const { body, delaySecs } of incoming) {
      const message = { id: `${variables.SETTINGS.name}-${count++}`, timestamp, body, attempts: 1 };
      if (delaySecs > 0) later.set(message, Date.now() + delaySecs * 1000);
      else waiting.push(message);
    }
    if (running < variables.SETTINGS.concurrency) execution.waitUntil(deliver(variables).then(() => wake(variables)));
    else if (later.size > 0) execution.waitUntil(wake(variables));
    const metrics = { backlogCount: waiting.length, backlogBytes: 0, oldestMessageTimestamp: 0 };
    return Response.json({ metadata: { metrics } });
  },
};

export { worker as default };
