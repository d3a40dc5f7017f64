import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';
import { emit, inSeconds, relayConnection, seqsOf } from '../support/outbox.ts';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
beforeEach(async () => {
  await database.query('delete from platform.outbox');
  await database.query(`update platform.sinks set failures = 0, paused_until = '-infinity'`);
});
afterAll(() => database.drop());

const later = async (seq: number | undefined) => {
  const [row] = await database.query<{ seconds: number; attempts: number; lease: string | null; last_error: string }>(
    `select extract(epoch from due_at - now())::float as seconds, attempts, lease, last_error
     from platform.outbox where sink = 'kafka' and seq = $1`,
    [seq],
  );
  return row;
};

describe('a lease', () => {
  test('keeps every other relay from its rows, and from the later rows of their keys', async () => {
    const mine = await emit(database, 'a', { count: 2 });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    expect(seqsOf(await a.turn())).toEqual(mine);
    await emit(database, 'a');
    const other = await emit(database, 'b');
    expect(seqsOf(await b.turn())).toEqual(other);
    expect(seqsOf(await b.turn({ delivered: other }))).toEqual([]);
  });

  test('that is being taken at this moment gives two relays different rows, and never a later one of the same key', async () => {
    const first = await emit(database, 'a', { count: 3 });
    const second = await emit(database, 'b', { count: 3 });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    await a.query('begin');
    expect(seqsOf(await a.turn({ limit: 2 }))).toEqual(first.slice(0, 2));
    // A has not committed: B must neither wait for it nor take what follows in A's key.
    expect(seqsOf(await b.turn())).toEqual(second);
    await a.query('commit');
    expect(seqsOf(await b.turn({ delivered: second }))).toEqual([]);
    expect(seqsOf(await a.turn({ delivered: first.slice(0, 2) }))).toEqual(first.slice(2));
  });

  test('that runs out leaves its rows to whoever comes', async () => {
    const seqs = await emit(database, 'a', { count: 2 });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    await a.turn({ seconds: 60 });
    expect(await b.turn({ now: inSeconds(58) })).toEqual([]);
    expect(seqsOf(await b.turn({ now: inSeconds(62) }))).toEqual(seqs);
  });

  test('that ran out gives the dead relay’s late failures no say, and its late deliveries their effect', async () => {
    const [seq = 0] = await emit(database, 'a');
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    await a.turn();
    await b.turn({ now: inSeconds(62) });
    await a.turn({ limit: 0, failed: [{ seq, error: 'late', dead: true }], returned: [seq] });
    expect(await later(seq)).toMatchObject({ lease: 'B', attempts: 0, last_error: null });
    await a.turn({ limit: 0, delivered: [seq] });
    expect(await later(seq)).toBeUndefined();
  });

  test('whose answer was lost is the same relay’s again at once', async () => {
    const seqs = await emit(database, 'a', { count: 3 });
    const a = await relayConnection(database, 'A');
    await a.turn();
    expect(seqsOf(await a.turn({ lost: true }))).toEqual(seqs);
    expect(seqsOf(await a.turn({ delivered: seqs }))).toEqual([]);
  });

  test('ends for what was not tried: it is free at once', async () => {
    const seqs = await emit(database, 'a', { count: 3 });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    await a.turn();
    await a.turn({ limit: 0, delivered: seqs.slice(0, 1), returned: seqs.slice(1) });
    expect(seqsOf(await b.turn())).toEqual(seqs.slice(1));
  });

  test('takes no more payload than a Worker can hold, and at least one row', async () => {
    const payload = { orderId: 'big', text: 'x'.repeat(400_000) };
    const seqs = await emit(database, 'big', { count: 5, payload });
    const a = await relayConnection(database, 'A');
    expect(seqsOf(await a.turn({ bytes: 1_000_000 }))).toEqual(seqs.slice(0, 3));
    expect(seqsOf(await a.turn({ bytes: 1_000, delivered: seqs.slice(0, 3) }))).toEqual(seqs.slice(3, 4));
  });
});

