/**
 * A model as atomic steps: each step is a transaction or a call to Stripe. States are plain JSON. A step changes the
 * copy of the state that it is given.
 */
export type Model<S, C> = {
  /** The number of steps of a command. Steps of other commands may come between them. */
  stepsOf: (command: C) => number;
  /** Performs one step of a command, and returns what its caller receives. */
  step: (state: S, command: C, n: number) => string;
  /** The pending work of the system itself. Any of these tasks may be next. */
  tasks: (state: S) => string[];
  act: (state: S, task: string) => void;
};

/** A possible outcome: the idle state, and what the caller of each command received. */
export type Outcome<S> = { state: S; replies: string[] };

/** Every possible outcome of concurrent commands: their steps and the tasks that they cause, in every order. */
export function outcomesOf<S, C>(model: Model<S, C>, start: S, commands: C[]): Outcome<S>[] {
  const found = new Map<string, Outcome<S>>();
  const seen = new Set<string>();
  const open = [{ state: start, done: commands.map(() => 0), replies: commands.map(() => '') }];
  for (let place = open.pop(); place; place = open.pop()) {
    const key = JSON.stringify(place);
    if (seen.has(key)) continue;
    seen.add(key);
    const { state, done, replies } = place;
    let isIdle = true;
    commands.forEach((command, n) => {
      const at = done[n] ?? 0;
      if (at >= model.stepsOf(command)) return;
      isIdle = false;
      const next = structuredClone(state);
      const answer = model.step(next, command, at);
      const received = [replies[n], answer].filter((part) => part !== '').join(' ');
      open.push({ state: next, done: done.with(n, at + 1), replies: replies.with(n, received) });
    });
    for (const task of model.tasks(state)) {
      isIdle = false;
      const next = structuredClone(state);
      model.act(next, task);
      open.push({ state: next, done, replies });
    }
    if (isIdle) found.set(key, { state, replies });
  }
  return [...found.values()];
}

/**
 * Chooses a command by number among those that change something, or among all of them if `anyOf` is set or none does.
 * Without this choice most commands of a sequence would be rejected.
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
