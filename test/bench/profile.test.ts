import { expect, test } from 'vitest';
import { type CpuProfile, profileOf, samplesOf } from '../../bench/profile/cpuprofile.ts';
import { readProfileOptions } from '../../bench/profile/options.ts';
import { frameOf, type Locate, parsePerfScript, shortName } from '../../bench/profile/stacks.ts';
import { summaryLines } from '../../bench/profile/summary.ts';

const locate: Locate = (line) => (line === 10 ? { file: 'src/http/etag.ts', line: 3 } : undefined);
const program = '/node_modules/workerd/bin/workerd';

const output = `     500250 
	         6c7f21f tcmalloc::alloc<tcmalloc::Policy<int (*)(long)> > (${program})
	    7f0001000a2f JS:*etagOf store.js:10:7 (/tmp/perf-1.map)
	         273b89e workerd_server::entry::serve (${program})

     500250 
	ffffffff81000000 do_syscall_64 ([kernel.kallsyms])
	         273b89e workerd_server::entry::serve (${program})

    1000500 
	         6b0bfba v8::internal::Heap::CollectGarbage (${program})
	    7f0001000b00 JS:~ store.js:10:7 (/tmp/perf-1.map)

`;

test('a sample of perf becomes a stack from the outermost function to the innermost, named by its source', () => {
  expect(parsePerfScript(output, locate)).toEqual([
    {
      us: 500.25,
      frames: [
        { name: 'workerd_server::entry::serve', file: 'workerd' },
        { name: 'etagOf', file: 'src/http/etag.ts', line: 3 },
        { name: 'tcmalloc::alloc', file: 'workerd' },
      ],
    },
    {
      us: 500.25,
      frames: [
        { name: 'workerd_server::entry::serve', file: 'workerd' },
        { name: 'do_syscall_64', file: 'kernel' },
      ],
    },
    {
      us: 1000.5,
      frames: [
        { name: '(anonymous)', file: 'src/http/etag.ts', line: 3 },
        { name: 'v8::internal::Heap::CollectGarbage', file: 'workerd' },
      ],
    },
  ]);
});

test('only the functions of the bundle are looked up in its source map', () => {
  expect(frameOf("JS:'Hash node-internal:crypto_hash:10:3", '/tmp/perf-1.map', locate)).toEqual({
    ...{ name: 'Hash', file: 'node-internal:crypto_hash', line: 10 },
  });
});

test('the name of a native function has neither template arguments nor parameters', () => {
  expect(shortName('kj::Own<int, decltype(nullptr)>::operator->(kj::Maybe<long>) const')).toBe(
    'kj::Own::operator- const',
  );
  expect(shortName('(anonymous namespace)')).toBe('(anonymous namespace)');
});

test('the profile has the CPU time and the stack of each sample', () => {
  const samples = parsePerfScript(output, locate);
  const profile = profileOf(samples);
  expect(profile.endTime).toBe(500 + 500 + 1_001);
  expect(profile.nodes.reduce((sum, { hitCount }) => sum + hitCount, 0)).toBe(3);
  // The two stacks that begin alike share their first node.
  expect(profile.nodes.filter(({ callFrame }) => callFrame.functionName.endsWith('serve'))).toHaveLength(1);
  const rename = ({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']) => ({
    ...{ name: functionName, file: url },
    ...(lineNumber >= 0 && { line: lineNumber + 1 }),
  });
  expect(samplesOf(profile, rename).map(({ frames }) => frames)).toEqual(samples.map(({ frames }) => frames));
});

test('native code is charged to the function that called it, and garbage collection to itself', () => {
  const lines = summaryLines(parsePerfScript(output, locate), 2);
  const rowOf = (name: string) => lines.find((line) => line.startsWith(name))?.replaceAll(/\s+/g, ' ');
  expect(rowOf('src/http/etag.ts')).toBe('src/http/etag.ts 25.0 % 0.50 0 %');
  expect(rowOf('V8')).toBe('V8 50.0 % 1.00 0 %');
  expect(rowOf('runtime')).toBe('runtime 25.0 % 0.50 0 %');
});

test('a profile needs one known case, and an unknown option is named', () => {
  const read = (...args: string[]) => readProfileOptions(args, ['order', 'relay']);
  expect(read('order', '--seconds', '2')).toEqual({
    ...{ name: 'order', seconds: 2, clients: 16, sampler: undefined, out: 'order.cpuprofile' },
  });
  expect(read('--help')).toBeNull();
  expect(() => read()).toThrow('name a case: npm run profile -- order. The cases are order, relay.');
  expect(() => read('orders')).toThrow('unknown case orders. The cases are order, relay.');
  expect(() => read('order', 'relay')).toThrow('name one case, not order, relay');
  expect(() => read('order', '--sampler', 'gdb')).toThrow('--sampler gdb is neither perf nor inspector');
  expect(() => read('order', '--seconds', '0')).toThrow('--seconds 0 is not a whole number from 1 to 600');
});
