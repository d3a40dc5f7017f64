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

/** Teams of three in one campaign. */
export const teamCases: Case[] = [
  {
    name: 'team-open',
    title: 'team opened, one campaign',
    against: ['limit-insert', 'order'],
    sinks: 'none',
    counted: true,
    run: (bench, turn) => send(bench, turn, { kind: 'team-open', campaign: bench.shop.teamCampaign }),
  },
  {
    name: 'team-join',
    title: 'join of a team, teams of one campaign',
    against: ['limit-insert', 'order'],
    sinks: 'none',
    counted: true,
    async prepare(bench, turn) {
      const { fixture, shop } = bench;
      return { teams: await seedTeams(fixture, shop.teamCampaign, Math.ceil(amountOf(turn, 400) / 2)) };
    },
    run: (bench, turn, { teams = [] }) =>
      send(bench, { ...turn, for: { amount: teams.length * 2 } }, { kind: 'team-join', teams, places: 2 }),
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
      return send(bench, { ...turn, for: { amount } }, { kind: 'team-fill', campaign: bench.shop.teamCampaign });
    },
  },
];
