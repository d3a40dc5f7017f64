import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Kind, Store } from './store.ts';

/** A change of the platform's own account, or of the connected account that the third item names. */
type Change<T> = [kind: Kind, value: T, account?: string];
type Line = { put: Change<unknown>[]; drop: Change<string>[] };

/** The name of the platform's own account in the journal, which older journals do not have. */
const PLATFORM = '';

/**
 * The emulator's state: one store per account in memory and, if a folder is given, a journal with one JSON line per
 * commit. A line holds all changes of a request, so a crash keeps all of them or none. The next start ignores an
 * incomplete last line.
 */
export class State {
  readonly #stores = new Map<string, Store>();
  #journal: number | null = null;

  constructor(dir?: string) {
    this.storeOf(null);
    if (dir === undefined) return;
    mkdirSync(dir, { recursive: true });
    const file = join(dir, 'journal.jsonl');
    if (existsSync(file)) this.#replay(readFileSync(file, 'utf8'));
    this.#compact(file);
    this.#journal = openSync(file, 'a');
  }

  /** The store of a connected account, or of the platform's own account (null). */
  storeOf(account: string | null): Store {
    const name = account ?? PLATFORM;
    const store = this.#stores.get(name) ?? new Store(() => this.commit());
    this.#stores.set(name, store);
    return store;
  }

  /** Writes the changes since the last commit. Call it before sending a response or a webhook. */
  commit(): void {
    const line: Line = { put: [], drop: [] };
    for (const [name, store] of this.#stores) {
      const account: [string?] = name === PLATFORM ? [] : [name];
      for (const { kind, id, value } of store.takeChanges()) {
        if (value === undefined) line.drop.push([kind, id, ...account]);
        else line.put.push([kind, value, ...account]);
      }
    }
    if (line.put.length + line.drop.length === 0) return;
    if (this.#journal !== null) appendFileSync(this.#journal, `${JSON.stringify(line)}\n`);
  }

  close(): void {
    this.commit();
    if (this.#journal !== null) closeSync(this.#journal);
    this.#journal = null;
  }

  #replay(text: string): void {
    const lines = text.split('\n');
    lines.pop();
    for (const raw of lines) {
      const line: Line = JSON.parse(raw);
      for (const [kind, value, account] of [...line.put, ...line.drop]) {
        this.storeOf(account ?? null).restore(kind, value);
      }
    }
  }

  /** Rewrites the journal with one line per object, without the history of changes. */
  #compact(file: string): void {
    let text = '';
    for (const [name, store] of this.#stores) {
      const account: [string?] = name === PLATFORM ? [] : [name];
      for (const [kind, value] of [...store.entries()]) {
        // The process died while this request ran. There is no response to replay, so the key can be used again.
        if (kind === 'key' && 'answer' in value && value.answer === null) store.restore('key', value.id);
        else text += `${JSON.stringify({ put: [[kind, value, ...account]], drop: [] } satisfies Line)}\n`;
      }
    }
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  }
}
