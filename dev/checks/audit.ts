import { execFile } from 'node:child_process';

/** Findings of these do not pass. */
const grave = ['high', 'critical'];

/**
 * Grave findings that pass: the address of the advisory, and why it does no harm here. Only for packages of development,
 * and only while no fixed version exists.
 */
const accepted: Record<string, string> = {};

type Report = {
  vulnerabilities: Record<string, { severity: string; via: (string | Advisory)[] }>;
};
type Advisory = { title?: string; url?: string; severity?: string };

const isReport = (said: unknown): said is Report =>
  typeof said === 'object' && said !== null && 'vulnerabilities' in said && typeof said.vulnerabilities === 'object';

/**
 * What `npm audit --json` printed, in a word: nothing grave, or that the registry did not answer (no network, a registry
 * without this service), which is no fault of the code. Throws each grave advisory, with where to read of it.
 */
export function judgeAudit(printed: string, passes: Record<string, string> = accepted): string {
  let said: unknown;
  try {
    said = JSON.parse(printed);
  } catch {
    said = undefined;
  }
  if (!isReport(said)) {
    const message = typeof said === 'object' && said !== null && 'message' in said ? String(said.message) : '';
    const why = message || printed.trim().slice(0, 100) || 'it printed nothing';
    return `NOT CHECKED, because the registry did not answer npm audit: ${why}`;
  }
  const found = Object.entries(said.vulnerabilities);
  // A package whose `via` only names packages is affected by them. They are listed themselves.
  const advisories = found.flatMap(([name, { severity, via }]) =>
    via.filter((cause) => typeof cause !== 'string').map((cause) => ({ name, severity, ...cause })),
  );
  const faults = advisories
    .filter(({ severity, url = '' }) => grave.includes(severity) && !(url in passes))
    .map(({ name, severity, title = '', url = '' }) => `${name} (${severity}): ${title} ${url}`);
  if (faults.length > 0) {
    throw new Error(`${faults.join('\n')}\nInstall a fixed version. If there is none, see docs/security.md.`);
  }
  return found.length === 0 ? 'no known vulnerability' : `${found.length} findings, no grave one that is not accepted`;
}

/** Asks a registry about every package in the lock, those of development too. */
export function auditPackages(root: string, registry?: string): Promise<string> {
  const args = ['audit', '--include=dev', '--json', '--fetch-retries=0', '--fetch-timeout=15000'];
  if (registry !== undefined) args.push(`--registry=${registry}`);
  return new Promise((done, fail) => {
    // It exits with 1 for any finding at all; what it printed decides.
    execFile('npm', args, { cwd: root, maxBuffer: 64 * 2 ** 20 }, (error, stdout) => {
      try {
        done(judgeAudit(stdout || (error?.message ?? '')));
      } catch (fault) {
        fail(fault);
      }
    });
  });
}
