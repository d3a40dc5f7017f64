import { Agent, type IncomingHttpHeaders, request } from 'node:http';

export type HttpAnswer = { status: number; headers: IncomingHttpHeaders; text: string };

/** Why a checkout went no further: which step, and what the shop answered. It is an answer, not a fault of the run. */
export class Refused extends Error {
  constructor(step: string, reason: string) {
    super(`${step}: ${reason}`);
    this.name = 'Refused';
  }
}

const longestMs = 300_000;

/** One connection a client, kept open: of all that Node has this costs the load generator least. Counts what it sends. */
export class HttpClient {
  requests = 0;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1024 });
  readonly #origin: URL;

  constructor(origin: string) {
    this.#origin = new URL(origin);
  }

  send(method: string, path: string, headers: Record<string, string>, body?: string | Buffer): Promise<HttpAnswer> {
    this.requests += 1;
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          host: this.#origin.hostname,
          port: this.#origin.port,
          agent: this.#agent,
          timeout: longestMs,
          method,
          path,
          headers: { ...headers, ...length },
        },
        (incoming) => {
          const chunks: Buffer[] = [];
          incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
          incoming.on('error', reject);
          incoming.on('end', () =>
            resolve({
              status: incoming.statusCode ?? 0,
              headers: incoming.headers,
              text: Buffer.concat(chunks).toString(),
            }),
          );
        },
      );
      outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer in ${longestMs / 1000} s`)));
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
