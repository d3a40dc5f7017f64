import type { Store } from './harness.ts';

/** The store as a tenant of another cell uses it: its keys, and its database. */
export function inCell(store: Store, name: string): Store {
  const cell = store.cells[name];
  if (cell === undefined) throw new Error(`the store has no cell ${name}`);
  return {
    ...store,
    ...cell,
    send: (method, path, body, more = {}) => store.send(method, path, body, { key: cell.key, ...more }),
    settled: () => store.settled(cell.database),
  };
}
