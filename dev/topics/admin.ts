import { openRest, parseJson, type Rest, type RestSettings, readText } from '../../src/events/kafka/http.ts';
import { type KafkaSettings, requireVariable, restSettings } from '../../src/events/kafka/publish/select.ts';
import type { BrokerTopic, Step } from './plan.ts';

/** The interface of one dialect to read and change topics. */
export type Admin = {
  /** The interface's name, for the first line of the output. */
  name: string;
  describe(names: string[]): Promise<Map<string, BrokerTopic>>;
  /** The steps that this interface can do. Others are done by hand. */
  supports: ReadonlySet<Step['kind']>;
  /** Does a step. Resolves with the parts that it could not do. */
  apply(step: Step): Promise<Step[]>;
};

const deadlineMs = 30_000;
const encode = encodeURIComponent;

/** Sends a request and resolves with the JSON of the response; undefined for 404. Throws for other errors. */
async function request(
  rest: Rest,
  method: string,
  path: string,
  body?: { type: string; text: string },
): Promise<unknown> {
  const response = await rest(method, path, body);
  const text = await readText(response);
  if (response.status === 404) return undefined;
  if (!response.ok) throw new Error(`${method} ${path} returned ${response.status}: ${text.slice(0, 200)}`);
  return text === '' ? null : parseJson(text);
}

const numberOf = (value: unknown): number | undefined =>
  value === undefined || value === null || Number.isNaN(Number(value)) ? undefined : Number(value);

async function describeEach(
  names: string[],
  describe: (name: string) => Promise<BrokerTopic>,
): Promise<Map<string, BrokerTopic>> {
  const found = new Map<string, BrokerTopic>();
  for (const name of names) found.set(name, await describe(name));
  return found;
}

type ConfluentTopic = { topic_name: string; partitions_count?: number };

/** Confluent's REST v3. Rule: docs.confluent.io/cloud/current/api.html, Topic and Configs (v3). */
function confluentAdmin(settings: RestSettings, clusterId: string, replicas: number | undefined): Admin {
  const rest = openRest({ ...settings, deadlineMs });
  const topics = `/v3/clusters/${encode(clusterId)}/topics`;
  const send = (method: string, path: string, value: unknown) =>
    request(rest, method, path, { type: 'application/json', text: JSON.stringify(value) });
  const throwIfNotFound = async (work: Promise<unknown>, name: string): Promise<void> => {
    if ((await work) === undefined) throw new Error(`${name} returned 404`);
  };
  return {
    name: `Confluent REST v3, cluster ${clusterId}`,
    supports: new Set(['create', 'partitions', 'retention']),
    async describe(names) {
      const list = (await request(rest, 'GET', topics)) as { data?: ConfluentTopic[] } | undefined;
      if (!Array.isArray(list?.data))
        throw new Error(
          `there is no cluster ${clusterId} at this address: check KAFKA_REST_URL and KAFKA_REST_CLUSTER_ID`,
        );
      const existing = new Map(list.data.map((topic) => [topic.topic_name, topic]));
      return describeEach(
        names.filter((name) => existing.has(name)),
        async (name) => {
          const config = (await request(rest, 'GET', `${topics}/${encode(name)}/configs/retention.ms`)) as {
            value?: unknown;
          };
          let partitions = existing.get(name)?.partitions_count;
          if (partitions === undefined) {
            const all = (await request(rest, 'GET', `${topics}/${encode(name)}/partitions`)) as { data?: unknown[] };
            partitions = all?.data?.length;
          }
          return { partitions, retentionMs: numberOf(config?.value) };
        },
      );
    },
    async apply({ kind, topic }) {
      const topicPath = `${topics}/${encode(topic.name)}`;
      const retention = { name: 'retention.ms', value: String(topic.retentionMs) };
      if (kind === 'create') {
        const size = { topic_name: topic.name, partitions_count: topic.partitions };
        const body = { ...size, ...(replicas && { replication_factor: replicas }), configs: [retention] };
        await throwIfNotFound(send('POST', topics, body), `POST ${topics}`);
      } else if (kind === 'partitions') {
        await throwIfNotFound(send('PATCH', topicPath, { partitions_count: topic.partitions }), `PATCH ${topicPath}`);
      } else
        await throwIfNotFound(
          send('PUT', `${topicPath}/configs/retention.ms`, { value: retention.value }),
          `PUT ${topicPath}/configs`,
        );
      return [];
    },
  };
}

