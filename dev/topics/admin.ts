import { openRest, parseJson, type Rest, type RestSettings, readText } from '../../src/events/kafka/http.ts';
import { type KafkaSettings, requireVariable, restSettings } from '../../src/events/kafka/publish/select.ts';
import type { Found, Step } from './plan.ts';

/** What the chosen dialect lets us see and do with topics. */
export type Admin = {
  /** Who answers, for the heading of the plan. */
  name: string;
  describe(names: string[]): Promise<Map<string, Found>>;
  /** Steps that this interface has; others are done by hand. */
  can: ReadonlySet<Step['kind']>;
  /** Does a step; answers what it could not do of it. */
  apply(step: Step): Promise<Step[]>;
};

const deadlineMs = 30_000;
const path = encodeURIComponent;

async function ask(rest: Rest, method: string, at: string, body?: { type: string; text: string }): Promise<unknown> {
  const response = await rest(method, at, body);
  const text = await readText(response);
  if (response.status === 404) return undefined;
  if (!response.ok) throw new Error(`${method} ${at}: ${response.status} ${text.slice(0, 200)}`);
  return text === '' ? null : parseJson(text);
}

const numberOf = (value: unknown): number | undefined =>
  value === undefined || value === null || Number.isNaN(Number(value)) ? undefined : Number(value);

async function describeEach(names: string[], describe: (name: string) => Promise<Found>): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  for (const name of names) found.set(name, await describe(name));
  return found;
}

type ConfluentTopic = { topic_name: string; partitions_count?: number };

/** Confluent's REST v3. Rule: docs.confluent.io/cloud/current/api.html, Topic and Configs (v3). */
function confluentAdmin(settings: RestSettings, clusterId: string, replicas: number | undefined): Admin {
  const rest = openRest({ ...settings, deadlineMs });
  const topics = `/v3/clusters/${path(clusterId)}/topics`;
  const send = (method: string, at: string, value: unknown) =>
    ask(rest, method, at, { type: 'application/json', text: JSON.stringify(value) });
  const must = async (work: Promise<unknown>, what: string): Promise<void> => {
    if ((await work) === undefined) throw new Error(`${what}: 404`);
  };
  return {
    name: `Confluent REST v3, cluster ${clusterId}`,
    can: new Set(['create', 'partitions', 'retention']),
    async describe(names) {
      const list = (await ask(rest, 'GET', topics)) as { data?: ConfluentTopic[] } | undefined;
      if (!Array.isArray(list?.data)) throw new Error(`there is no cluster ${clusterId} at this address`);
      const there = new Map(list.data.map((topic) => [topic.topic_name, topic]));
      return describeEach(
        names.filter((name) => there.has(name)),
        async (name) => {
          const config = (await ask(rest, 'GET', `${topics}/${path(name)}/configs/retention.ms`)) as {
            value?: unknown;
          };
          let partitions = there.get(name)?.partitions_count;
          if (partitions === undefined) {
            const all = (await ask(rest, 'GET', `${topics}/${path(name)}/partitions`)) as { data?: unknown[] };
            partitions = all?.data?.length;
          }
          return { partitions, retentionMs: numberOf(config?.value) };
        },
      );
    },
    async apply({ kind, topic }) {
      const at = `${topics}/${path(topic.name)}`;
      const retention = { name: 'retention.ms', value: String(topic.retentionMs) };
      if (kind === 'create') {
        const size = { topic_name: topic.name, partitions_count: topic.partitions };
        const body = { ...size, ...(replicas && { replication_factor: replicas }), configs: [retention] };
        await must(send('POST', topics, body), `POST ${topics}`);
      } else if (kind === 'partitions') {
        await must(send('PATCH', at, { partitions_count: topic.partitions }), `PATCH ${at}`);
      } else await must(send('PUT', `${at}/configs/retention.ms`, { value: retention.value }), `PUT ${at}/configs`);
      return [];
    },
  };
}

type V2Topic = { partitions?: unknown[]; configs?: Record<string, unknown> };

/** Strimzi's bridge makes topics since 0.31, with partitions and without configuration. */
const makesTopics = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 0 || minor >= 31;
};

async function restV2Admin(settings: RestSettings, replicas: number | undefined): Promise<Admin> {
  const rest = openRest({ ...settings, deadlineMs });
  const about = await rest('GET', '/').then(readText);
  const version = /"bridge_version"\s*:\s*"([^"]+)"/.exec(about)?.[1];
  const creates = version !== undefined && makesTopics(version);
  return {
    name: version === undefined ? 'REST v2' : `Strimzi bridge ${version}`,
    can: new Set(creates ? ['create'] : []),
    async describe(names) {
      const list = await ask(rest, 'GET', '/topics');
      if (!Array.isArray(list)) throw new Error('there is no REST v2 at this address');
      const there = new Set(list.map(String));
      return describeEach(
        names.filter((name) => there.has(name)),
        async (name) => {
          // Redpanda has a list of names and no more.
          const response = await rest('GET', `/topics/${path(name)}`);
          const text = await readText(response);
          if (!response.ok) return {};
          const { partitions, configs } = parseJson(text) as V2Topic;
          const found = Array.isArray(partitions) ? { partitions: partitions.length } : {};
          return { ...found, retentionMs: numberOf(configs?.['retention.ms']) };
        },
      );
    },
    async apply({ topic }) {
      const size = { topic_name: topic.name, partitions_count: topic.partitions };
      const text = JSON.stringify({ ...size, ...(replicas && { replication_factor: replicas }) });
      const answer = await ask(rest, 'POST', '/admin/topics', { type: 'application/vnd.kafka.v2+json', text });
      if (answer === undefined) throw new Error('POST /admin/topics: 404');
      return [{ kind: 'retention', topic }];
    },
  };
}

/** Upstash's protocol lists topics with their partitions; its interface for making them went with the service. */
function upstashAdmin(settings: RestSettings): Admin {
  const rest = openRest({ ...settings, deadlineMs });
  return {
    name: 'Upstash REST',
    can: new Set(),
    async describe(names: string[]) {
      const list = (await ask(rest, 'GET', '/topics')) as Record<string, unknown> | undefined;
      if (typeof list !== 'object' || list === null) throw new Error('there is no Upstash REST at this address');
      const there = names.filter((name) => Object.hasOwn(list, name));
      return describeEach(there, async (name) => ({ partitions: numberOf(list[name]) }));
    },
    apply: async (step) => [step],
  };
}

/** The admin interface of the chosen dialect. `replicas`: for each partition of a new topic; the broker's default if not given. */
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
