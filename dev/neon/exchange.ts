import type { Client, Connection, FieldDef, Submittable } from 'pg';

export type Statement = { query: string; params: (string | null)[]; arrayMode: boolean };

export type StatementResult = {
  command: string;
  rowCount: number | null;
  rowAsArray: boolean;
  fields: FieldDef[];
  rows: unknown[];
};

/** What PostgreSQL says of a failed statement; `code` is missing when the connection was lost. */
export type ExchangeError = Error & { code?: string; severity?: string };

/**
 * All statements of one HTTP call in one write to PostgreSQL and one read of its answers: in a batch, BEGIN and COMMIT
 * travel along, so a row's lock is not held for a round trip. After a failure PostgreSQL skips the rest, COMMIT too.
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
    if (this.bytes > this.limit) return; // the answer will be an error: do not keep what it would have held
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
    // Nobody can send the data, and the messages behind it are lost on a server that waits for them.
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

/** The part of pg's connection that speaks PostgreSQL's protocol; its published types describe an older one. */
type WireConnection = {
  stream: { cork: () => void; uncork: () => void };
  parse: (message: { text: string }) => void;
  bind: (message: { values: (string | null)[] }) => void;
  describe: (message: { type: 'P' }) => void;
  execute: (message: object) => void;
  sync: () => void;
};

const unnamed = {};

/** The unnamed statement each time, as Neon does: nothing is prepared, and whoever measures here sees that cost. */
function execute(out: WireConnection, text: string, values: (string | null)[], describe: boolean): void {
  out.parse({ text });
  out.bind({ values });
  if (describe) out.describe({ type: 'P' });
  out.execute(unnamed);
}

/**
 * Runs statements on a connection that is in no transaction: one alone (`begin` null), or a batch as one transaction
 * that `begin` opens and that is rolled back by any error. Rows beyond `limit` bytes are counted but not kept.
 * `answer` is called once; `release` once the connection may be used again, with true if it must be thrown away.
 */
export function exchange(
  client: Client,
  statements: Statement[],
  begin: string | null,
  limit: number,
  answer: (error: ExchangeError | null, results: StatementResult[], bytes: number) => void,
  release: (discard: boolean) => void,
): void {
  let answered = false;
  client.query(
    new Exchange(statements, begin, limit, (error, { results, bytes }) => {
      if (answered) return;
      answered = true;
      answer(error, results, bytes);
      if (error === null) {
        // A lone "BEGIN", or a "COMMIT" within a batch, leaves a connection that no other call may get.
        release(client.getTransactionStatus() !== 'I');
      } else if (error.severity !== 'ERROR') {
        release(true);
      } else if (begin === null) {
        release(false);
      } else {
        // The locks went with the failure; this only closes the failed transaction.
        client.query('ROLLBACK').then(
          () => release(false),
          () => release(true),
        );
      }
    }),
  );
}
