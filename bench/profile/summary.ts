import { align, formatFigure } from '../load/table.ts';
import type { Frame, Sample } from './stacks.ts';

const isJavaScript = ({ file, line }: Frame): boolean => line !== undefined && /\.[cm]?[jt]s$/.test(file);
const isCollecting = ({ name }: Frame): boolean =>
  name === '(garbage collector)' ||
  /v8::internal::(Heap::(CollectGarbage|PerformGarbage)|Scavenger|MarkCompact|ConcurrentMarking|Sweeper|MinorGC)/.test(
    name,
  );

/** The part of a package's path that names the package, or the file itself. */
const ownerOf = (file: string): string => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? file;

/**
 * What a sample is charged to: the innermost JavaScript function, with the native code that it called; garbage
 * collection; or the runtime, if no JavaScript is on the stack.
 */
function chargedTo({ frames }: Sample): Frame {
  if (frames.some(isCollecting)) return { name: 'garbage collection', file: 'V8' };
  return frames.findLast(isJavaScript) ?? { name: 'HTTP, scheduling and streams outside JavaScript', file: 'runtime' };
}

type Row = { name: string; us: number; ownUs: number };

function sumBy(samples: readonly Sample[], nameOf: (frame: Frame) => string): Row[] {
  const rows = new Map<string, Row>();
  for (const sample of samples) {
    const charged = chargedTo(sample);
    const name = nameOf(charged);
    const row = rows.get(name) ?? { name, us: 0, ownUs: 0 };
    row.us += sample.us;
    if (sample.frames.at(-1) === charged) row.ownUs += sample.us;
    rows.set(name, row);
  }
  return [...rows.values()].sort((a, b) => b.us - a.us);
}

const maxRows = 25;

/** The CPU time of files, packages and functions as two tables. `cpuMs`: the Worker's CPU time of one request. */
export function summaryLines(samples: readonly Sample[], cpuMs: number): string[] {
  const all = samples.reduce((sum, { us }) => sum + us, 0);
  const cells = ({ name, us, ownUs }: Row): string[] => [
    name,
    `${formatFigure((us / all) * 100)} %`,
    formatFigure((us / all) * cpuMs),
    `${formatFigure((ownUs / all) * 100)} %`,
  ];
  const table = (title: string, rows: Row[]): string[] =>
    align([[title, 'CPU', 'ms a request', 'of it JavaScript'], ...rows.slice(0, maxRows).map(cells)]);
  const place = ({ name, file, line }: Frame): string => `${name}  ${file}${line === undefined ? '' : `:${line}`}`;
  return [
    ...table(
      'file or package',
      sumBy(samples, ({ file }) => ownerOf(file)),
    ),
    '',
    ...table('function, with the native code that it calls', sumBy(samples, place)),
  ];
}
