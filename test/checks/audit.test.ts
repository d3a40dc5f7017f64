import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { auditPackages, summarizeAudit } from '../../dev/checks/audit.ts';

const url = 'https://github.com/advisories/GHSA-1';
const report = (severity: string) =>
  JSON.stringify({
    vulnerabilities: {
      hono: { severity, via: [{ title: 'Authentication bypass', url, severity }] },
      other: { severity, via: ['hono'] },
    },
  });

test('a package with a high or critical finding fails the check, and the error names the finding', () => {
  for (const severity of ['high', 'critical']) {
    expect(() => summarizeAudit(report(severity))).toThrow(`hono (${severity}): Authentication bypass ${url}`);
  }
});

test('findings of lower severity pass and are counted', () => {
  expect(summarizeAudit(report('moderate'))).toBe('2 findings, none high or critical except accepted ones');
  expect(summarizeAudit('{"vulnerabilities":{}}')).toBe('no known vulnerability');
});

test('an accepted advisory passes, and another advisory of the same package does not', () => {
  expect(summarizeAudit(report('high'), { [url]: 'The tests only read it' })).toMatch(/^2 findings/);
  expect(() => summarizeAudit(report('high'), { [`${url}0`]: 'Another one' })).toThrow(url);
});

test('if the registry returns no report, the result says that nothing was checked', () => {
  const errorReport = JSON.stringify({
    message: '405 Method Not Allowed - POST https://registry.example/',
    statusCode: 405,
  });
  expect(summarizeAudit(errorReport)).toMatch(/^NOT CHECKED.*405 Method Not Allowed/);
  for (const output of ['', 'npm error network', '{"error":{"code":"ENOTFOUND"}}', 'null']) {
    expect(summarizeAudit(output)).toMatch(/^NOT CHECKED/);
  }
});

test('the registry is asked about every package, including development packages', async () => {
  let audited: Record<string, string[]> = {};
  await using server = createServer(async (request, response) => {
    audited = JSON.parse(gunzipSync(await buffer(request)).toString()) as typeof audited;
    response.setHeader('Content-Type', 'application/json').end('{}');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;

  expect(await auditPackages(resolve(import.meta.dirname, '..', '..'), `http://127.0.0.1:${port}/`)).toBe(
    'no known vulnerability',
  );
  expect(Object.keys(audited)).toEqual(
    expect.arrayContaining(['hono', 'stripe', 'wrangler', 'vitest', 'workerd', 'pg']),
  );
});
