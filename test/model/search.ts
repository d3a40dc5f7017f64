/**
 * A model as steps, each of which happens at once and as a whole: a transaction, or a call to Stripe. States are plain
 * JSON; a step changes the copy that it is given.
 */
export type Model<S, C> = {
  /** How many steps a command has; others' steps may come in between. */
  stepsOf: (command: C) => number;
  /** Does one step of a command; answers what its caller hears. */
  step: (state: S, command: C, n: number) => string;
  /** What the system itself has still to do; each of these may come next. */
  tasks: (state: S) => string[];
  act: (state: S, task: string) => void;
};

/** How it may have ended: the state at rest, and what each command's caller has heard. */
export type Outcome<S> = { state: S; heard: string[] };

/**
 * Every way in which commands given at the same time may end: their steps, and those that they set going, in every order
 * that there is.
 */
export function outcomesOf<S, C>(model: Model<S, C>, start: S, commands: C[]): Outcome<S>[] {
  const found = new Map<string, Outcome<S>>();
  const seen = new Set<string>();
  const open = [{ state: start, done: commands.map(() => 0), heard: commands.map(() => '') }];
  for (let place = open.pop(); place; place = open.pop()) {
    const key = JSON.stringify(place);
    if (seen.has(key)) continue;
    seen.add(key);
    const { state, done, heard } = place;
    let rests = true;
    commands.forEach((command, n) => {
      const at = done[n] ?? 0;
      if (at >= model.stepsOf(command)) return;
      rests = false;
      const next = structuredClone(state);
      const answer = model.step(next, command, at);
      const told = [heard[n], answer].filter((part) => part !== '').join(' ');
      open.push({ state: next, done: done.with(n, at + 1), heard: heard.with(n, told) });
    });
    for (const task of model.tasks(state)) {
      rests = false;
      const next = structuredClone(state);
      model.act(next, task);
      open.push({ state: next, done, heard });
    }
    if (rests) found.set(key, { state, heard });
  }
  return [...found.values()];
}

/**
 * The command of this number: of those that change something if there are any, or else (`anyOf`) of all of them. Without
 * it most commands of a sequence would be refused.
 */
export function chooseFrom<S, C>(
  model: Model<S, C>,
  state: S,
  commands: C[],
  n: number,
  anyOf: boolean,
): C | undefined {
  const before = JSON.stringify(state);
  const changes = (command: C) =>
    outcomesOf(model, state, [command]).some(({ state: after }) => JSON.stringify(after) !== before);
  const able = anyOf ? [] : commands.filter(changes);
  const from = able.length > 0 ? able : commands;
  return from[n % from.length];
}
