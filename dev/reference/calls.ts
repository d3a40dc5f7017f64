import { inPython, inTypeScript, sampleFile } from './literals.ts';
import type { ResolvedOperation } from './openapi.ts';
import { browserSamples, signedSamples } from './special-samples.ts';

/** The parts of a request that the samples in every language need. */
type Request = {
  method: string;
  path: string;
  needsKey: boolean;
  takesIdempotencyKey: boolean;
  mediaType: string | undefined;
  body: unknown;
};

function requestOf({ path, method, operation, parameters }: ResolvedOperation): Request {
  const [mediaType, media] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  return {
    method,
    path: path.replaceAll(/\{(\w+)\}/g, (whole, name) => {
      const parameter = parameters.find((candidate) => candidate.in === 'path' && candidate.name === name);
      return encodeURIComponent(String(parameter?.example ?? whole));
    }),
    needsKey: operation.security.length > 0,
    takesIdempotencyKey: parameters.some(({ name }) => name === 'Idempotency-Key'),
    mediaType,
    body: media?.example,
  };
}

/** The kind of body that a successful response has. */
function successOf({ operation }: ResolvedOperation): 'nothing' | 'json' | 'file' {
  const successes = Object.entries(operation.responses).filter(([status]) => status.startsWith('2'));
  const types = successes.flatMap(([, response]) => ('$ref' in response ? [] : Object.keys(response.content ?? {})));
  if (types.length === 0) return 'nothing';
  return types.includes('application/json') ? 'json' : 'file';
}

const isImage = (mediaType: string | undefined): boolean => mediaType?.startsWith('image/') ?? false;

/** The name under which a sample saves the file in a response. */
const savedFile = ({ operation }: ResolvedOperation): string =>
  operation.operationId === 'getMedia' ? sampleFile : 'label.pdf';

/** An operation's sample in TypeScript. It uses `fetch`, which Node, Workers and browsers have. */
export function typescriptSample(resolved: ResolvedOperation): string {
  const browserSample = browserSamples[resolved.operation.operationId];
  if (browserSample) return browserSample;
  const signed = signedSamples[resolved.operation.operationId];
  if (signed) return signed.typescript;
  const { method, path, needsKey, takesIdempotencyKey, mediaType, body } = requestOf(resolved);
  const success = successOf(resolved);
  const headers = [
    ...(needsKey ? [`Authorization: \`Bearer \${process.env.KEY}\``] : []),
    ...(takesIdempotencyKey ? [`'Idempotency-Key': crypto.randomUUID()`] : []),
    ...(mediaType === undefined ? [] : [`'Content-Type': '${mediaType}'`]),
  ];
  const isJson = mediaType === 'application/json';
  const isFile = isImage(mediaType);
  const options = [
    ...(method === 'get' ? [] : [`  method: '${method.toUpperCase()}',\n`]),
    ...(headers.length === 0 ? [] : [`  headers: {\n${headers.map((line) => `    ${line},\n`).join('')}  },\n`]),
    ...(mediaType === undefined
      ? []
      : isFile
        ? [`  body: await readFile('${sampleFile}'),\n`]
        : [`  body: ${isJson ? `JSON.stringify(${inTypeScript(body, 1)})` : inTypeScript(body, 1)},\n`]),
  ];
  const optionsArgument = options.length === 0 ? '' : `, {\n${options.join('')}}`;
  const handleSuccess = {
    nothing: 'console.log(response.status);',
    json: 'console.log(await response.json());',
    file: `await writeFile('${savedFile(resolved)}', new Uint8Array(await response.arrayBuffer()));`,
  }[success];
  const used = success === 'file' ? 'writeFile' : isFile ? 'readFile' : undefined;
  return `${used === undefined ? '' : `import { ${used} } from 'node:fs/promises';\n\n`}const response = await fetch(\`\${process.env.API}${path}\`${optionsArgument});
if (!response.ok) throw new Error(\`\${response.status} \${await response.text()}\`);
${handleSuccess}`;
}

/** An operation's sample in Python. It uses the library `requests`. */
export function pythonSample(resolved: ResolvedOperation): string {
  const signed = signedSamples[resolved.operation.operationId];
  if (signed) return signed.python;
  const { method, path, needsKey, takesIdempotencyKey, mediaType, body } = requestOf(resolved);
  const isStream = resolved.operation.operationId in browserSamples;
  const success = successOf(resolved);
  const isJson = mediaType === 'application/json';
  const headers = [
    ...(needsKey ? [`"Authorization": f"Bearer {os.environ['KEY']}"`] : []),
    ...(takesIdempotencyKey ? ['"Idempotency-Key": str(uuid.uuid4())'] : []),
    ...(mediaType === undefined || isJson ? [] : [`"Content-Type": "${mediaType}"`]),
  ];
  const requestArguments = [
    `    f"{os.environ['API']}${path}",\n`,
    ...(headers.length === 0 ? [] : [`    headers={\n${headers.map((line) => `        ${line},\n`).join('')}    },\n`]),
    ...(mediaType === undefined
      ? []
      : isImage(mediaType)
        ? [`    data=open("${sampleFile}", "rb"),\n`]
        : [isJson ? `    json=${inPython(body, 1)},\n` : `    data=${inPython(body, 1)}.encode(),\n`]),
    ...(isStream ? ['    stream=True,\n'] : []),
    `    timeout=${isStream ? 60 : 30},\n`,
  ];
  const saveFile = `with open("${savedFile(resolved)}", "wb") as file:\n    file.write(response.content)`;
  const printLines = 'for line in response.iter_lines(decode_unicode=True):\n    print(line)';
  const handleSuccess = {
    nothing: 'print(response.status_code)',
    json: 'print(response.json())',
    file: isStream ? printLines : saveFile,
  };
  return `import os
${takesIdempotencyKey ? 'import uuid\n' : ''}
import requests

response = requests.${method}(
${requestArguments.join('')})
response.raise_for_status()
${handleSuccess[success]}`;
}
