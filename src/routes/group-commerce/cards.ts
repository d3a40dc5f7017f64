import { Hono } from 'hono';
import * as z from 'zod';
import { ApiError } from '../../base/errors.ts';
import { teamCodeFormat } from '../../base/team-codes.ts';
import { card, readCard, toCard } from '../../domain/group-commerce/card.ts';
import { prefersHtml } from '../../http/accept.ts';
import type { AppEnv, HttpContext } from '../../http/app-env.ts';
import { type CachedCard, cacheCard, cardSeconds, freshSeconds, lookUpCard } from '../../http/edge-cards.ts';
import { represent, showRepresentation } from '../../http/etag.ts';
import { operation } from '../../http/operation.ts';
import { cardPage, pagePolicyOf } from './card-page.ts';
import { sampleCard, sampleTeam } from './team-examples.ts';

const samplePage = cardPage(sampleCard, `https://api.example.com/v1/teams/by-code/${sampleTeam.code}/card?format=html`);

/** The cards of teams for link previews: `/v1/teams/by-code/{code}/card`. */
export const cards = new Hono<AppEnv>();

/** The card from the edge cache, or from the database. A code that the database does not know counts as a wrong guess. */
async function findCard(c: HttpContext, code: string, now: Date): Promise<CachedCard> {
  const cached = await lookUpCard(code, now);
  c.header('Cache-Status', `fusioncommerce; ${cached ? 'hit' : 'fwd=miss'}`);
  if (cached) return cached;
  const found = await readCard(c.get('context'), code);
  if (!found) c.set('isWrongGuess', true);
  const read = { ...(found && { found }), readAt: now.getTime() };
  c.executionCtx.waitUntil(cacheCard(code, read));
  return read;
}

cards.get(
  '/by-code/:code/card',
  operation({
    id: 'getTeamCard',
    tag: 'Group commerce',
    summary: 'Read the public card of a team',
    description:
      'For link previews, by the code of the share link. Needs no key: whoever has the code may see the card, which names ' +
      'no user. JSON, or a page with Open Graph and Twitter tags if `Accept` prefers `text/html`. Many link previews send ' +
      '`Accept: */*` and get JSON: give them a link with `?format=html`. Other query parameters are ignored, because sites ' +
      'add their own to shared links. The code of a team that was merged shows the team that it moved into.\n\nThe card is ' +
      `cached at the edge and by clients for at most ${cardSeconds} s together, so a place that was just taken may be shown ` +
      'as free for that time. `secondsLeft` is calculated for each response.',
    counted: 'rejected by the database',
    ignoresUnknownQuery: true,
    params: z.object({
      code: z
        .string()
        .regex(teamCodeFormat)
        .meta({ examples: [sampleTeam.code] }),
    }),
    query: z.object({
      format: z.enum(['json', 'html']).optional().meta({ description: 'Decides in place of `Accept`' }),
    }),
    responses: { 200: { description: 'The card', schema: card, example: sampleCard, page: samplePage } },
    errors: ['not_found', 'unavailable'],
  }),
  async (c) => {
    const { context } = c.var;
    const { code } = c.req.valid('param');
    const { format } = c.req.valid('query');
    const now = context.now();
    c.header('Vary', 'Accept');
    const cached = await findCard(c, code, now);
    if (!cached.found) throw new ApiError('not_found', 'No team has this code.');
    c.set('tenant', cached.found.tenant);
    const origin = context.settings.PUBLIC_URL?.replace(/\/+$/, '') ?? new URL(c.req.url).origin;
    const shown = toCard(cached.found.row, now, origin);
    // A client must not show a cached free place after the team's time is over.
    const fresh = Math.min(freshSeconds(cached, now), shown.open ? shown.secondsLeft : cardSeconds);
    c.header('Cache-Control', `public, max-age=${Math.max(0, Math.floor(fresh))}`);
    c.header('X-Robots-Tag', 'noindex');
    if ((format ?? (prefersHtml(c.req.header('accept')) ? 'html' : 'json')) === 'json')
      return showRepresentation(c, await represent(shown));
    c.header('Content-Security-Policy', pagePolicyOf(shown));
    return c.html(cardPage(shown, `${origin}/v1/teams/by-code/${code}/card?format=html`));
  },
);
