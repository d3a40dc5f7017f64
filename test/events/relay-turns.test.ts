import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createDatabase, type Database } from '../support/harness.ts';
import { emit, inSeconds, relayConnection, seqsOf } from '../support/outbox.ts';
import { jobSecret } from '../support/secrets.ts';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
beforeEach(async () => {
  await database.query('delete from platform.outbox');
  await database.query(`update platform.sinks set failures = 0, paused_until = '-infinity'`);
});
afterAll(() => database.drop());

const outboxRow = async (seq: number | undefined) => {
  const [row] = await database.query<{ seconds: number; attempts: number; lease: string | null; last_error: string }>(
    `select extract(epoch from due_at - now())::float as seconds, attempts, lease, last_error
     from platform.outbox where sink = 'kafka' and seq = $1`,
    [seq],
  );
  return row;
};

describe('a lease', () => {
  test('keeps other relays from its rows, and from later rows of the same keys', async () => {
    const mine = await emit(database, 'a', { count: 2 });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    expect(seqsOf(await a.turn())).toEqual(mine);
    await emit(database, 'a');
    const other = await emit(database, 'b');
    expect(seqsOf(await b.turn())).toEqual(other);
    expect(seqsOf(await b.turn({ delivered: other }))).toEqual([]);
  });

  test('that is not committed yet gives a second relay other keys, and never a later row of a leased key', async () => {
    const first = await emit(database, 'a', { count: 3 });
    const second = await emit(database, 'b', { count: 3 });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    await a.query('begin');
    expect(seqsOf(await a.turn({ limit: 2 }))).toEqual(first.slice(0, 2));
    // A has not committed. B must not wait for it, and must not lease later rows of A’s key.
    expect(seqsOf(await b.turn())).toEqual(second);
    await a.query('commit');
    expect(seqsOf(await b.turn({ delivered: second }))).toEqual([]);
    expect(seqsOf(await a.turn({ delivered: first.slice(0, 2) }))).toEqual(first.slice(2));
  });

  test('that holds up the later rows of its keys is named to every relay that finds them', async () => {
    const [first, later] = await emit(database, 'a', { count: 2 });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    expect(seqsOf(await a.turn({ limit: 1 }))).toEqual([first]);
    // B finds the later row, and has it locked until it commits. Meanwhile A delivers the first one, and cannot see that
    // the later one is free now. So B has to look again.
    await b.query('begin');
    expect(await b.result()).toMatchObject({ events: [], areHeld: true });
    expect(await a.result({ delivered: [first ?? 0] })).toMatchObject({ events: [], areHeld: false });
    await b.query('commit');
    const again = await b.result();
    expect(seqsOf(again.events)).toEqual([later]);
    expect(again.areHeld).toBe(false);
  });

  test('that waits after a failure is not named, because its rows wait for a time', async () => {
    const [first] = await emit(database, 'a', { count: 2 });
    const a = await relayConnection(database, 'A');
    await a.turn();
    await a.turn({ limit: 0, failed: [{ seq: first ?? 0, error: 'rejected', dead: false }] });
    await database.query(`update platform.outbox set due_at = now() where key = 'a' and seq > $1`, [first]);
    expect(await a.result()).toMatchObject({ events: [], areHeld: false });
  });

  test('that expires leaves its rows to any relay', async () => {
    const seqs = await emit(database, 'a', { count: 2 });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    await a.turn({ seconds: 60 });
    expect(await b.turn({ now: inSeconds(58) })).toEqual([]);
    expect(seqsOf(await b.turn({ now: inSeconds(62) }))).toEqual(seqs);
  });

  test('that has expired ignores the old relay’s late failures, and accepts its late deliveries', async () => {
    const [seq = 0] = await emit(database, 'a');
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    await a.turn();
    await b.turn({ now: inSeconds(62) });
    await a.turn({ limit: 0, failed: [{ seq, error: 'late', dead: true }], returned: [seq] });
    expect(await outboxRow(seq)).toMatchObject({ lease: 'B', attempts: 0, last_error: null });
    await a.turn({ limit: 0, delivered: [seq] });
    expect(await outboxRow(seq)).toBeUndefined();
  });

  test('whose response was lost is returned again to the same relay', async () => {
    const seqs = await emit(database, 'a', { count: 3 });
    const a = await relayConnection(database, 'A');
    await a.turn();
    expect(seqsOf(await a.turn({ lost: true }))).toEqual(seqs);
    expect(seqsOf(await a.turn({ delivered: seqs }))).toEqual([]);
  });

  test('ends at once for rows that were not tried', async () => {
    const seqs = await emit(database, 'a', { count: 3 });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    await a.turn();
    await a.turn({ limit: 0, delivered: seqs.slice(0, 1), returned: seqs.slice(1) });
    expect(seqsOf(await b.turn())).toEqual(seqs.slice(1));
  });

  test('includes no more payload than a Worker can hold, and at least one row', async () => {
    const payload = { orderId: 'big', text: 'x'.repeat(400_000) };
    const seqs = await emit(database, 'big', { count: 5, payload });
    const a = await relayConnection(database, 'A');
    expect(seqsOf(await a.turn({ bytes: 1_000_000 }))).toEqual(seqs.slice(0, 3));
    expect(seqsOf(await a.turn({ bytes: 1_000, delivered: seqs.slice(0, 3) }))).toEqual(seqs.slice(3, 4));
  });
});

