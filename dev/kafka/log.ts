import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Segment } from './segment.ts';

export interface Header {
  key: string;
  value: string;
}

/** A record to append. `timestamp` is in milliseconds since 1970. A record without a key has the key ''. */
export interface LogRecord {
  timestamp: number;
  key: string;
  value: string;
  headers: readonly Header[];
}

/** A record as a consumer receives it. */
export interface Message extends LogRecord {
  topic: string;
  partition: number;
  offset: number;
}

export interface LogOptions {
  dir: string;
  topic: string;
  partition: number;
  /** How long a record is kept, in milliseconds. Negative: forever. */
  retentionMs: number;
  now: () => number;
  /** The size in bytes at which a new segment is started. */
  segmentBytes?: number;
}

const SEGMENT_BYTES = 8 * 1024 * 1024;
const SUFFIX = '.ndjson';

/**
 * The log of one partition, in segment files that are named after their first offset. Offsets have no gaps and continue
 * after a restart, even if no record is left. Expired records at the start are not returned. A file is deleted when all
 * of its records have expired.
 */
export class PartitionLog {
  readonly topic: string;
  readonly partition: number;
  readonly #options: LogOptions;
  readonly #linePrefix: string;
  readonly #segments: Segment[] = [];
  #start = 0;

  /** Opens the files and removes an incomplete last record. Throws if an earlier record is damaged. */
  constructor(options: LogOptions) {
    this.topic = options.topic;
    this.partition = options.partition;
    this.#options = options;
    this.#linePrefix = `{"topic":"${options.topic}","partition":${options.partition},"offset":`;
    if (!existsSync(options.dir)) return;
    for (const name of readdirSync(options.dir).toSorted()) {
      if (name.endsWith(SUFFIX)) this.#reopen(Number.parseInt(name, 10));
    }
    this.#segments.at(-1)?.cutTail();
    this.#start = this.#segments[0]?.base ?? 0;
    this.expire();
  }

  /** The first readable offset. */
  get start(): number {
    return this.#start;
  }

  /** The offset that the next record gets. */
  get end(): number {
    return this.#segments.at(-1)?.end ?? 0;
  }

  /** Appends the records in one write and returns the offset of the first. Their offsets have no gap. */
  append(records: readonly LogRecord[]): number {
    const last = this.#segments.at(-1);
    const full = last === undefined || last.bytes >= (this.#options.segmentBytes ?? SEGMENT_BYTES);
    const segment = full ? this.#startSegment() : last;
    const base = segment.end;
    segment.append(
      records.map((record, i) => `${this.#linePrefix}${base + i},${encode(record)}`),
      records.map((record) => record.timestamp),
    );
    return base;
  }

  /**
   * Reads records from offset `from` on, as JSON objects separated by commas. Returns at most `maxRecords` records and
   * `maxBytes` bytes, but at least one record unless the log ends. Can return fewer records than exist.
   */
  read(from: number, maxRecords: number, maxBytes: number): { json: Buffer; next: number } {
    this.expire();
    const segment = this.#segments.findLast((candidate) => candidate.base <= from && candidate.end > from);
    if (segment === undefined || maxRecords < 1) return { json: Buffer.alloc(0), next: from };
    let next = Math.min(from + maxRecords, segment.end);
    while (next > from + 1 && segment.startOf(next) - segment.startOf(from) > maxBytes) next -= 1;
    return { json: segment.slice(from, next), next };
  }

  /** The first offset whose record has this `timestamp` or a later one. Undefined if there is none. */
  offsetAt(timestamp: number): number | undefined {
    this.expire();
    for (const segment of this.#segments) {
      if (segment.latest < timestamp) continue;
      for (let offset = Math.max(segment.base, this.#start); offset < segment.end; offset += 1) {
        if (segment.timestampOf(offset) >= timestamp) return offset;
      }
    }
    return undefined;
  }

  /** Moves the start past the expired records and deletes the files that hold only expired records. */
  expire(): void {
    if (this.#options.retentionMs < 0) return;
    const oldest = this.#options.now() - this.#options.retentionMs;
    for (let first = this.#segments[0]; first !== undefined; first = this.#segments[0]) {
      while (this.#start < first.end && first.timestampOf(this.#start) < oldest) this.#start += 1;
      if (this.#start < first.end || first.bytes === 0) return;
      // The name of the new empty file keeps the next offset on disk.
      if (this.#segments.length === 1) this.#startSegment();
      this.#segments.shift();
      first.remove();
    }
  }

  close(): void {
    for (const segment of this.#segments) segment.close();
  }

  #startSegment(): Segment {
    mkdirSync(this.#options.dir, { recursive: true });
    const base = this.end;
    const segment = new Segment(join(this.#options.dir, `${String(base).padStart(20, '0')}${SUFFIX}`), base);
    this.#segments.push(segment);
    return segment;
  }

  #reopen(base: number): void {
    const previous = this.#segments.at(-1);
    if (previous !== undefined && previous.end !== base) {
      throw new Error(
        `${previous.path} is damaged: it ends at offset ${previous.end}, expected ${base}. Delete the folder to start again`,
      );
    }
    const segment = new Segment(join(this.#options.dir, `${String(base).padStart(20, '0')}${SUFFIX}`), base);
    segment.recover(this.#linePrefix);
    this.#segments.push(segment);
  }
}

function encode(record: LogRecord): string {
  const { timestamp, key, value, headers } = record;
  const rest = `"key":${JSON.stringify(key)},"value":${JSON.stringify(value)},"headers":${JSON.stringify(headers)}}`;
  return `"timestamp":${timestamp},${rest}\n`;
}
