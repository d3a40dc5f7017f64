import { defaultCell } from '../../src/base/cells.ts';
import { newId } from '../../src/base/ids.ts';
import { makeTeamCode } from '../../src/base/team-codes.ts';
import type { Case, Keys } from './case.ts';
import type { Facts } from './facts.ts';
import type { Statement } from './session.ts';

type Write = (name: string, input: unknown) => Statement;

const terms = { secureSeconds: 600, graceSeconds: 900, holdWithinSeconds: 345_600 };
const newIds = () => ({
  ...{ participantId: newId(new Date()), orderId: newId(new Date()), paymentId: newId(new Date()) },
});

/** Opening and joining teams of a campaign that has had many. */
export function teamCases({ teamCampaign, teams }: Facts, keys: Keys, write: Write): Case[] {
  const teamOf = (i: number) => teams[i % teams.length] ?? '';
  return [
    {
      name: 'open a team',
      request: (i) => ({
        ...{ method: 'POST', path: `/v1/campaigns/${teamCampaign}/teams` },
        ...{ body: { userId: `opener-${i}` }, key: keys.default },
      }),
      statement: (i) =>
        write('group_commerce.open_team', {
          ...{ campaignId: teamCampaign, teamId: newId(new Date()), code: makeTeamCode(defaultCell) },
          ...{ userId: `opener-${i}`, ...terms, ...newIds() },
        }),
    },
    {
      name: 'join a team',
      request: (i) => ({
        ...{ method: 'POST', path: `/v1/teams/${teamOf(i)}/join` },
        ...{ body: { userId: `member-${i}` }, key: keys.default },
      }),
      statement: (i) =>
        write('group_commerce.join_team', {
          ...{ teamId: teamOf(i), userId: `member-${i}-${newId(new Date())}`, ...terms, ...newIds() },
        }),
    },
  ];
}
