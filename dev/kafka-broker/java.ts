import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { interruptWhenWeDie, isGoneWithin, run, signal } from '../support/process.ts';

export type Artifact = { groupId: string; artifactId: string; version: string };

/** What is missing to run Java programs from Maven Central, or null: Java 17 and Maven are there. */
export async function missingJava(): Promise<string | null> {
  const java = await run('java', ['-version']);
  if (java.code !== 0) return 'there is no Java here';
  const major = Number(/version "(\d+)/.exec(java.output)?.[1]);
  if (!(major >= 17)) return `Java is ${major || 'unknown'} here, and 17 is the least`;
  return (await run('mvn', ['-version'])).code === 0 ? null : 'there is no Maven here';
}

const element = ({ groupId, artifactId, version }: Artifact) =>
  `<dependency><groupId>${groupId}</groupId><artifactId>${artifactId}</artifactId><version>${version}</version></dependency>`;

/**
 * The class path of artifacts and all that they need, by Maven into Maven's own cache.
 * @throws Error with Maven's own first line, where it cannot be had
 */
export async function classPath(dir: string, artifacts: Artifact[]): Promise<string> {
  const folder = join(dir, artifacts.map(({ artifactId }) => artifactId).join('-'));
  const pom = join(folder, 'pom.xml');
  const output = join(folder, 'classpath');
  await mkdir(folder, { recursive: true });
  await writeFile(
    pom,
    `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>test</groupId>` +
      `<artifactId>test</artifactId><version>1</version><dependencies>${artifacts.map(element).join('')}</dependencies>` +
      `</project>`,
  );
  const goal = ['-B', '-q', '-f', pom, 'dependency:build-classpath', `-Dmdep.outputFile=${output}`];
  let said = '';
  // What is in the cache already needs no network.
  for (const offline of [['-o'], []]) {
    const maven = await run('mvn', [...offline, ...goal]);
    if (maven.code === 0) return (await readFile(output, 'utf8')).trim();
    said = maven.output;
  }
  const [reason = 'Maven failed'] = said.split('\n').filter((line) => line.includes('ERROR'));
  throw new Error(reason.replace(/^.*?ERROR\S*\s*/, '').slice(0, 300));
}

/** A small JVM that is up quickly: these run for minutes, beside others. */
const flags = [
  '-Xmx512m',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
];

export type Program = { pid: number; said: () => string; ended: Promise<void>; stop: () => Promise<void> };

/** Starts a Java program that ends with us, however we end. `stop` lets it end in its own way, for 30 s. */
export function startJava(classes: string, args: string[]): Program {
  const child: ChildProcess = spawn('java', [...flags, '-cp', classes, ...args], {
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const pid = child.pid ?? 0;
  const callOff = interruptWhenWeDie(-pid, {});
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
      callOff();
      resolve();
    });
  });
  return {
    pid,
    said: () => lines.join('\n').trim(),
    ended,
    async stop() {
      if (pid === 0 || child.exitCode !== null || child.signalCode !== null) return;
      signal(pid, 'SIGTERM');
      if (!(await isGoneWithin(pid, 30_000))) signal(-pid, 'SIGKILL');
      await ended;
    },
  };
}
