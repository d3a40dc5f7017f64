import { expect, test } from 'vitest';
import { judgeAudit } from '../../dev/checks/audit.ts';

const report = (severity: string) =>
  JSON.stringify({
    vulnerabilities: {
      hono: { severity, via: [{ title: 'Lets everybody in', url: 'https://github.com/advisories/GHSA-1' }] },
      other: { severity: 'low', via: ['hono'] },
    },
  });

test('a package with a grave finding does not pass, and the finding is named', () => {
  for (const severity of ['high', 'critical']) {
    expect(() => judgeAudit(report(severity))).toThrow(
      `hono (${severity}): Lets everybody in https://github.com/advisories/GHSA-1`,
    );
  }
});

test('what is not grave passes, and is counted', () => {
  expect(judgeAudit(report('moderate'))).toBe('2 findings, none of them grave');
  expect(judgeAudit('{"vulnerabilities":{}}')).toBe('nothing is known of them');
});

test('a registry that has no answer is told as such, and nothing is claimed', () => {
  const refused = JSON.stringify({
    message: '405 Method Not Allowed - POST https://registry.example/',
    statusCode: 405,
  });
  expect(judgeAudit(refused)).toMatch(/^NOT ASKED.*405 Method Not Allowed/);
  for (const printed of ['', 'npm error network', '{"error":{"code":"ENOTFOUND"}}', 'null']) {
    expect(judgeAudit(printed)).toMatch(/^NOT ASKED/);
  }
});
