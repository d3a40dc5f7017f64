import { execFile } from 'node:child_process';

/** Findings of these do not pass. */
const grave = ['high', 'critical'];

type Report = {
  vulnerabilities: Record<string, { severity: string; via: (string | { title?: string; url?: string })[] }>;
};

const isReport = (said: unknown): said is Report =>
  typeof said === 'object' && said !== null && 'vulnerabilities' in said && typeof said.vulnerabilities === 'object';

/**
 * What `npm audit --json` printed, in a word: nothing grave, or that nobody could be asked (no network, a registry that
 * has no such service). That is no fault of the code. Throws what is grave, with where to read of it.
 */
export function judgeAudit(printed: string): string {
  let said: unknown;
  try {
    said = JSON.parse(printed);
  } catch {
    said = undefined;
  }
  if (!isReport(said)) {
    const message = typeof said === 'object' && said !== null && 'message' in said ? String(said.message) : '';
    return `NOT ASKED, the registry has no answer: ${message || printed.trim().slice(0, 100) || 'it said nothing'}`;
  }
  const all = Object.entries(said.vulnerabilities);
  const faults = all
    .filter(([, { severity }]) => grave.includes(severity))
    .map(([name, { severity, via }]) => {
      const causes = via.map((cause) =>
        typeof cause === 'string' ? cause : `${cause.title ?? ''} ${cause.url ?? ''}`,
      );
      return `${name} (${severity}): ${causes.join('; ')}`;
    });
  if (faults.length > 0) throw new Error(faults.join('\n'));
  return all.length === 0 ? 'nothing is known of them' : `${all.length} findings, none of them grave`;
}

/** Asks the registry about what the Worker ships; tools of development are left out. */
export function auditPackages(root: string): Promise<string> {
  const args = ['audit', '--omit=dev', '--json', '--fetch-retries=0', '--fetch-timeout=15000'];
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
