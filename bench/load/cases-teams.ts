import { amountOf, type Bench, type Case, type Turn } from './case.ts';
import type { Loaded, Recipe } from './job.ts';
import { seedTeams } from './seed.ts';

const filledTeams = 1_000;

const send = (bench: Bench, turn: Turn, recipe: Recipe): Promise<Loaded> =>
  bench.load.run({
    ...turn,
    url: bench.fixture.api,
    headers: { authorization: `Bearer ${bench.fixture.secretKey}` },
    recipe,
  });

const firstCampaign = ({ shop }: Bench): string => shop.teamCampaigns[0] as string;

const prepareTeams = async ({ fixture }: Bench, turn: Turn, campaigns: string[]) => ({
  teams: await seedTeams(fixture, campaigns, Math.ceil(amountOf(turn, 400) / 2)),
});

const joinTeams = (bench: Bench, turn: Turn, { teams = [] }: { teams?: string[] }): Promise<Loaded> =>
  send(bench, { ...turn, for: { amount: teams.length * 2 } }, { kind: 'team-join', teams, places: 2 });

/** Teams of three. */
export const teamCases: Case[] = [
  {
    name: 'team-open',
    title: 'team opened, one campaign',
    against: ['limit-insert', 'order'],
    sinks: 'none',
    counted: true,
    run: (bench, turn) => send(bench, turn, { kind: 'team-open', campaign: firstCampaign(bench) }),
  },
  {
    name: 'team-join',
    title: 'join of a team, teams of one campaign',
    // Its places take units of one product, as this order does.
    against: ['limit-insert', 'order-hot'],
    sinks: 'none',
    counted: true,
    prepare: (bench, turn) => prepareTeams(bench, turn, [firstCampaign(bench)]),
    run: joinTeams,
  },
  {
    name: 'team-join-100',
    title: 'join of a team, teams of 100 campaigns',
    against: ['limit-insert', 'order'],
    sinks: 'none',
    counted: false,
    prepare: (bench, turn) => prepareTeams(bench, turn, bench.shop.teamCampaigns.slice(1)),
    run: joinTeams,
  },
  {
    name: 'teams-fill',
    title: '1,000 teams opened and filled at once, one campaign',
    against: ['team-join', 'order'],
    sinks: 'none',
    counted: false,
    run(bench, turn) {
      // As many teams for each client, so that every team is filled.
      const amount = Math.ceil((turn.warmUp ? 50 : filledTeams) / turn.clients) * turn.clients;
      return send(bench, { ...turn, for: { amount } }, { kind: 'team-fill', campaign: firstCampaign(bench) });
    },
  },
];
