import { inPython, inTypeScript } from './literals.ts';
import type { Placed } from './openapi.ts';
import { browserSample, signedSamples } from './special-samples.ts';

/** What a client sends, in the parts that both languages write. */
type Call = { method: string; path: string; secured: boolean; keyed: boolean; type: string | undefined; body: unknown };

function callOf({ path, method, operation, parameters }: Placed): Call {
  const [type, media] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  return {
    method,
    path: path.replaceAll(/\{(\w+)\}/g, (whole, name) => {
      const parameter = parameters.find((one) => one.in === 'path' && one.name === name);
      return encodeURIComponent(String(parameter?.example ?? whole));
    }),
    secured: operation.security.length > 0,
    keyed: parameters.some(({ name }) => name === 'Idempotency-Key'),
    type,
    body: media?.example,
  };
}

/** How an operation's success comes: with nothing, as JSON, or as a file. */
function successOf({ operation }: Placed): 'nothing' | 'json' | 'file' {
  const good = Object.entries(operation.responses).filter(([status]) => status.startsWith('2'));
  const types = good.flatMap(([, answer]) => ('$ref' in answer ? [] : Object.keys(answer.content ?? {})));
  if (types.length === 0) return 'nothing';
  return types.includes('application/json') ? 'json' : 'file';
}

/** One operation's sample in TypeScript: fetch, which Node, Workers and browsers have. */
export function typescriptSample(placed: Placed): string {
  if (placed.operation.operationId === 'watchCampaign') return browserSample;
  const signed = signedSamples[placed.operation.operationId];
  if (signed) return signed.typescript;
  const { method, path, secured, keyed, type, body } = callOf(placed);
  const success = successOf(placed);
  const headers = [
    ...(secured ? [`Authorization: \`Bearer \${process.env.KEY}\``] : []),
    ...(keyed ? [`'Idempotency-Key': crypto.randomUUID()`] : []),
    ...(type === undefined ? [] : [`'Content-Type': '${type}'`]),
  ];
  const isJson = type === 'application/json';
  const options = [
    ...(method === 'get' ? [] : [`  method: '${method.toUpperCase()}',\n`]),
    ...(headers.length === 0 ? [] : [`  headers: {\n${headers.map((line) => `    ${line},\n`).join('')}  },\n`]),
    ...(type === undefined
      ? []
      : [`  body: ${isJson ? `JSON.stringify(${inTypeScript(body, 1)})` : inTypeScript(body, 1)},\n`]),
  ];
  const given = options.length === 0 ? '' : `, {\n${options.join('')}}`;
  const shown = {
    nothing: 'console.log(response.status);',
    json: 'console.log(await response.json());',
    file: "await writeFile('label.pdf', new Uint8Array(await response.arrayBuffer()));",
  }[success];
  return `${success === 'file' ? "import { writeFile } from 'node:fs/promises';\n\n" : ''}const response = await fetch(\`\${process.env.API}${path}\`${given});
if (!response.ok) throw new Error(\`\${response.status} \${await response.text()}\`);
${shown}`;
}

/** One operation's sample in Python: requests. */
export function pythonSample(placed: Placed): string {
  const signed = signedSamples[placed.operation.operationId];
  if (signed) return signed.python;
  const { method, path, secured, keyed, type, body } = callOf(placed);
  const isStream = placed.operation.operationId === 'watchCampaign';
  const success = successOf(placed);
  const isJson = type === 'application/json';
  const headers = [
    ...(secured ? [`"Authorization": f"Bearer {os.environ['KEY']}"`] : []),
    ...(keyed ? ['"Idempotency-Key": str(uuid.uuid4())'] : []),
    ...(type === undefined || isJson ? [] : [`"Content-Type": "${type}"`]),
  ];
  const given = [
    `    f"{os.environ['API']}${path}",\n`,
    ...(headers.length === 0 ? [] : [`    headers={\n${headers.map((line) => `        ${line},\n`).join('')}    },\n`]),
    ...(type === undefined
      ? []
      : [isJson ? `    json=${inPython(body, 1)},\n` : `    data=${inPython(body, 1)}.encode(),\n`]),
    ...(isStream ? ['    stream=True,\n'] : []),
    `    timeout=${isStream ? 60 : 30},\n`,
  ];
  const file = 'with open("label.pdf", "wb") as file:\n    file.write(response.content)';
  const lines = 'for line in response.iter_lines(decode_unicode=True):\n    print(line)';
  const shown = {
    nothing: 'print(response.status_code)',
    json: 'print(response.json())',
    file: isStream ? lines : file,
  };
  return `import os
${keyed ? 'import uuid\n' : ''}
import requests

response = requests.${method}(
${given.join('')})
response.raise_for_status()
${shown[success]}`;
}
