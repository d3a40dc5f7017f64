import type { Books } from '../books.ts';
import { groupBy, type Report, sum } from '../finding.ts';
import { type ClientRequest, type ClientResponse, finalResponse, member, textOf } from '../journal.ts';
import { findBuyers } from './joiners.ts';
import { findFullPools } from './waiting.ts';

/** Checks whether a response agrees with the books. */
export type ResponseCheck = (request: ClientRequest, response: ClientResponse, report: Report) => void;

const isOpenEntry = (state: string) => state === 'waiting' || state === 'offered';

/** Checks whether the errors of joins are true, in pools and in teams. */
function errorCheck(books: Books): ResponseCheck {
  const placesByUser = groupBy(books.participants, ({ user }) => user);
  const campaigns = new Map(books.campaigns.map((row) => [row.id, row]));
  const campaignOfTeam = new Map(
    books.teams.flatMap(({ id, code, campaign }) => [id, code].map((of) => [of, campaign])),
  );
  const buyers = findBuyers(books);
  const fullPools = findFullPools(books);
  // A request without a response may have taken a place.
  const taken = groupBy(
    books.requests.filter(
      (request) =>
        /^(campaigns\.join|teams\.(open|join))$/.test(request.operation) &&
        (finalResponse(request)?.status ?? 201) === 201,
    ),
    ({ body }) => textOf(body, 'userId'),
  );
  return ({ path, body: sent, operation, tenant }, { status, body }, report) => {
    if (status !== 409 && status !== 422) return;
    const user = textOf(sent, 'userId');
    const code = textOf(body, 'code');
    const places = placesByUser.get(user) ?? [];
    const subjects = [user, path];
    if (places.length > (taken.get(user)?.length ?? 0))
      report(subjects, `the response was ${code}, but the user has a place`);
    const parts = path.split('/');
    const campaign = campaigns.get(
      parts[2] === 'campaigns' ? (parts[3] ?? '') : (campaignOfTeam.get(parts.at(-2) ?? '') ?? ''),
    );
    if (!campaign) return;
    const { id, maxPerCustomer, joiners, skus } = campaign;
    const own = places.filter((place) => place.campaign === id);
    const units = sum(own, ({ quantity }) => quantity) + Number(member(sent, 'quantity') ?? 1);
    if (code === 'limit_per_customer' && (maxPerCustomer === null || units <= maxPerCustomer))
      report(subjects, `the response was ${code}, but the user had at most ${units} units with these`);
    if (code === 'customer_not_eligible' && (joiners === 'all' || operation === 'teams.open'))
      report(subjects, `the response was ${code}, but anybody may join`);
    if (code === 'customer_not_eligible' && !buyers.has(`${tenant} ${user}`))
      report(subjects, `the response was ${code}, but the user never had a paid order`);
    if (code === 'campaign_full' && !fullPools.has(id))
      report(subjects, `the response was ${code}, but the campaign never was`);
    const inviter = textOf(sent, 'invitedBy');
    const isInviterValid =
      inviter === '' || (inviter !== user && placesByUser.get(inviter)?.some((place) => place.campaign === id));
    if (status === 422 && isInviterValid && (skus.length === 1 || textOf(sent, 'sku') !== ''))
      report(subjects, `the response was ${code}, but the join is valid`);
  };
}

/** Checks whether the responses to buyers who join and leave pools and teams agree with the books. */
export function placeResponseChecks(books: Books): Record<string, ResponseCheck> {
  const places = new Map(books.participants.map((row) => [row.id, row]));
  const waiting = new Map(books.waiting.map((row) => [row.id, row]));
  const teams = new Map(books.teams.map((row) => [row.id, row]));
  const fullPools = findFullPools(books);
  const checkError = errorCheck(books);

  /** Whether the place in a response has these units. */
  const hasUnits = (shown: unknown): boolean => {
    const place = places.get(textOf(shown, 'id'));
    return (
      place?.sku === textOf(shown, 'sku') &&
      place.quantity === member(shown, 'quantity') &&
      (place.invitedBy ?? '') === textOf(shown, 'invitedBy')
    );
  };

  const joined: ResponseCheck = (request, response, report) => {
    const { status, body } = response;
    const campaign = request.path.split('/')[3] ?? '';
    const user = textOf(request.body, 'userId');
    const found = (status === 202 ? waiting : places).get(textOf(body, 'id'));
    const isFound = found?.user === user && found.campaign === campaign;
    if (status === 201 && !isFound) report([campaign, user], 'the place in the response does not exist');
    if (status === 201 && isFound && !hasUnits(body))
      report([campaign, user], 'the place has other units or another inviter than the response');
    if (status === 202 && (!isFound || !fullPools.has(campaign)))
      report([campaign, user], 'the response says that the user waits, but there is no entry, or a place was free');
    checkError(request, response, report);
  };

  const leftPool: ResponseCheck = (request, { status, body }, report) => {
    const subjects = [request.path.split('/')[3] ?? '', textOf(request.body, 'userId')];
    const id = textOf(body, 'id');
    const entry = waiting.get(id);
    if (status === 200 && entry && isOpenEntry(entry.state))
      report(subjects, 'the response says that the waiting list was left, but the user still waits');
    if (status === 200 && !entry && places.get(id)?.state !== 'released')
      report(subjects, 'the response says that the place was left, but it was not released');
  };

  /** The place and the team exist. Later the place may have moved into another team of the campaign. */
  const entered: ResponseCheck = (request, response, report) => {
    const { status, body } = response;
    const user = textOf(request.body, 'userId');
    const team = teams.get(textOf(member(body, 'team'), 'id'));
    const shown = member(body, 'participant');
    const place = places.get(textOf(shown, 'id'));
    const isFound = team !== undefined && place?.user === user && place.campaign === team.campaign;
    if (status === 201 && !isFound)
      report([user, team?.id ?? request.path], 'the place or the team in the response does not exist');
    if (status === 201 && isFound && !hasUnits(shown))
      report([user, team.id], 'the place has other units or another inviter than the response');
    checkError(request, response, report);
  };

  const leftTeam: ResponseCheck = (request, { status, body }, report) => {
    const user = textOf(request.body, 'userId');
    const place = places.get(textOf(member(body, 'participant'), 'id'));
    if (status === 200 && (place?.user !== user || place.state !== 'released'))
      report([user, request.path], 'the response says that the place was left, but it was not released');
  };

  return {
    'campaigns.join': joined,
    'campaigns.leave': leftPool,
    'teams.open': entered,
    'teams.join': entered,
    'teams.leave': leftTeam,
  };
}
