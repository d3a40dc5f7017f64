import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { interruptWhenWeDie, isGoneWithin, run, signal } from '../support/process.ts';

export type Artifact = { groupId: string; artifactId: string; version: string };

/** Checks for Java 17 and Maven. Returns what is missing, or null if both are installed. */
export async function missingJava(): Promise<string | null> {
  const java = await run('java', ['-version']);
  if (java.code !== 0) return 'Java is not installed';
  const major = Number(/version "(\d+)/.exec(java.output)?.[1]);
  if (!(major >= 17)) return `the version of Java is ${major || 'unknown'}, at least 17 is required`;
  return (await run('mvn', ['-version'])).code === 0 ? null : 'Maven is not installed';
}

const dependencyElement = ({ groupId, artifactId, version }: Artifact) =>
  `<dependency><groupId>${groupId}</groupId><artifactId>${artifactId}</artifactId><version>${version}</version></dependency>`;

/**
 * Returns the class path of the artifacts and their dependencies. Maven downloads them to its own cache.
 * @throws Error with Maven's first error line if Maven cannot load them
 */
export async function classPath(dir: string, artifacts: Artifact[]): Promise<string> {
  const folder = join(dir, artifacts.map(({ artifactId }) => artifactId).join('-'));
  const pom = join(folder, 'pom.xml');
  const output = join(folder, 'classpath');
  await mkdir(folder, { recursive: true });
  await writeFile(
    pom,
    `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>test</groupId>` +
      `<artifactId>test</artifactId><version>1</version><dependencies>${artifacts.map(dependencyElement).join('')}</dependencies>` +
      `</project>`,
  );
  const goal = ['-B', '-q', '-f', pom, 'dependency:build-classpath', `-Dmdep.outputFile=${output}`];
  let mavenOutput = '';
  // First without the network: the cache may have everything.
  for (const offline of [['-o'], []]) {
    const maven = await run('mvn', [...offline, ...goal]);
    if (maven.code === 0) return (await readFile(output, 'utf8')).trim();
    mavenOutput = maven.output;
  }
  const [reason = 'Maven failed'] = mavenOutput.split('\n').filter((line) => line.includes('ERROR'));
  throw new Error(reason.replace(/^.*?ERROR\S*\s*/, '').slice(0, 300));
}

/** A small JVM that starts fast: it runs for minutes, next to other processes. */
const jvmFlags = [
  '-Xmx512m',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
];

/** `output` returns the last lines that the program printed. */
export type Program = { pid: number; output: () => string; ended: Promise<void>; stop: () => Promise<void> };

/** Starts a Java program that ends when this process ends. `stop` kills it if it does not shut down within 30 s. */
export function startJava(classes: string, args: string[]): Program {
  const child: ChildProcess = spawn('java', [...jvmFlags, '-cp', classes, ...args], {
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const pid = child.pid ?? 0;
  const cancelInterrupt = interruptWhenWeDie(-pid, {});
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      lines.push(...chunk.toString().split('\n'));
      lines.splice(0, Math.max(0, lines.length - 60));
    });
  }
  const ended = new Promise<void>((resolve) => {
    child.on('error', (error) => {
      lines.push(error.message);
      resolve();
    });
    child.on('exit', () => {
      cancelInterrupt();
      resolve();
    });
  });
  return {
    pid,
    output: () => lines.join('\n').trim(),
    ended,
    async stop() {
      if (pid === 0 || child.exitCode !== null || child.signalCode !== null) return;
      signal(pid, 'SIGTERM');
      if (!(await isGoneWithin(pid, 30_000))) signal(-pid, 'SIGKILL');
      await ended;
    },
  };
}
