import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import pg from 'pg';
import { type ExchangeError, exchange, type Statement } from './exchange.ts';
import { BadRequest, type NeonRequest, readRequest } from './request.ts';

/** A fault of one call, for tests. */
export type Fault =
  /** The connection closes before the call reaches PostgreSQL. */
  | { kind: 'lose-request' }
  /** PostgreSQL runs the call, and the connection closes without a response. */
  | { kind: 'lose-response' }
  /** PostgreSQL runs the call, and half of the response arrives. */
  | { kind: 'cut-response' }
  /** PostgreSQL runs the call, and the response waits for a promise. */
  | { kind: 'hold-response'; until: Promise<unknown> }
  /** A response with this status, as from a failing proxy. The call does not reach PostgreSQL. */
  | { kind: 'status'; status: number };

/** One HTTP call, as `fault` receives it. `number` counts from 1. */
export type NeonCall = { number: number; connectionString: string; batch: boolean; statements: readonly Statement[] };

export type NeonBridgeOptions = {
  /** 0 uses any free port. */
  port: number;
  /** Maximum number of connections per connection string. Default: 20. */
  poolSize?: number;
  /** Chooses a fault before each call. A promise delays the call until it resolves. */
  fault?: (call: NeonCall) => Fault | undefined | Promise<Fault | undefined>;
};

export type NeonBridge = {
  url: string;
  port: number;
  /** The number of HTTP calls and of their statements since the start. */
  readonly calls: number;
  readonly statements: number;
  /** Closes all connections and accepts none until `accept`, like a network failure. */
  refuse: () => Promise<void>;
  accept: () => Promise<void>;
  close: () => Promise<void>;
};

/** Neon's limit for a request and for a response, in bytes. */
const sizeLimit = 64 * 1024 * 1024;

/**
 * Serves Neon's SQL over HTTP for the PostgreSQL that `Neon-Connection-String` names. A batch is one transaction.
 * Errors are like Neon's: 400 with PostgreSQL's fields (without `code` if the connection was lost and the outcome is
 * unknown), 500 if it cannot connect.
 */
