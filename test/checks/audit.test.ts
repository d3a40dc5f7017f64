import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { auditPackages, judgeAudit } from '../../dev/checks/audit.ts';

const url = 'https://github.com/advisories/GHSA-1';
const report = (severity: string) =>
  JSON.stringify({
    vulnerabilities: {
      hono: { severity, via: [{ title: 'Lets everybody in', url, severity }] },
      other: { severity, via: ['hono'] },
    },
  });

test('a package with a grave finding does not pass, and the finding is named', () => {
  for (const severity of ['high', 'critical']) {
    expect(() => judgeAudit(report(severity))).toThrow(`hono (${severity}): Lets everybody in ${url}`);
  }
});

test('what is not grave passes, and is counted', () => {
  expect(judgeAudit(report('moderate'))).toBe('2 findings, no grave one that is not accepted');
  expect(judgeAudit('{"vulnerabilities":{}}')).toBe('no known vulnerability');
});

test('an advisory that is accepted passes, and another one of the same package does not', () => {
  expect(judgeAudit(report('high'), { [url]: 'The tests only read it' })).toMatch(/^2 findings/);
  expect(() => judgeAudit(report('high'), { [`${url}0`]: 'Another one' })).toThrow(url);
});

test('a registry that has no answer is told as such, and nothing is claimed', () => {
  const refused = JSON.stringify({
    message: '405 Method Not Allowed - POST https://registry.example/',
    statusCode: 405,
  });
  expect(judgeAudit(refused)).toMatch(/^NOT CHECKED.*405 Method Not Allowed/);
  for (const printed of ['', 'npm error network', '{"error":{"code":"ENOTFOUND"}}', 'null']) {
    expect(judgeAudit(printed)).toMatch(/^NOT CHECKED/);
  }
});

test('the registry is asked about every package, those of development too', async () => {
  let asked: Record<string, string[]> = {};
  await using server = createServer(async (request, response) => {
    asked = JSON.parse(gunzipSync(await buffer(request)).toString()) as typeof asked;
    response.setHeader('Content-Type', 'application/json').end('{}');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;

  expect(await auditPackages(resolve(import.meta.dirname, '..', '..'), `http://127.0.0.1:${port}/`)).toBe(
    'no known vulnerability',
  );
  expect(Object.keys(asked)).toEqual(expect.arrayContaining(['hono', 'stripe', 'wrangler', 'vitest', 'workerd', 'pg']));
});
