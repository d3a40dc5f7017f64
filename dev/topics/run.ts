import type { Topic } from '../../src/events/topics.ts';
import type { Admin } from './admin.ts';
import { commandsFor, describeStep, planTopics, type Step, wantedTopics } from './plan.ts';

/**
 * Compares the broker's topics with the registry, says the plan first, and with `apply` carries it out; looks again
 * afterwards. Resolves with the exit code: 0 no difference (left), 2 there are (some left). Rejects if the broker fails.
 */
export async function runTopics(
  admin: Admin,
  registry: Record<string, Topic>,
  { apply, at }: { apply: boolean; at: string },
  say: (line: string) => void,
): Promise<number> {
  const wanted = wantedTopics(registry);
  const names = wanted.map(({ name }) => name);
  const plan = planTopics(wanted, await admin.describe(names));
  say(`${admin.name} at ${at}, ${wanted.length} topics in the registry: ${plan.fine} are as they should be.`);
  for (const line of plan.kept) say(`= ${line}; it stays: nothing shrinks`);
  for (const step of plan.steps) say(describeStep(step));
  if (plan.unseen.length > 0) say(`? Not to be seen over this interface: ${summarise(plan.unseen)}`);
  if (plan.steps.length === 0) {
    say('No differences.');
    return 0;
  }
  let byHand = plan.steps.filter(({ kind }) => !admin.can.has(kind));
  if (apply) {
    const possible = plan.steps.filter(({ kind }) => admin.can.has(kind));
    const rest: Step[] = [];
    for (const step of possible) rest.push(...(await admin.apply(step)));
    const left = planTopics(wanted, await admin.describe(names)).steps;
    // What was made a moment ago may have a retention that is long enough by default.
    byHand = [...byHand, ...rest].filter((step) =>
      left.some(({ kind, topic }) => kind === step.kind && topic.name === step.topic.name),
    );
    const done = plan.steps.length - left.filter((one) => plan.steps.some((step) => isSame(step, one))).length;
    say(`${done} of ${plan.steps.length} steps are done.`);
    sayByHand(byHand, say);
    for (const step of left) if (!byHand.some((other) => isSame(other, step))) say(`! left: ${describeStep(step)}`);
    return left.length === 0 ? 0 : 2;
  }
  sayByHand(byHand, say);
  if (byHand.length < plan.steps.length) say('"npm run topics -- apply" does the rest of it, or all.');
  return 2;
}

const isSame = (one: Step, other: Step): boolean => one.kind === other.kind && one.topic.name === other.topic.name;

function summarise(unseen: string[]): string {
  const by = new Map<string, number>();
  for (const line of unseen) {
    const what = line.split(': ')[1] ?? line;
    by.set(what, (by.get(what) ?? 0) + 1);
  }
  return [...by].map(([what, count]) => `the ${what} of ${count} topics`).join(', ');
}

function sayByHand(steps: Step[], say: (line: string) => void): void {
  if (steps.length === 0) return;
  say('\nThis interface cannot do the following. With Kafka’s own tools:\n');
  for (const step of steps) say(`  ${commandsFor(step).kafka}`);
  say('\nor, at Redpanda:\n');
  for (const step of steps) say(`  ${commandsFor(step).rpk}`);
}
