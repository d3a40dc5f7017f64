import type { Client, Connection, FieldDef, Submittable } from 'pg';

export type Statement = { query: string; params: (string | null)[]; arrayMode: boolean };

export type StatementResult = {
  command: string;
  rowCount: number | null;
  rowAsArray: boolean;
  fields: FieldDef[];
  rows: unknown[];
};

/** PostgreSQL's error for a failed statement. `code` is missing if the connection was lost. */
export type ExchangeError = Error & { code?: string; severity?: string };

/**
 * Sends all statements of one HTTP call to PostgreSQL in one write and reads all results. A batch includes BEGIN and
 * COMMIT, so a row lock is not held for a round trip. After an error PostgreSQL skips the rest, including COMMIT.
 */
class Exchange implements Submittable {
  readonly results: StatementResult[] = [];
  bytes = 0;
  private readonly statements: Statement[];
  private readonly begin: string | null;
  private readonly limit: number;
  private readonly done: (error: ExchangeError | null, exchange: Exchange) => void;
  private completed: number;
  private fields: FieldDef[] = [];
  private rows: unknown[] = [];

  constructor(
    statements: Statement[],
    begin: string | null,
    limit: number,
    done: (error: ExchangeError | null, exchange: Exchange) => void,
  ) {
    this.statements = statements;
    this.begin = begin;
    this.limit = limit;
    this.done = done;
    this.completed = begin === null ? 0 : -1;
  }

  submit(connection: Connection): null {
    const out = connection as unknown as WireConnection;
    out.stream.cork();
    if (this.begin !== null) execute(out, this.begin, [], false);
    for (const { query, params } of this.statements) execute(out, query, params, true);
    if (this.begin !== null) execute(out, 'COMMIT', [], false);
    out.sync();
    out.stream.uncork();
    return null;
  }

  handleRowDescription(message: { fields: FieldDef[] }): void {
    this.fields = message.fields;
  }

  handleDataRow(message: { fields: (string | null)[]; length: number }): void {
    this.bytes += message.length;
    if (this.bytes > this.limit) return; // the response will be an error, so do not keep the rows
    if (this.statements[this.completed]?.arrayMode === false) {
      this.rows.push(Object.fromEntries(this.fields.map((field, i) => [field.name, message.fields[i]])));
    } else {
      this.rows.push(message.fields);
    }
  }

  handleCommandComplete(message: { text: string }): void {
    this.complete(message.text);
  }

  handleEmptyQuery(): void {
    this.complete('');
  }

  handlePortalSuspended(): void {}

  handleCopyInResponse(connection: Connection): void {
    // No client can send the COPY data that the server now waits for, so close the connection.
    connection.stream.destroy();
  }

  handleCopyData(): void {}

  handleError(error: ExchangeError): void {
    this.done(error, this);
  }

  handleReadyForQuery(): void {
    this.done(null, this);
  }

  private complete(tag: string): void {
    const statement = this.statements[this.completed];
    if (statement !== undefined) {
      const [command = '', ...counts] = tag.split(' ');
      const count = Number(counts.at(-1));
      this.results.push({
        command,
        rowCount: counts.length > 0 && Number.isInteger(count) ? count : null,
        rowAsArray: statement.arrayMode,
        fields: this.fields,
        rows: this.rows,
      });
      this.fields = [];
      this.rows = [];
    }
    this.completed++;
  }
}

/** The protocol methods of pg's connection. The published types describe an older version. */
type WireConnection = {
  stream: { cork: () => void; uncork: () => void };
  parse: (message: { text: string }) => void;
  bind: (message: { values: (string | null)[] }) => void;
  describe: (message: { type: 'P' }) => void;
  execute: (message: object) => void;
  sync: () => void;
};

const unnamedPortal = {};

/** Always uses the unnamed statement, as Neon does. Nothing stays prepared, so measurements include the planning. */
function execute(out: WireConnection, text: string, values: (string | null)[], describe: boolean): void {
  out.parse({ text });
  out.bind({ values });
  if (describe) out.describe({ type: 'P' });
  out.execute(unnamedPortal);
}

/**
 * Runs statements on a connection that is not in a transaction: a single statement (`begin` is null), or a batch as one
 * transaction that `begin` opens and any error rolls back. Rows beyond `limit` bytes are counted and not kept. Calls
 * `respond` once, and `release` when the connection can be used again, with true if it must be discarded.
 */
export function exchange(
  client: Client,
  statements: Statement[],
  begin: string | null,
  limit: number,
  respond: (error: ExchangeError | null, results: StatementResult[], bytes: number) => void,
  release: (discard: boolean) => void,
): void {
  let responded = false;
  client.query(
    new Exchange(statements, begin, limit, (error, { results, bytes }) => {
      if (responded) return;
      responded = true;
      respond(error, results, bytes);
      if (error === null) {
        // A single "BEGIN", or a "COMMIT" in a batch, can leave an open transaction: discard the connection.
        release(client.getTransactionStatus() !== 'I');
      } else if (error.severity !== 'ERROR') {
        release(true);
      } else if (begin === null) {
        release(false);
      } else {
        // The error already released the locks. This ends the failed transaction.
        client.query('ROLLBACK').then(
          () => release(false),
          () => release(true),
        );
      }
    }),
  );
}
