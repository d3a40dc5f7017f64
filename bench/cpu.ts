import { readdir, readFile } from 'node:fs/promises';

/** Linux counts a process's CPU in hundredths of a second, on every machine that Node runs on. */
const msPerTick = 10;

type Row = { pid: number; parent: number; name: string; ms: number };

/** Reads one line of /proc/<pid>/stat. CPU is that of the process and of those children that have ended already. */
export function parseStat(text: string): Row {
  // The name in parentheses may itself hold spaces and parentheses.
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  const fields = text.slice(close + 2).split(' ');
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
  return {
    pid: Number(text.slice(0, open)),
    parent: Number(fields[1]),
    name: text.slice(open + 1, close),
    ms: ticks * msPerTick,
  };
}

/** CPU of a process and all of its descendants, in ms; of those with this name alone, if one is given. */
export function sumTree(rows: Row[], root: number, name?: string): number {
  const family = new Set([root]);
  for (let grown = true; grown; ) {
    grown = false;
    for (const { pid, parent } of rows) {
      if (family.has(parent) && !family.has(pid)) {
        family.add(pid);
        grown = true;
      }
    }
  }
  return rows
    .filter((row) => family.has(row.pid) && (name === undefined || row.name === name))
    .reduce((sum, row) => sum + row.ms, 0);
}

/** Every process of this machine; none where there is no /proc (all CPU is 0 then). */
export async function readProcesses(): Promise<Row[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((entry) => /^\d+$/.test(entry));
  const texts = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')));
  return texts.filter((text) => text !== '').map(parseStat);
}
