import type { Books, EventRow } from '../books.ts';
import { type Check, groupBy } from '../finding.ts';
import type { ParticipantRow, TeamRow } from '../group-books.ts';

const prefix = 'group-commerce.team';
const keepsPlaces = (status: string) => status === 'forming' || status === 'successful';
const isLive = ({ state }: ParticipantRow) => state !== 'released';

/** A place was left, and not released because its team or campaign ended. */
export const wasLeft = ({ state, reason }: ParticipantRow): boolean =>
  state === 'released' && !/^(campaign|team)_/.test(reason ?? '');

const placesByTeam = (books: Books) => groupBy(books.participants, ({ team }) => team ?? '');

const counts: Check = {
  name: "a team's counts match its places, and a member leads it",
  run(books, report) {
    const places = placesByTeam(books);
    for (const team of books.teams) {
      const live = (places.get(team.id) ?? []).filter(isLive);
      if (live.length > team.size) report(team.id, `it has ${live.length} places, but its size is ${team.size}`);
      for (const [user, same] of groupBy(live, ({ user }) => user)) {
        if (same.length > 1) report(team.id, `${user} has ${same.length} places`);
      }
      if (!keepsPlaces(team.status)) continue;
      if (team.joined !== live.length) report(team.id, `it counts ${team.joined} places, but ${live.length} are taken`);
      const secured = live.filter((place) => place.secured).length;
      if (team.secured !== secured) report(team.id, `it counts ${team.secured} secured places, but ${secured} are`);
      if (live.length > 0 && !live.some(({ user }) => user === team.leader))
        report(team.id, `its leader ${team.leader} has no place in it`);
    }
    const known = new Map(books.teams.map((team) => [team.id, team]));
    for (const { order, team, campaign } of books.participants) {
      if (team !== null && known.get(team)?.campaign !== campaign)
        report(order, `its team ${team} is not one of its campaign`);
    }
  },
};

const ends: Check = {
  name: 'a team that ended without success has no place, and the places of a successful one have orders',
  run(books, report) {
    const places = placesByTeam(books);
    const byId = new Map(books.teams.map((team) => [team.id, team]));
    for (const team of books.teams) {
      const live = (places.get(team.id) ?? []).filter(isLive);
      const { status, settled, mergedInto } = team;
      const waits = live.filter(({ state }) => state === 'joined' || state === 'secured').length;
      if (status === 'successful' && settled && waits > 0) report(team.id, `${waits} of its places have no order`);
      if ((status === 'expired' || status === 'cancelled') && settled && live.length > 0)
        report(team.id, `it is ${status}, but ${live.length} places are not released`);
      if (status === 'merged' && live.length > 0) report(team.id, `it was merged, but ${live.length} places are left`);
      if (mergedInto !== null && byId.get(mergedInto)?.campaign !== team.campaign)
        report(team.id, `it was merged into ${mergedInto}, which is not a team of its campaign`);
      const withOrder = live.filter(({ state }) => state === 'ordered' || state === 'charged').length;
      if (status === 'forming' && withOrder > 0) report(team.id, `it is forming, but ${withOrder} places have orders`);
    }
  },
};

const endings = ['successful', 'expired', 'merged', 'cancelled'] as const;

/** The places that were taken in the teams of a campaign, and those that were left, have one event each. */
function checkMemberships(teams: TeamRow[], places: ParticipantRow[], events: EventRow[][]): string[] {
  const topics = events.flat().map(({ topic }) => topic.slice(prefix.length + 1));
  const count = (...facts: string[]) => topics.filter((topic) => facts.includes(topic)).length;
  const [taken, left] = [count('created', 'joined'), count('left')];
  const [rows, leftRows] = [places.length, places.filter(wasLeft).length];
  return [
    ...(count('created') === teams.length
      ? []
      : [`${teams.length} teams, but ${count('created')} events team.created`]),
    ...(taken === rows ? [] : [`${rows} places were taken in its teams, but there are ${taken} events for it`]),
    ...(left === leftRows ? [] : [`${leftRows} places of its teams were left, but there are ${left} events for it`]),
  ];
}

