import type { Books } from '../books.ts';
import { groupBy, type Report } from '../finding.ts';
import { type ClientRequest, type ClientResponse, finalResponse, member, textOf } from '../journal.ts';

type ResponseCheck = (request: ClientRequest, response: ClientResponse, report: Report) => void;

/** Checks whether the responses to members of teams agree with the books. */
export function teamResponseChecks(books: Books): Record<string, ResponseCheck> {
  const places = new Map(books.participants.map((row) => [row.id, row]));
  const placesByUser = groupBy(books.participants, ({ user }) => user);
  const teams = new Map(books.teams.map((row) => [row.id, row]));
  // A request without a response may have taken a place.
  const taken = groupBy(
    books.requests.filter(
      (request) => /^teams\.(open|join)$/.test(request.operation) && (finalResponse(request)?.status ?? 201) === 201,
    ),
    ({ body }) => textOf(body, 'userId'),
  );

  /** The place and the team exist. Later the place may have moved into another team of the campaign. */
  const entered: ResponseCheck = (request, { status, body }, report) => {
    const user = textOf(request.body, 'userId');
    const team = teams.get(textOf(member(body, 'team'), 'id'));
    const place = places.get(textOf(member(body, 'participant'), 'id'));
    if (status === 201 && (!team || place?.user !== user || place.campaign !== team.campaign))
      report([user, team?.id ?? request.path], 'the place or the team in the response does not exist');
    if (status === 409 && (placesByUser.get(user)?.length ?? 0) > (taken.get(user)?.length ?? 0))
      report([user, request.path], `the response was ${textOf(body, 'code')}, but the user has a place`);
  };

  const left: ResponseCheck = (request, { status, body }, report) => {
    const user = textOf(request.body, 'userId');
    const place = places.get(textOf(member(body, 'participant'), 'id'));
    if (status === 200 && (place?.user !== user || place.state !== 'released'))
      report([user, request.path], 'the response says that the place was left, but it was not released');
  };

  return { 'teams.open': entered, 'teams.join': entered, 'teams.leave': left };
}
