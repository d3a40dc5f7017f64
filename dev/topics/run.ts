import type { Topic } from '../../src/events/topics.ts';
import type { Admin } from './admin.ts';
import { commandsFor, describeStep, planTopics, registryTopics, type Step } from './plan.ts';

/**
 * Compares the broker's topics with the registry and prints the plan. With `apply` it also carries out the plan and
 * compares again. Resolves with the exit code: 0 if no differences remain, 2 if some do. Rejects if the broker returns
 * an error.
 */
export async function runTopics(
  admin: Admin,
  registry: Record<string, Topic>,
  { apply, host }: { apply: boolean; host: string },
  print: (line: string) => void,
): Promise<number> {
  const required = registryTopics(registry);
  const names = required.map(({ name }) => name);
  const plan = planTopics(required, await admin.describe(names));
  print(`${admin.name} at ${host}: ${plan.upToDate} of the registry's ${required.length} topics need no change.`);
  for (const line of plan.larger) print(`= ${line}; left unchanged, since nothing shrinks`);
  for (const step of plan.steps) print(describeStep(step));
  if (plan.notVisible.length > 0) print(`? This interface does not show ${summarise(plan.notVisible)}`);
  if (plan.steps.length === 0) {
    print('No differences.');
    return 0;
  }
  let manualSteps = plan.steps.filter(({ kind }) => !admin.supports.has(kind));
  if (apply) {
    const supported = plan.steps.filter(({ kind }) => admin.supports.has(kind));
    const unfinished: Step[] = [];
    for (const step of supported) unfinished.push(...(await admin.apply(step)));
    const remaining = planTopics(required, await admin.describe(names)).steps;
    // A topic that was just created may already have a long enough retention by default.
    manualSteps = [...manualSteps, ...unfinished].filter((step) =>
      remaining.some(({ kind, topic }) => kind === step.kind && topic.name === step.topic.name),
    );
    const done = plan.steps.length - remaining.filter((one) => plan.steps.some((step) => isSame(step, one))).length;
    print(`${done} of ${plan.steps.length} steps are done.`);
    printManualSteps(manualSteps, print);
    for (const step of remaining)
      if (!manualSteps.some((other) => isSame(other, step))) print(`! not done: ${describeStep(step)}`);
    return remaining.length === 0 ? 0 : 2;
  }
  printManualSteps(manualSteps, print);
  if (manualSteps.length < plan.steps.length)
    print('Run "npm run topics -- apply" to make these changes, except those listed as commands.');
  return 2;
}

const isSame = (one: Step, other: Step): boolean => one.kind === other.kind && one.topic.name === other.topic.name;

function summarise(notVisible: string[]): string {
  const counts = new Map<string, number>();
  for (const line of notVisible) {
    const property = line.split(': ')[1] ?? line;
    counts.set(property, (counts.get(property) ?? 0) + 1);
  }
  return [...counts].map(([property, count]) => `the ${property} of ${count} topics`).join(', ');
}

function printManualSteps(steps: Step[], print: (line: string) => void): void {
  if (steps.length === 0) return;
  print('\nThis interface cannot make the following changes. With Kafka’s tools:\n');
  for (const step of steps) print(`  ${commandsFor(step).kafka}`);
  print('\nor with Redpanda’s:\n');
  for (const step of steps) print(`  ${commandsFor(step).rpk}`);
}
