import type { Frame, Sample } from './stacks.ts';

type CallFrame = {
  functionName: string;
  scriptId: string;
  url: string;
  /** Both count from 0. */
  lineNumber: number;
  columnNumber: number;
};

/** The format of Chrome's CPU profiles, the same as that of `Profiler.stop` in V8's inspector. */
export type CpuProfile = {
  nodes: { id: number; callFrame: CallFrame; hitCount: number; children: number[] }[];
  /** Microseconds. */
  startTime: number;
  endTime: number;
  /** The id of the innermost function of each sample, and the microseconds since the sample before. */
  samples: number[];
  timeDeltas: number[];
};

const root: Frame = { name: '(root)', file: '' };

/** Makes Chrome's profile of samples: a tree of calls, and the path of each sample through it. */
export function profileOf(samples: readonly Sample[]): CpuProfile {
  const nodes: CpuProfile['nodes'] = [];
  const children = new Map<string, number>();
  const add = (parent: number, { name, file, line }: Frame): number => {
    const key = `${parent} ${name} ${file} ${line}`;
    const known = children.get(key);
    if (known !== undefined) return known;
    const id = nodes.length + 1;
    const place = { scriptId: '0', url: file, lineNumber: (line ?? 0) - 1, columnNumber: -1 };
    nodes.push({ id, callFrame: { functionName: name, ...place }, hitCount: 0, children: [] });
    nodes[parent - 1]?.children.push(id);
    children.set(key, id);
    return id;
  };
  const rootId = add(0, root);
  const ids = samples.map(({ frames }) => {
    const id = frames.reduce(add, rootId);
    const node = nodes[id - 1];
    if (node) node.hitCount++;
    return id;
  });
  const timeDeltas = samples.map(({ us }) => Math.round(us));
  return { nodes, startTime: 0, endTime: timeDeltas.reduce((sum, us) => sum + us, 0), samples: ids, timeDeltas };
}

/** The samples of a profile that V8 has made itself. `rename` finds the source of a function. */
export function samplesOf(profile: CpuProfile, rename: (frame: CallFrame) => Frame): Sample[] {
  const parents = new Map(profile.nodes.flatMap(({ id, children }) => (children ?? []).map((child) => [child, id])));
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, rename(callFrame)]));
  const stackOf = (id: number): Frame[] => {
    const stack: Frame[] = [];
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const frame = frames.get(at);
      if (frame && frame.name !== root.name) stack.unshift(frame);
    }
    return stack;
  };
  return profile.samples.map((id, index) => ({ frames: stackOf(id), us: Math.max(profile.timeDeltas[index] ?? 0, 0) }));
}
