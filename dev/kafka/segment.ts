import { closeSync, ftruncateSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';

const NEWLINE = 10;
const COMMA = 44;
const CLOSING_BRACE = 125;

/**
 * One append-only file of a partition, with one line per record, in the JSON that a consumer receives.
 * Only the position and the timestamp of each record are in memory.
 */
export class Segment {
  readonly base: number;
  readonly path: string;
  readonly #fd: number;
  readonly #starts: number[] = [];
  readonly #timestamps: number[] = [];
  #latest = -1;
  #bytes = 0;

  /** Opens or creates the file of the records from offset `base` on. */
  constructor(path: string, base: number) {
    this.base = base;
    this.path = path;
    this.#fd = openSync(path, 'a+');
  }

  /** The offset that the next record gets. */
  get end(): number {
    return this.base + this.#starts.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The largest timestamp in milliseconds, or -1 if the segment is empty. */
  get latest(): number {
    return this.#latest;
  }

  timestampOf(offset: number): number {
    return this.#timestamps[offset - this.base] ?? Number.NaN;
  }

  startOf(offset: number): number {
    return this.#starts[offset - this.base] ?? this.#bytes;
  }

  /**
   * Rebuilds the index from the file. Stops at the first line that is not the expected record: the end of the file, or
   * the rest of a write that a kill interrupted.
   */
  recover(linePrefix: string): void {
    const file = readFileSync(this.path);
    for (;;) {
      const newline = file.indexOf(NEWLINE, this.#bytes);
      if (newline === -1 || file[newline - 1] !== CLOSING_BRACE) return;
      const expected = `${linePrefix}${this.end},"timestamp":`;
      const line = file.toString('latin1', this.#bytes, Math.min(newline, this.#bytes + expected.length + 16));
      if (!line.startsWith(expected)) return;
      this.#index(newline + 1 - this.#bytes, Number.parseInt(line.slice(expected.length), 10));
    }
  }

  /** Removes everything after the last record in the index. */
  cutTail(): void {
    ftruncateSync(this.#fd, this.#bytes);
  }

  /** Writes the lines to the operating system in one batch. If that fails, keeps none of them. */
  append(lines: readonly string[], timestamps: readonly number[]): void {
    const batch = Buffer.from(lines.join(''));
    try {
      for (let done = 0; done < batch.length; ) done += writeSync(this.#fd, batch, done);
    } catch (error) {
      this.cutTail();
      throw error;
    }
    lines.forEach((line, i) => {
      this.#index(Buffer.byteLength(line), timestamps[i] ?? Number.NaN);
    });
  }

  /** Returns the records from `from` to before `to`, as JSON objects separated by commas. */
  slice(from: number, to: number): Buffer {
    const start = this.startOf(from);
    const bytes = Buffer.allocUnsafe(this.startOf(to) - start);
    for (let done = 0; done < bytes.length; ) {
      const read = readSync(this.#fd, bytes, done, bytes.length - done, start + done);
      if (read === 0) throw new Error(`${this.path} became shorter: another program changed it`);
      done += read;
    }
    for (let offset = from + 1; offset < to; offset += 1) bytes[this.startOf(offset) - start - 1] = COMMA;
    return bytes.subarray(0, -1);
  }

  close(): void {
    closeSync(this.#fd);
  }

  remove(): void {
    this.close();
    rmSync(this.path);
  }

  #index(length: number, timestamp: number): void {
    this.#starts.push(this.#bytes);
    this.#timestamps.push(timestamp);
    this.#bytes += length;
    if (timestamp > this.#latest) this.#latest = timestamp;
  }
}