export async function startNeonBridge(options: NeonBridgeOptions): Promise<NeonBridge> {
  const pools = new Map<string, pg.Pool>();
  let calls = 0;
  let statements = 0;

  const server = createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    if (request.method !== 'POST' || request.url !== '/sql') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('This is a bridge to PostgreSQL. Use POST /sql\n');
      return;
    }
    calls++;
    readBody(request, response, (body) => {
      let call: NeonRequest;
      try {
        call = readRequest(request.headers, body);
      } catch (error) {
        if (!(error instanceof BadRequest)) throw error;
        sendJson(response, 400, { message: error.message });
        return;
      }
      statements += call.statements.length;
      if (options.fault === undefined) runCall(call, response);
      else void runCallWithFault(call, response, options.fault, calls);
    });
  });

  const runCall = (call: NeonRequest, response: ServerResponse, send = sendJson): void => {
    let pool = pools.get(call.connectionString);
    if (pool === undefined) {
      // As long as in Neon's proxy (sql_over_http_idle_timeout): a new connection has to plan every statement again.
      const idleTimeoutMillis = 300_000;
      pool = new pg.Pool({ connectionString: call.connectionString, max: options.poolSize ?? 20, idleTimeoutMillis });
      // A restart of PostgreSQL closes idle connections, which the pool drops. On busy ones, the statement fails.
      pool.on('error', () => undefined);
      pool.on('connect', (client) => client.on('error', () => undefined));
      pools.set(call.connectionString, pool);
    }
    pool.connect((failure, client, release) => {
      if (failure !== undefined || client === undefined) {
        const { status, body } = describeConnectFailure(failure ?? new Error('no connection'));
        send(response, status, body);
        return;
      }
      if (response.destroyed) {
        release(); // the client disconnected and no statement has run
        return;
      }
      let cancelPending = false;
      const onClose = (): void => {
        if (response.writableEnded) return;
        cancelPending = true; // the cancellation may arrive after the statement has ended
        cancel(client);
      };
      response.once('close', onClose);
      exchange(
        client,
        call.statements,
        call.begin,
        sizeLimit,
        (error, results, bytes) => {
          response.off('close', onClose);
          if (error !== null) send(response, 400, describeError(error));
          else if (bytes > sizeLimit) send(response, 507, tooLarge('response'));
          else send(response, 200, call.begin === null ? results[0] : { results });
        },
        (discard) => release(discard || cancelPending),
      );
    });
  };

  const runCallWithFault = async (
    call: NeonRequest,
    response: ServerResponse,
    chooseFault: NonNullable<NeonBridgeOptions['fault']>,
    number: number,
  ): Promise<void> => {
    const { connectionString, begin } = call;
    const fault = await chooseFault({ number, connectionString, batch: begin !== null, statements: call.statements });
    if (fault?.kind === 'lose-request') response.destroy();
    else if (fault?.kind === 'status') response.writeHead(fault.status).end('injected fault\n');
    else runCall(call, response, fault === undefined ? sendJson : (...reply) => void sendWithFault(fault, ...reply));
  };

  const listen = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject);
        resolve();
      });
    });
  const refuse = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });

  await listen(options.port);
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/sql`,
    port,
    get calls() {
      return calls;
    },
    get statements() {
      return statements;
    },
    refuse,
    accept: () => listen(port),
    close: async () => {
      await refuse();
      await Promise.all([...pools.values()].map((pool) => pool.end()));
    },
  };
}

function readBody(request: IncomingMessage, response: ServerResponse, done: (body: string) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= sizeLimit) chunks.push(chunk);
  });
  request.on('end', () => {
    if (size > sizeLimit) sendJson(response, 413, tooLarge('request'));
    else done((chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)).toString());
  });
  request.on('error', () => undefined); // the client disconnected
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

async function sendWithFault(fault: Fault, response: ServerResponse, status: number, body: unknown): Promise<void> {
  if (fault.kind === 'hold-response') {
    await fault.until;
    sendJson(response, status, body);
  } else if (fault.kind === 'cut-response') {
    const bytes = Buffer.from(JSON.stringify(body));
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length });
    response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
  } else {
    response.destroy();
  }
}

const errorFields = [
  ...[
    'code',
    'detail',
    'hint',
    'position',
    'internalPosition',
    'internalQuery',
    'severity',
    'where',
    'table',
    'column',
  ],
  ...['schema', 'dataType', 'constraint', 'file', 'line', 'routine'],
] as const;

function describeError(error: ExchangeError): Record<string, unknown> {
  const from = error as unknown as Record<string, unknown>;
  // The code of a socket error (ECONNRESET) is not a PostgreSQL code.
  const fields = error.severity === undefined ? [] : errorFields;
  return { message: error.message, ...Object.fromEntries(fields.map((name) => [name, from[name] ?? null])) };
}

function describeConnectFailure(error: ExchangeError): { status: number; body: Record<string, unknown> } {
  // The caller's errors: class 28 is a wrong user or password, 3D an unknown database.
  const isCallerError = error.severity !== undefined && /^(28|3D)/.test(error.code ?? '');
  return { status: isCallerError ? 400 : 500, body: describeError(error) };
}

function tooLarge(name: string): { message: string } {
  return { message: `${name} is too large (max is ${sizeLimit} bytes)` };
}

/** Asks PostgreSQL to cancel the running statement, because the client disconnected. Neon does the same. */
function cancel(client: pg.PoolClient): void {
  const { host, port, processID, secretKey } = client as unknown as Record<string, string & number>;
  const message = Buffer.alloc(16);
  [16, 80_877_102, Number(processID), Number(secretKey)].forEach((part, i) => {
    message.writeInt32BE(part, i * 4);
  });
  const socket = connect(Number(port), String(host), () => socket.end(message));
  socket.on('error', () => undefined);
}