describe('a row that its sink rejects temporarily', () => {
  test('waits longer each time, up to a minute, and its key waits with it', async () => {
    const [seq = 0, next = 0] = await emit(database, 'a', { count: 2 });
    const a = await relayConnection(database, 'A');
    const waits: number[] = [];
    for (let attempt = 0; attempt < 9; attempt++) {
      const now = inSeconds(attempt * 100);
      expect(seqsOf(await a.turn({ now }))).toEqual([seq, next]);
      await a.turn({ now, limit: 0, failed: [{ seq, error: `refused ${attempt}`, dead: false }] });
      const row = await outboxRow(seq);
      waits.push(Math.round((row?.seconds ?? 0) - attempt * 100));
      expect(row).toMatchObject({ attempts: attempt + 1, lease: null, last_error: `refused ${attempt}` });
      // Two reads, so the remaining seconds differ by the time between them.
      expect((await outboxRow(next))?.seconds).toBeCloseTo(row?.seconds ?? 0, -1);
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
    expect(await outboxRow(next)).toMatchObject({ attempts: 0 });
  });

  test('does not stop other keys, however many rows wait behind it', async () => {
    const [head = 0] = await emit(database, 'waits');
    const a = await relayConnection(database, 'A');
    await a.turn();
    await a.turn({ limit: 0, failed: [{ seq: head, error: 'refused', dead: false }] });
    await emit(database, 'waits', { count: 120 });
    const other = await emit(database, 'goes on', { count: 2 });
    // The first twelve windows of ten rows contain no row that may be delivered.
    expect(seqsOf(await a.turn({ limit: 10 }))).toEqual(other);
    const [row] = await database.query<{ n: number }>(
      `select count(*)::int as n from platform.outbox where key = 'waits' and due_at > now()`,
    );
    expect(row?.n).toBe(121);
    expect(await a.turn({ limit: 10, delivered: other })).toEqual([]);
    expect(await a.turn({ limit: 500, now: inSeconds(2) })).toHaveLength(121);
  });
});

describe('a sink that is unavailable', () => {
  const pauseOfKafka = async () => {
    const [row] = await database.query<{ seconds: number; failures: number }>(
      `select extract(epoch from paused_until - now())::float as seconds, failures from platform.sinks where sink = 'kafka'`,
    );
    return row;
  };

  test('is paused longer each time, up to a minute, is retried, and has no failures left after its first success', async () => {
    const [seq = 0] = await emit(database, 'a');
    const a = await relayConnection(database, 'A');
    const waits: number[] = [];
    for (let attempt = 0; attempt < 8; attempt++) {
      const now = inSeconds(attempt * 100);
      expect(seqsOf(await a.turn({ now }))).toEqual([seq]);
      expect(await a.turn({ now, returned: [seq], paused: 'away' })).toEqual([]);
      waits.push(Math.round(((await pauseOfKafka())?.seconds ?? 0) - attempt * 100));
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
    expect(seqsOf(await a.turn({ now: inSeconds(900) }))).toEqual([seq]);
    await a.turn({ now: inSeconds(900), delivered: [seq] });
    expect((await pauseOfKafka())?.failures).toBe(0);
  });

  test('counts one failure when two relays fail at once, and does not pause another sink', async () => {
    const [seq = 0] = await emit(database, 'a', { queue: true });
    const a = await relayConnection(database, 'A');
    const b = await relayConnection(database, 'B');
    const queue = await relayConnection(database, 'Q', 'queue');
    await a.turn();
    await a.turn({ returned: [seq], paused: 'away' });
    await b.turn({ paused: 'away' });
    expect((await pauseOfKafka())?.failures).toBe(1);
    expect(seqsOf(await queue.turn())).toEqual([seq]);
    await queue.turn({ delivered: [seq] });
    expect((await pauseOfKafka())?.failures).toBe(1);
  });
});

describe('a turn for both sinks', () => {
  test('leases and records the rows of each sink, and keeps what one of them rejects', async () => {
    const [first = 0, second = 0] = await emit(database, 'a', { count: 2, queue: true });
    const relay = await relayConnection(database, 'A');
    const terms = { lease: 'A', limit: 500, bytes: 1_000_000, seconds: 60 };
    const bothTurns = async (kafka: object, queue: object) => {
      const turns = [
        { sink: 'kafka', ...terms, ...kafka },
        { sink: 'queue', ...terms, ...queue },
      ];
      const { rows } = await relay.query('select platform.relay($1, $2) as result', [
        JSON.stringify({ jobSecret }),
        JSON.stringify({ sinks: turns }),
      ]);
      return rows[0].result as Record<'kafka' | 'queue', { events: { seq: number }[]; pausedMs: number }>;
    };
    const leased = await bothTurns({}, {});
    expect([seqsOf(leased.kafka.events), seqsOf(leased.queue.events)]).toEqual([
      [first, second],
      [first, second],
    ]);
    const unavailable = { returned: [first, second], paused: true };
    const settled = await bothTurns(unavailable, { delivered: [first, second] });
    expect([settled.kafka.events, settled.queue.events]).toEqual([[], []]);
    expect([settled.kafka.pausedMs > 0, settled.queue.pausedMs]).toEqual([true, 0]);
    const left = await database.query<{ sink: string }>('select sink from platform.outbox order by seq');
    expect(left.map(({ sink }) => sink)).toEqual(['kafka', 'kafka']);
  });
});

describe('a long outbox', () => {
  const measureReads = async (
    turn: () => Promise<unknown[]>,
    query: (text: string) => Promise<{ rows: unknown[] }>,
  ) => {
    await query('begin');
    const events = await turn();
    const { rows } = await query(
      `select coalesce(sum(seq_tup_read), 0)::int as scanned, coalesce(sum(idx_tup_fetch), 0)::int as fetched
       from pg_stat_xact_all_tables where schemaname = 'platform' and relname = 'outbox'`,
    );
    await query('commit');
    return { events: events.length, ...(rows[0] as { scanned: number; fetched: number }) };
  };

  test('is never scanned completely, whether all its rows are due, leased or waiting', async () => {
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
    const due = await measureReads(lease, a.query);
    expect(due).toMatchObject({ events: 100, scanned: 0 });
    expect(due.fetched).toBeLessThan(1_000);
    const settle = await measureReads(() => a.turn({ limit: 100, delivered: seqsOf(events) }), a.query);
    expect(settle).toMatchObject({ events: 100, scanned: 0 });
    expect(settle.fetched).toBeLessThan(1_000);
    await database.query(`update platform.outbox set due_at = now() + interval '1 minute', lease = 'A'`);
    await database.query('vacuum analyze platform.outbox');
    const held = await measureReads(() => b.turn({ limit: 100 }), b.query);
    expect(held).toMatchObject({ events: 0, scanned: 0 });
    expect(held.fetched).toBeLessThan(100);
    const health = await measureReads(async () => (await b.query('select platform.health()')).rows, b.query);
    // Counting the rows scans them once. The age of the oldest row is found by an index.
    expect(health.scanned).toBeLessThanOrEqual(count - 100);
    expect(health.fetched).toBeLessThan(100);
  });
});
