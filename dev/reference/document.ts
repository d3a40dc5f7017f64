import { join } from 'node:path';
import { repository } from '../platform/settings.ts';
import { pythonSample, typescriptSample } from './calls.ts';
import { curlSample } from './curl.ts';
import { errorsInMarkdown } from './errors.ts';
import { eventCatalogue, eventGroups } from './events.ts';
import { pathsWithExamples, samples } from './examples.ts';
import { type CodeSample, type OpenApi, operationsOf, type Parameter } from './openapi.ts';
import { placeholders, shellSetup } from './shell.ts';

const aboutSamples = `## Samples

Each operation has a sample in curl, TypeScript and Python. The samples read the URL of the API and your key from
environment variables: paste this block into a shell first. Then paste the curl samples in the order of this page, because
each sets variables that later ones use. They need sh, \`curl\` and Node.

\`\`\`sh
${shellSetup(placeholders)}
\`\`\``;

const aboutEvents = `## Events

Every event is a record of the Kafka topic with the event's name. \`GET /v1/events\` returns the same events.
The value of the record is the payload that the event catalogue describes. The attributes of CloudEvents 1.0 are in the
record's headers (\`ce_…\`), or beside \`data\` where records have no headers. Ignore fields that you do not know: later
versions may add fields to payloads.`;

/**
 * Makes the examples of optional parameters a choice, so that "Try it" sends none of them unless the reader picks one.
 */
function disableOptionalExamples(parameters: OpenApi['components']['parameters']): OpenApi['components']['parameters'] {
  const entries = Object.entries(parameters).map(([name, parameter]): [string, Parameter] => {
    const { examples, ...schema } = parameter.schema;
    if (parameter.required || !Array.isArray(examples)) return [name, parameter];
    const choices = examples.map((value) => [String(value), { value, 'x-disabled': true }]);
    return [name, { ...parameter, schema, examples: Object.fromEntries(choices) }];
  });
  return Object.fromEntries(entries);
}

/**
 * The document that the page shows: the published one, plus an example of every request and response, three code
 * samples for every operation, the error codes and the event catalogue.
 */
export async function referenceDocument(published: object): Promise<OpenApi> {
  const document = structuredClone(published) as OpenApi;
  document.paths = pathsWithExamples(document);
  for (const resolved of operationsOf(document)) {
    resolved.operation['x-codeSamples'] = [
      { lang: 'shell', label: 'curl', source: curlSample(resolved) },
      { lang: 'typescript', label: 'TypeScript', source: typescriptSample(resolved) },
      { lang: 'python', label: 'Python', source: pythonSample(resolved) },
    ] satisfies CodeSample[];
  }
  const { info, tags, components } = document;
  return {
    ...document,
    info: {
      ...info,
      description: `${info.description}\n\n${aboutSamples}\n\n${aboutEvents}\n\n${errorsInMarkdown(document)}`,
    },
    components: { ...components, parameters: disableOptionalExamples(components.parameters) },
    tags: [...tags, ...eventGroups.map(({ name }) => ({ name }))],
    webhooks: await eventCatalogue(join(repository, 'schemas')),
    'x-samples': samples,
    'x-tagGroups': [
      { name: 'API', tags: tags.map(({ name }) => name) },
      { name: 'Event catalogue', tags: eventGroups.map(({ name }) => name) },
    ],
  };
}
