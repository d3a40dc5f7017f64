import { Agent, type IncomingHttpHeaders, request } from 'node:http';

export type HttpResponse = { status: number; headers: IncomingHttpHeaders; text: string };

/**
 * A checkout that a shop rejected: the step and the reason. It is counted as a result, not as an error of the
 * benchmark.
 */
export class CheckoutRejected extends Error {
  constructor(step: string, reason: string) {
    super(`${step}: ${reason}`);
    this.name = 'CheckoutRejected';
  }
}

const timeoutMs = 300_000;

/**
 * Sends requests over connections that stay open, and counts them. Of Node's HTTP clients this one uses the least CPU.
 */
export class HttpClient {
  requests = 0;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1024 });
  readonly #origin: URL;

  constructor(origin: string) {
    this.#origin = new URL(origin);
  }

  send(method: string, path: string, headers: Record<string, string>, body?: string | Buffer): Promise<HttpResponse> {
    this.requests += 1;
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          host: this.#origin.hostname,
          port: this.#origin.port,
          agent: this.#agent,
          timeout: timeoutMs,
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
      outgoing.on('timeout', () => outgoing.destroy(new Error(`no response in ${timeoutMs / 1000} s`)));
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
