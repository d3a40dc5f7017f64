import { createServer } from 'node:net';
import type { Port } from './settings.ts';

/** Throws if two parts were given one port, or if a port is taken; it names the variables that move them. */
export async function checkPorts(ports: Port[]): Promise<void> {
  const problems: string[] = [];
  for (const [i, { port, part, variable }] of ports.entries()) {
    const earlier = ports.slice(0, i).find((other) => other.port === port);
    if (earlier) problems.push(`${earlier.variable} and ${variable} are both ${port}`);
    else problems.push(...(await findFault(port)).map((fault) => `port ${port} for ${part} ${fault} ${variable}`));
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

function findFault(port: number): Promise<string[]> {
  return new Promise((resolve) => {
    const server = createServer();
    server.on('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      resolve([`${taken ? 'is taken' : `cannot be used (${error.code})`}: end what listens there, or set`]);
    });
    server.listen(port, '127.0.0.1', () => server.close(() => resolve([])));
  });
}