describe('a row that is refused for now', () => {
  test('waits longer each time, up to a minute, and its key waits with it', async () => {
    const [seq = 0, next = 0] = await emit(database, 'a', { count: 2 });
    const a = await relayConnection(database, 'A');
    const waits: number[] = [];
    for (let attempt = 0; attempt < 9; attempt++) {
      const now = inSeconds(attempt * 100);
      expect(seqsOf(await a.turn({ now }))).toEqual([seq, next]);
      await a.turn({ now, limit: 0, failed: [{ seq, error: `refused ${attempt}`, dead: false }] });
      const row = await later(seq);
      waits.push(Math.round((row?.seconds ?? 0) - attempt * 100));
      expect(row).toMatchObject({ attempts: attempt + 1, lease: null, last_error: `refused ${attempt}` });
      expect((await later(next))?.seconds).toBeCloseTo(row?.seconds ?? 0, 1);
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
    expect(await later(next)).toMatchObject({ attempts: 0 });
  });

  test('stops no other key, however many rows wait behind it', async () => {
    const [head = 0] = await emit(database, 'waits');
    const a = await relayConnection(database, 'A');
    await a.turn();
    await a.turn({ limit: 0, failed: [{ seq: head, error: 'refused', dead: false }] });
    await emit(database, 'waits', { count: 120 });
    const other = await emit(database, 'goes on', { count: 2 });
    // In windows of ten rows, the first twelve hold nothing that may go.
    expect(seqsOf(await a.turn({ limit: 10 }))).toEqual(other);
    const [row] = await database.query<{ n: number }>(
      `select count(*)::int as n from platform.outbox where key = 'waits' and due_at > now()`,
    );
    expect(row?.n).toBe(121);
    expect(await a.turn({ limit: 10, delivered: other })).toEqual([]);
    expect(await a.turn({ limit: 500, now: inSeconds(2) })).toHaveLength(121);
  });
});

describe('a sink that is away', () => {
  const paused = async () => {
    const [row] = await database.query<{ seconds: number; failures: number }>(
      `select extract(epoch from paused_until - now())::float as seconds, failures from platform.sinks where sink = 'kafka'`,
    );
    return row;
  };

  test('is left alone for longer each time, up to a minute, is tried again, and is forgiven once it takes something', async () => {
    const [seq = 0] = await emit(database, 'a');
    const a = await relayConnection(database, 'A');
    const waits: number[] = [];
    for (let attempt = 0; attempt < 8; attempt++) {
      const now = inSeconds(attempt * 100);
      expect(seqsOf(await a.turn({ now }))).toEqual([seq]);
      expect(await a.turn({ now, returned: [seq], paused: 'away' })).toEqual([]);
      waits.push(Math.round(((await paused())?.seconds ?? 0) - attempt * 100));
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
    expect(seqsOf(await a.turn({ now: inSeconds(900) }))).toEqual([seq]);
    await a.turn({ now: inSeconds(900), delivered: [seq] });
    expect((await paused())?.failures).toBe(0);
  });

  test('counts once when two relays find it away together, and holds up no other sink', async () => {
    const [seq = 0] = await emit(database, 'a', { queue: true });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    const queue = await relayConnection(database, 'Q', 'queue');
    await a.turn();
    await a.turn({ returned: [seq], paused: 'away' });
    await b.turn({ paused: 'away' });
    expect((await paused())?.failures).toBe(1);
    expect(seqsOf(await queue.turn())).toEqual([seq]);
    await queue.turn({ delivered: [seq] });
    expect((await paused())?.failures).toBe(1);
  });
});

describe('a long outbox', () => {
  const reads = async (turn: () => Promise<unknown[]>, query: (text: string) => Promise<{ rows: unknown[] }>) => {
    await query('begin');
    const events = await turn();
    const { rows } = await query(
      `select coalesce(sum(seq_tup_read), 0)::int as scanned, coalesce(sum(idx_tup_fetch), 0)::int as fetched
       from pg_stat_xact_all_tables where schemaname = 'platform' and relname = 'outbox'`,
    );
    await query('commit');
    return { events: events.length, ...(rows[0] as { scanned: number; fetched: number }) };
  };

  test('is never read from end to end: neither with everything due nor with everything leased or waiting', async () => {
    const count = 5_000;
    for (let key = 0; key < 5; key++) await emit(database, `key-${key}-${randomUUID()}`, { count: count / 5 });
    await database.query('analyze platform.outbox');
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    let events: { seq: number }[] = [];
    const lease = () =>
      a.turn({ limit: 100 }).then((leased) => {
        events = leased;
        return leased;
      });
    const due = await reads(lease, a.query);
    expect(due).toMatchObject({ events: 100, scanned: 0 });
    expect(due.fetched).toBeLessThan(1_000);
    const settle = await reads(() => a.turn({ limit: 100, delivered: seqsOf(events) }), a.query);
    expect(settle).toMatchObject({ events: 100, scanned: 0 });
    expect(settle.fetched).toBeLessThan(1_000);
    await database.query(`update platform.outbox set due_at = now() + interval '1 minute', lease = 'A'`);
    await database.query('vacuum analyze platform.outbox');
    const held = await reads(() => b.turn({ limit: 100 }), b.query);
    expect(held).toMatchObject({ events: 0, scanned: 0 });
    expect(held.fetched).toBeLessThan(100);
    const health = await reads(async () => (await b.query('select platform.health()')).rows, b.query);
    // Counted, once: the age of the oldest is found without.
    expect(health.scanned).toBeLessThanOrEqual(count - 100);
    expect(health.fetched).toBeLessThan(100);
  });
});
