import { closeSync, existsSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import type { PartitionLog } from './log.ts';

/** The number of outdated lines at which the file is rewritten. */
const STALE_LINES = 10_000;

/** The committed offsets: the next offset to read per group and partition. Stored in a file of appended lines. */
export class CommittedOffsets {
  readonly #path: string;
  readonly #offsets = new Map<string, number>();
  #fd: number;
  #lines = 0;

  /** Reads the file. Ignores a last line that a kill left incomplete. */
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

  /** Stores the offsets in one write. Skips those that are already committed. */
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

  /** Writes a new file and renames it, so that a kill leaves either the old or the new file. */
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
