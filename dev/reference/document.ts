import { join } from 'node:path';
import { repository } from '../platform/settings.ts';
import { pythonSample, typescriptSample } from './calls.ts';
import { curlSample } from './curl.ts';
import { errorsInMarkdown } from './errors.ts';
import { eventCatalogue, eventGroups } from './events.ts';
import { pathsWithExamples, samples } from './examples.ts';
import { type OpenApi, operationsOf, type Parameter, type Sample } from './openapi.ts';
import { marks, shellSetup } from './shell.ts';

const aboutSamples = `## Samples

Each operation has a sample in curl, TypeScript and Python. They read the address of the API and your key from the
environment. Paste this into a shell first. The samples in curl can then be pasted in the order of this page: each sets
the variables that later ones need. They run in sh with \`curl\` and Node.

\`\`\`sh
${shellSetup(marks)}
\`\`\``;

const aboutEvents = `Every event is a record in Kafka, with the topic as its name, and can be read from \`GET /v1/events\`. The record's
value is the payload that stands here. Its headers (\`ce_…\`), or the members beside \`data\` where records have no headers,
are those of CloudEvents 1.0. Readers ignore members that they do not know: payloads only ever grow.`;

/** Optional parameters with their examples as offers: a request that is tried carries none of them by itself. */
function offeredParameters(parameters: OpenApi['components']['parameters']): OpenApi['components']['parameters'] {
  const entries = Object.entries(parameters).map(([name, parameter]): [string, Parameter] => {
    const { examples, ...schema } = parameter.schema;
    if (parameter.required || !Array.isArray(examples)) return [name, parameter];
    const offers = examples.map((value) => [String(value), { value, 'x-disabled': true }]);
    return [name, { ...parameter, schema, examples: Object.fromEntries(offers) }];
  });
  return Object.fromEntries(entries);
}

/**
 * The document that the page shows: the published one, with an example of every request and answer, three samples for
 * every operation, the codes of errors, and the event catalogue.
 */
export async function referenceDocument(published: object): Promise<OpenApi> {
  const document = structuredClone(published) as OpenApi;
  document.paths = pathsWithExamples(document);
  for (const placed of operationsOf(document)) {
    placed.operation['x-codeSamples'] = [
      { lang: 'shell', label: 'curl', source: curlSample(placed) },
      { lang: 'typescript', label: 'TypeScript', source: typescriptSample(placed) },
      { lang: 'python', label: 'Python', source: pythonSample(placed) },
    ] satisfies Sample[];
  }
  const { info, tags, components } = document;
  return {
    ...document,
    info: { ...info, description: `${info.description}\n\n${aboutSamples}\n\n${errorsInMarkdown(document)}` },
    components: { ...components, parameters: offeredParameters(components.parameters) },
    tags: [...tags, ...eventGroups.map(({ name }) => ({ name, description: aboutEvents }))],
    webhooks: await eventCatalogue(join(repository, 'schemas')),
    'x-samples': samples,
    'x-tagGroups': [
      { name: 'API', tags: tags.map(({ name }) => name) },
      { name: 'Event catalogue', tags: eventGroups.map(({ name }) => name) },
    ],
  };
}