const events: Check = {
  name: "a team's end and its places have their events, and it succeeded with all its places",
  run(books, report) {
    const byKey = groupBy(books.events, ({ key }) => key);
    const campaigns = new Map(books.campaigns.map((campaign) => [campaign.id, campaign]));
    for (const team of books.teams) {
      const itsEvents = byKey.get(team.id) ?? [];
      for (const ending of endings) {
        const found = itsEvents.filter(({ topic }) => topic === `${prefix}.${ending}`);
        const expected = Number(team.status === ending);
        if (found.length !== expected)
          report(team.id, `it is ${team.status}, but has ${found.length} events ${prefix}.${ending}`);
      }
      const success = itsEvents.find(({ topic }) => topic === `${prefix}.successful`)?.payload.team;
      const count = campaigns.get(team.campaign)?.successOn ?? 'joined';
      if (success && Number(Reflect.get(success, count)) !== team.size)
        report(team.id, `it succeeded with ${Reflect.get(success, count)} of ${team.size} places`);
    }
    const places = groupBy(
      books.participants.filter(({ team }) => team !== null),
      ({ campaign }) => campaign,
    );
    for (const [campaign, teams] of groupBy(books.teams, (team) => team.campaign)) {
      const ofTeams = teams.map(({ id }) => byKey.get(id) ?? []);
      for (const message of checkMemberships(teams, places.get(campaign) ?? [], ofTeams)) report(campaign, message);
    }
  },
};

const campaignRows: Check = {
  name: 'a campaign with teams counts nothing in its row, and is successful if one of its teams is',
  run(books, report) {
    const teams = groupBy(books.teams, ({ campaign }) => campaign);
    for (const campaign of books.campaigns) {
      const itsTeams = teams.get(campaign.id) ?? [];
      if (campaign.mode === 'pool') {
        if (itsTeams.length > 0) report(campaign.id, 'it is a pool, but it has teams');
        continue;
      }
      const { actual, secured, securedUnits, offered, status } = campaign;
      if (actual + secured + securedUnits + offered !== 0)
        report(campaign.id, `its row counts ${actual} places, ${secured} secured ones and ${offered} offers`);
      const successful = itsTeams.filter((team) => team.status === 'successful').length;
      const contradicts = (status === 'successful' && successful === 0) || (status === 'expired' && successful > 0);
      if (contradicts) report(campaign.id, `it is ${status}, and ${successful} of its teams are successful`);
      const forming = itsTeams.filter((team) => team.status === 'forming').length;
      if (status !== 'active' && campaign.settled && forming > 0)
        report(campaign.id, `it is ${status} and settled, but ${forming} of its teams are forming`);
    }
  },
};

const customers: Check = {
  name: "a customer's units in a campaign with a limit are those of its places, and never more than the limit",
  run(books, report) {
    const campaigns = new Map(books.campaigns.map((campaign) => [campaign.id, campaign]));
    const key = (campaign: string, user: string) => `${campaign} ${user}`;
    const taken = new Map<string, number>();
    for (const { campaign, user, quantity } of books.participants.filter(isLive)) {
      if ((campaigns.get(campaign)?.maxPerCustomer ?? null) === null) continue;
      taken.set(key(campaign, user), (taken.get(key(campaign, user)) ?? 0) + quantity);
    }
    const counted = new Map(books.customerUnits.map(({ campaign, user, units }) => [key(campaign, user), units]));
    for (const owner of new Set([...taken.keys(), ...counted.keys()])) {
      const [id = '', user = ''] = owner.split(' ');
      const [units, row, limit] = [taken.get(owner) ?? 0, counted.get(owner) ?? 0, campaigns.get(id)?.maxPerCustomer];
      if (limit != null && units > limit) report([id, user], `${units} units are taken, but the limit is ${limit}`);
      // Nobody can join a campaign that has ended without success, so its units need not go back.
      const ended = ['expired', 'failed'].includes(campaigns.get(id)?.status ?? '');
      if (row !== units && !ended) report([id, user], `${row} units are counted, but ${units} are taken`);
    }
  },
};

export const teamChecks: Check[] = [counts, ends, events, campaignRows, customers];
