import { readFile } from 'node:fs/promises';
import { SourceMap } from 'node:module';

/** One function on a stack. `line` counts from 1; native functions have none. */
export type Frame = { name: string; file: string; line?: number };

/** CPU time of one stack, from the outermost function to the innermost one. */
export type Sample = { frames: Frame[]; us: number };

/** Finds the source of a place in the bundle. */
export type Locate = (line: number, column: number) => { file: string; line: number } | undefined;

/** Reads the source map of a bundle. Files are named from the root of the repository. */
export async function readLocations(mapFile: string): Promise<Locate> {
  const map = new SourceMap(JSON.parse(await readFile(mapFile, 'utf8')) as ConstructorParameters<typeof SourceMap>[0]);
  return (line, column) => {
    const found = map.findEntry(line - 1, column - 1);
    if (!('originalSource' in found) || found.originalSource === undefined) return undefined;
    const file = found.originalSource.replace(/^.*?((?:src|node_modules)\/)/, '$1');
    return { file, line: found.originalLine + 1 };
  };
}

/** Replaces the text between brackets of this kind, at any depth: the arguments in the name of a C++ template. */
function withoutBrackets(name: string, open: string, close: string): string {
  let depth = 0;
  let short = '';
  for (const character of name) {
    if (character === open) depth++;
    if (depth === 0) short += character;
    if (character === close && depth > 0) depth--;
  }
  return short;
}

/** The name of a native function without its template arguments and parameters. */
export const shortName = (name: string): string =>
  withoutBrackets(withoutBrackets(name.replaceAll('operator->', 'operator-'), '<', '>'), '(', ')').trim() || name;

/** `JS:*place /bundle/index.js:10:20` in V8's map for perf. The sign before the name tells how the code was compiled. */
const javaScriptName = /^(?:JS|Script|Eval|Function):[*~^+']?(.*?) ?(\S*):(\d+):(\d+)$/;

/** The name of the store's module in workerd. */
export const storeModule = 'store.js';

/** One line of a stack as perf prints it: address, symbol with offset, program. */
const frameLine = /^\s*[0-9a-f]+ (.+) \(([^()]*(?:\([^()]*\))?[^()]*)\)$/;

export function frameOf(symbol: string, program: string, locate: Locate): Frame {
  const [, name = '', file = '', line, column] = javaScriptName.exec(symbol) ?? [];
  if (line === undefined) {
    const isKernel = program.startsWith('[kernel') || program.startsWith('[guest.kernel');
    return { name: shortName(symbol), file: isKernel ? 'kernel' : (program.split('/').at(-1) ?? program) };
  }
  const found = file === storeModule ? locate(Number(line), Number(column)) : undefined;
  return { name: name || '(anonymous)', file: found?.file ?? file, line: found?.line ?? Number(line) };
}

/** Parses the output of `perf script -F period,ip,sym,dso`. */
export function parsePerfScript(text: string, locate: Locate): Sample[] {
  const frames = new Map<string, Frame>();
  const samples: Sample[] = [];
  for (const block of text.split('\n\n')) {
    const [head = '', ...lines] = block.split('\n').filter((line) => line.trim() !== '');
    const period = Number(head.trim());
    if (head === '' || !Number.isFinite(period)) continue;
    const stack = lines.flatMap((line) => {
      const known = frames.get(line);
      if (known) return [known];
      const [, symbol, program] = frameLine.exec(line) ?? [];
      if (symbol === undefined || program === undefined) return [];
      const frame = frameOf(symbol, program, locate);
      frames.set(line, frame);
      return [frame];
    });
    // cpu-clock counts nanoseconds.
    samples.push({ frames: stack.reverse(), us: period / 1_000 });
  }
  return samples;
}
