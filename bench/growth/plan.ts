/** The fields of a node of PostgreSQL's EXPLAIN (FORMAT JSON) that are read here. */
type Node = {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Index Searches'?: number;
  'Actual Rows'?: number;
  'Actual Loops'?: number;
  'Rows Removed by Filter'?: number;
  'Shared Hit Blocks'?: number;
  'Shared Read Blocks'?: number;
  Plans?: Node[];
};

/** One statement within a call: how often it ran, the blocks it touched in total, and its table scans. */
export type PlanLine = { statement: string; times: number; blocks: number; scans: string[] };

/**
 * The blocks that a call touched in total, and its statements, sorted by blocks in descending order. `levels`: how many
 * of the blocks are the upper levels of B-trees, of which a search touches one each. Only reads are counted.
 */
export type CallPlan = { blocks: number; levels: number; lines: PlanLine[] };

/** How often each index was searched. */
export type Searches = Map<string, number>;

const blocksOf = (node: Node): number => (node['Shared Hit Blocks'] ?? 0) + (node['Shared Read Blocks'] ?? 0);

function scansOf(node: Node): string[] {
  const target = [node['Index Name'], node['Relation Name']].filter((name) => name !== undefined).join(' on ');
  const rows = Math.round((node['Actual Rows'] ?? 0) * (node['Actual Loops'] ?? 1));
  const removed = (node['Rows Removed by Filter'] ?? 0) * (node['Actual Loops'] ?? 1);
  const ownScan =
    target === ''
      ? []
      : [`${node['Node Type']} ${target}: ${rows}${removed > 0 ? `, removed ${Math.round(removed)}` : ''}`];
  return [...ownScan, ...(node.Plans ?? []).flatMap(scansOf)];
}

function countSearches(node: Node, searches: Searches): void {
  const name = node['Index Name'];
  if (name !== undefined) searches.set(name, (searches.get(name) ?? 0) + (node['Index Searches'] ?? 0));
  for (const child of node.Plans ?? []) countSearches(child, searches);
}

/**
 * Parses the notices that auto_explain sent during one call (`auto_explain.log_format = json`). The outermost statement
 * comes last, and its blocks include those of all others. Keeps the `most` statements with the most blocks.
 */
export function readPlans(messages: string[], most: number): Omit<CallPlan, 'levels'> & { searches: Searches } {
  const lines = new Map<string, PlanLine>();
  const searches: Searches = new Map();
  let blocks = 0;
  for (const message of messages) {
    const start = message.indexOf('{');
    if (!message.startsWith('duration:') || start < 0) continue;
    const { 'Query Text': text, Plan: plan } = JSON.parse(message.slice(start)) as { 'Query Text': string; Plan: Node };
    const touched = blocksOf(plan);
    const statement = text.replace(/\s+/g, ' ').trim().slice(0, 90);
    blocks = touched;
    countSearches(plan, searches);
    const scans = scansOf(plan);
    if (touched === 0 || scans.length === 0) continue;
    const line = lines.get(statement) ?? { statement, times: 0, blocks: 0, scans };
    line.times++;
    line.blocks += touched;
    lines.set(statement, line);
  }
  const sorted = [...lines.values()].sort((a, b) => b.blocks - a.blocks);
  return { blocks, searches, lines: sorted.slice(0, most).map((line) => ({ ...line, scans: line.scans.slice(0, 6) })) };
}
