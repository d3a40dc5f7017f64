import { createServer } from 'node:net';
import type { Port } from './settings.ts';

/** Throws if two parts have the same port or a port is in use. The error names the variables that change them. */
export async function checkPorts(ports: Port[]): Promise<void> {
  const problems: string[] = [];
  for (const [i, { port, part, variable }] of ports.entries()) {
    const earlier = ports.slice(0, i).find((other) => other.port === port);
    if (earlier) problems.push(`${earlier.variable} and ${variable} are both ${port}: set one of them to another port`);
    else
      problems.push(
        ...(await findProblem(port)).map((problem) => `port ${port} for ${part} ${problem}: ${remedy(variable)}`),
      );
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

const remedy = (variable: string): string => `stop the program that uses it, or set ${variable} to another port`;

/** Why this port cannot be listened on; empty if it can. */
function findProblem(port: number): Promise<string[]> {
  return new Promise((resolve) => {
    const server = createServer();
    server.on('error', (error: NodeJS.ErrnoException) => {
      resolve([error.code === 'EADDRINUSE' ? 'is in use' : `cannot be used (${error.code})`]);
    });
    server.listen(port, '127.0.0.1', () => server.close(() => resolve([])));
  });
}