type V2Topic = { partitions?: unknown[]; configs?: Record<string, unknown> };

/** Strimzi's bridge can create topics since 0.31, with partitions but without configuration. */
const canCreateTopics = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 0 || minor >= 31;
};

async function restV2Admin(settings: RestSettings, replicas: number | undefined): Promise<Admin> {
  const rest = openRest({ ...settings, deadlineMs });
  const about = await rest('GET', '/').then(readText);
  const version = /"bridge_version"\s*:\s*"([^"]+)"/.exec(about)?.[1];
  const canCreate = version !== undefined && canCreateTopics(version);
  return {
    name: version === undefined ? 'REST v2' : `Strimzi bridge ${version}`,
    supports: new Set(canCreate ? ['create'] : []),
    async describe(names) {
      const list = await request(rest, 'GET', '/topics');
      if (!Array.isArray(list))
        throw new Error('there is no REST v2 interface at this address: check KAFKA_REST_URL and KAFKA_REST_DIALECT');
      const existing = new Set(list.map(String));
      return describeEach(
        names.filter((name) => existing.has(name)),
        async (name) => {
          // Redpanda only lists names.
          const response = await rest('GET', `/topics/${encode(name)}`);
          const text = await readText(response);
          if (!response.ok) return {};
          const { partitions, configs } = parseJson(text) as V2Topic;
          const size = Array.isArray(partitions) ? { partitions: partitions.length } : {};
          return { ...size, retentionMs: numberOf(configs?.['retention.ms']) };
        },
      );
    },
    async apply({ topic }) {
      const size = { topic_name: topic.name, partitions_count: topic.partitions };
      const text = JSON.stringify({ ...size, ...(replicas && { replication_factor: replicas }) });
      const created = await request(rest, 'POST', '/admin/topics', { type: 'application/vnd.kafka.v2+json', text });
      if (created === undefined) throw new Error('POST /admin/topics returned 404');
      return [{ kind: 'retention', topic }];
    },
  };
}

/** Upstash's protocol lists topics with their partitions. Its interface to create them ended with the service. */
function upstashAdmin(settings: RestSettings): Admin {
  const rest = openRest({ ...settings, deadlineMs });
  return {
    name: 'Upstash REST',
    supports: new Set(),
    async describe(names: string[]) {
      const list = (await request(rest, 'GET', '/topics')) as Record<string, unknown> | undefined;
      if (typeof list !== 'object' || list === null)
        throw new Error(
          'there is no Upstash REST interface at this address: check KAFKA_REST_URL and KAFKA_REST_DIALECT',
        );
      const existing = names.filter((name) => Object.hasOwn(list, name));
      return describeEach(existing, async (name) => ({ partitions: numberOf(list[name]) }));
    },
    apply: async (step) => [step],
  };
}

/** Opens the admin interface of the configured dialect. `replicas`: copies of each partition; default: the broker's. */
export async function openAdmin(settings: KafkaSettings, replicas?: number): Promise<Admin> {
  const rest = restSettings(settings);
  switch (settings.KAFKA_REST_DIALECT) {
    case 'upstash':
      return upstashAdmin(rest);
    case 'confluent':
      return confluentAdmin(rest, requireVariable(settings, 'KAFKA_REST_CLUSTER_ID'), replicas);
    case 'rest-v2':
      return restV2Admin(rest, replicas);
  }
}
