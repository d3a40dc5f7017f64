import type { campaignFixture } from './campaigns.ts';
import type { Store } from './harness.ts';

const hour = 3_600_000;

export type TeamRow = {
  id: string;
  code: string;
  leader: string;
  size: number;
  joined: number;
  secured: number;
  status: string;
  merged_into: string | null;
  merge_refusals: number;
  end_time: Date;
  settled_at: Date | null;
};

/** Helpers for tests of teams: campaigns with teams, teams of these users, the rows of teams, and crons at their end. */
export function teamFixture(store: Store, fixture: ReturnType<typeof campaignFixture>) {
  const start = (sku: string, stock: number, more: Record<string, unknown> = {}) =>
    fixture.start(sku, stock, {
      ...{ mode: 'teams', teamSize: 3, teamSeconds: 3_600, minParticipants: undefined, maxParticipants: undefined },
      ...more,
    });

  /** Opens a team with these users; the first one leads. Returns the team and the places. */
  async function open(campaignId: string, users: string[], more: Record<string, unknown> = {}) {
    const [leader, ...members] = users;
    const opened = await store.send('POST', `/v1/campaigns/${campaignId}/teams`, { userId: leader, ...more });
    if (opened.status !== 201) throw new Error(JSON.stringify(opened.body));
    const places = [opened.body.participant];
    for (const userId of members) {
      const joined = await join(opened.body.team.id, userId, more);
      if (joined.status !== 201) throw new Error(JSON.stringify(joined.body));
      places.push(joined.body.participant);
    }
    return { team: opened.body.team, places };
  }

  const join = (teamId: string, userId: string, more: Record<string, unknown> = {}) =>
    store.send('POST', `/v1/teams/${teamId}/join`, { userId, ...more });
  const leave = (teamId: string, userId: string) => store.send('POST', `/v1/teams/${teamId}/leave`, { userId });

  async function row(id: string): Promise<TeamRow> {
    const [team] = await store.database.query<TeamRow>('select * from group_commerce.teams where id = $1', [id]);
    if (!team) throw new Error(`there is no team ${id}`);
    return team;
  }

  const rowsOf = (campaignId: string) =>
    store.database.query<TeamRow>('select * from group_commerce.teams where campaign_id = $1 order by id', [
      campaignId,
    ]);

  /** The users with a live place in a team, earliest first. */
  const membersOf = async (teamId: string) =>
    (
      await store.database.query<{ user_id: string }>(
        `select user_id from group_commerce.participants where team_id = $1 and state <> 'released' order by id`,
        [teamId],
      )
    ).map((place) => place.user_id);

  /** Sets the end of a team, in seconds from now. */
  const endIn = (teamId: string, seconds: number) =>
    store.database.query('update group_commerce.teams set end_time = $2 where id = $1', [
      teamId,
      new Date(Date.now() + seconds * 1_000),
    ]);

  /** The topics of a team's events, without their prefix. */
  const eventsOf = async (teamId: string) =>
    (await fixture.eventsOf(teamId)).map((topic) => topic.replace('group-commerce.team.', ''));

  /**
   * Inserts forming teams of `size` with `taken` places by SQL as joins would, with payments, because these tests are
   * about what follows. Their time is over in an hour.
   */
  const fill = (campaignId: string, count: number, taken: number, more: { success?: boolean; merge?: boolean } = {}) =>
    store.database.query(
      `with c as (
         select * from group_commerce.group_commerce_campaigns where id = $1
       ), t as (
         insert into group_commerce.teams (id, tenant_id, campaign_id, code, leader, size, joined, status, merge_refusals,
           end_time, created_at, updated_at)
         select platform.uuid7(), c.tenant_id, c.id, 'code-' || c.id || n, 'user-' || n || '-1', c.team_size, $3,
           case when $4 then 'successful' else 'forming' end, case when $5 then 0 else $3 end, $6, now(), now()
         from c, generate_series(1, $2::int) n returning *
       ), p as (
         insert into group_commerce.participants (id, tenant_id, campaign_id, team_id, user_id, order_id, payment_id,
           state, joined_at, updated_at, sku, merge, secure_by)
         select platform.uuid7(), t.tenant_id, t.campaign_id, t.id, left(t.leader, -1) || n, platform.uuid7(),
           platform.uuid7(), 'joined', now(), now(), c.sku, $5, 'infinity'
         from t join c on true, generate_series(1, $3::int) n returning *
       ), m as (
         insert into payments.payments (payment_id, order_id, amount, currency, status, tenant_id, mode, campaign_id,
           user_id, created_at, updated_at, checked_at)
         select p.payment_id, p.order_id, c.price, c.currency, 'pending', p.tenant_id, 'hold', c.id, p.user_id, now(),
           now(), now()
         from p, c
       ), u as (
         insert into group_commerce.campaign_customers (campaign_id, user_id, tenant_id, units)
         select p.campaign_id, p.user_id, p.tenant_id, 1 from p join c on c.max_per_customer is not null
       ), r as (
         insert into inventory.reservations (order_id, tenant_id, skus, quantities, status, expires_at, created_at)
         select p.order_id, p.tenant_id, array[c.sku], array[1], 'held', 'infinity', now() from p, c
       )
       update inventory.inventory i set quantity = quantity - $2 * $3, reserved = reserved + $2 * $3
       from c where i.sku = c.sku`,
      [campaignId, count, taken, more.success ?? false, more.merge ?? false, new Date(Date.now() + hour)],
    );

  return { start, open, join, leave, row, rowsOf, membersOf, endIn, eventsOf, fill };
}
