import { execFile } from 'node:child_process';

/** Findings with these severities fail the check. */
const failingSeverities = ['high', 'critical'];

/**
 * High or critical findings that pass: the advisory's URL and the reason why it does no harm here. Only for development
 * packages, and only while no fixed version exists.
 */
const accepted: Record<string, string> = {};

type Report = {
  vulnerabilities: Record<string, { severity: string; via: (string | Advisory)[] }>;
};
type Advisory = { title?: string; url?: string; severity?: string };

const isReport = (value: unknown): value is Report =>
  typeof value === 'object' &&
  value !== null &&
  'vulnerabilities' in value &&
  typeof value.vulnerabilities === 'object';

/**
 * Summarizes the output of `npm audit --json`. Throws an error that lists each high or critical advisory that is
 * not accepted, with its URL. If the registry returned no report (no network, no audit service), the check passes, since that is no fault of
 * the code.
 */
export function summarizeAudit(output: string, acceptedUrls: Record<string, string> = accepted): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(output);
  } catch {
    parsed = undefined;
  }
  if (!isReport(parsed)) {
    const message = typeof parsed === 'object' && parsed !== null && 'message' in parsed ? String(parsed.message) : '';
    const reason = message || output.trim().slice(0, 100) || 'no output';
    return `NOT CHECKED, because the registry returned no report for npm audit: ${reason}`;
  }
  const findings = Object.entries(parsed.vulnerabilities);
  // If `via` names only packages, this package is affected through them. Their own entries have the advisories.
  const advisories = findings.flatMap(([name, { severity, via }]) =>
    via.filter((cause) => typeof cause !== 'string').map((cause) => ({ name, severity, ...cause })),
  );
  const failing = advisories
    .filter(({ severity, url = '' }) => failingSeverities.includes(severity) && !(url in acceptedUrls))
    .map(({ name, severity, title = '', url = '' }) => `${name} (${severity}): ${title} ${url}`);
  if (failing.length > 0) {
    throw new Error(`${failing.join('\n')}\nInstall a fixed version. If there is none, see docs/security.md.`);
  }
  return findings.length === 0
    ? 'no known vulnerability'
    : `${findings.length} findings, none high or critical except accepted ones`;
}

/** Asks a registry about every package in package-lock.json, including development packages. */
export function auditPackages(root: string, registry?: string): Promise<string> {
  const args = ['audit', '--include=dev', '--json', '--fetch-retries=0', '--fetch-timeout=15000'];
  if (registry !== undefined) args.push(`--registry=${registry}`);
  return new Promise((done, fail) => {
    // npm exits with 1 for any finding, so only its output counts.
    execFile('npm', args, { cwd: root, maxBuffer: 64 * 2 ** 20 }, (error, stdout) => {
      try {
        done(summarizeAudit(stdout || (error?.message ?? '')));
      } catch (failure) {
        fail(failure);
      }
    });
  });
}
