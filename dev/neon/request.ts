import type { IncomingHttpHeaders } from 'node:http';
import type { Statement } from './exchange.ts';

/** One parsed HTTP call. `begin` opens the transaction of a batch and is null for a single statement. */
export type NeonRequest = { connectionString: string; statements: Statement[]; begin: string | null };

export class BadRequest extends Error {}

const isolationLevels: Record<string, string> = {
  ReadUncommitted: 'READ UNCOMMITTED',
  ReadCommitted: 'READ COMMITTED',
  RepeatableRead: 'REPEATABLE READ',
  Serializable: 'SERIALIZABLE',
};

/**
 * Parses a call as Neon's proxy does (`sql_over_http.rs`). Supports only PostgreSQL's text format for values, which the
 * driver requests with `Neon-Raw-Text-Output`. Throws BadRequest.
 */
export function readRequest(headers: IncomingHttpHeaders, body: string): NeonRequest {
  const connectionString = headers['neon-connection-string'];
  if (typeof connectionString !== 'string') throw new BadRequest('missing header Neon-Connection-String');
  if (headers['neon-raw-text-output'] !== 'true')
    throw new BadRequest('Neon-Raw-Text-Output must be true: the bridge supports no other format');
  const arrayMode = headers['neon-array-mode'] === 'true';
  let payload: unknown;
  try {
    payload = JSON.parse(body);
  } catch {
    throw new BadRequest('the body is not JSON');
  }
  if (!isRecord(payload)) throw new BadRequest('the body is not an object');
  if (!Array.isArray(payload.queries)) {
    return { connectionString, statements: [readStatement(payload, arrayMode)], begin: null };
  }
  const statements = payload.queries.map((query: unknown) => readStatement(query, arrayMode));
  return { connectionString, statements, begin: readTransaction(headers) };
}

function readTransaction(headers: IncomingHttpHeaders): string {
  let begin = 'BEGIN';
  const level = headers['neon-batch-isolation-level'];
  if (level !== undefined) {
    const name = typeof level === 'string' ? isolationLevels[level] : undefined;
    if (name === undefined) throw new BadRequest('invalid isolation level');
    begin += ` ISOLATION LEVEL ${name}`;
  }
  if (headers['neon-batch-read-only'] === 'true') begin += ' READ ONLY';
  if (headers['neon-batch-deferrable'] === 'true') begin += ' DEFERRABLE';
  return begin;
}

function readStatement(value: unknown, arrayMode: boolean): Statement {
  if (!isRecord(value) || typeof value.query !== 'string') throw new BadRequest('a query is missing its text');
  const params = value.params ?? [];
  if (!Array.isArray(params)) throw new BadRequest('params is not an array');
  // PostgreSQL's protocol cannot express these and would misread them.
  if (params.length > 65_535) throw new BadRequest('a query has more than 65535 parameters');
  if (value.query.includes('\0')) throw new BadRequest('a query holds a zero byte');
  return {
    query: value.query,
    params: params.map(toText),
    arrayMode: typeof value.arrayMode === 'boolean' ? value.arrayMode : arrayMode,
  };
}

function toText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return toArrayText(value);
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function toArrayText(values: unknown[]): string {
  const elements = values.map((value) => {
    if (Array.isArray(value)) return toArrayText(value);
    const text = toText(value);
    if (text === null) return 'NULL';
    const plain = typeof value === 'number' || typeof value === 'boolean';
    return plain ? text : `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  });
  return `{${elements.join(',')}}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
