import { closeSync, existsSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import type { PartitionLog } from './log.ts';

/** Above this many superseded lines the file is written anew. */
const STALE_LINES = 10_000;

/** What each group has committed: the next offset to read in each partition. Kept in a file of appended lines. */
export class CommittedOffsets {
  readonly #path: string;
  readonly #offsets = new Map<string, number>();
  #fd: number;
  #lines = 0;

  /** Reads the file; a last line torn by a kill is dropped. */
  constructor(path: string) {
    this.#path = path;
    if (existsSync(path)) {
      const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
      for (const [key, offset] of lines.map((line) => JSON.parse(line) as [string, number])) {
        this.#offsets.set(key, offset);
      }
    }
    this.#fd = this.#rewrite();
  }

  get(group: string, log: PartitionLog): number | undefined {
    return this.#offsets.get(keyOf(group, log));
  }

  /** Keeps the offsets, in one write; what is committed already costs nothing. */
  commit(group: string, offsets: Iterable<readonly [PartitionLog, number]>): void {
    const lines: string[] = [];
    for (const [log, offset] of offsets) {
      const key = keyOf(group, log);
      if (this.#offsets.get(key) === offset) continue;
      this.#offsets.set(key, offset);
      lines.push(lineOf([key, offset]));
    }
    if (lines.length === 0) return;
    writeSync(this.#fd, lines.join(''));
    this.#lines += lines.length;
    if (this.#lines < this.#offsets.size + STALE_LINES) return;
    closeSync(this.#fd);
    this.#fd = this.#rewrite();
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** Renamed into place, so that a kill leaves the old file or the new one. */
  #rewrite(): number {
    const draft = `${this.#path}.new`;
    writeFileSync(draft, [...this.#offsets].map(lineOf).join(''));
    renameSync(draft, this.#path);
    this.#lines = this.#offsets.size;
    return openSync(this.#path, 'a');
  }
}

function keyOf(group: string, log: PartitionLog): string {
  return `${log.topic}/${log.partition}/${group}`;
}

function lineOf(entry: [string, number]): string {
  return `${JSON.stringify(entry)}\n`;
}
