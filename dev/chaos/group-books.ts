export type CampaignRow = {
  id: string;
  tenant: string;
  status: string;
  mode: 'pool' | 'teams';
  min: number;
  max: number;
  actual: number;
  secured: number;
  securedUnits: number;
  offered: number;
  successOn: 'joined' | 'secured';
  maxPerCustomer: number | null;
  joiners: 'all' | 'new_customers';
  skus: string[];
  price: string;
  tiers: Tier[] | null;
  settledPrice: string | null;
  end: Date;
  settled: boolean;
};
export type Tier = { participants?: number; units?: number; price: number };
/** `sku`: what the place holds: its own, or the campaign's. */
export type ParticipantRow = {
  id: string;
  campaign: string;
  team: string | null;
  user: string;
  order: string;
  payment: string | null;
  state: string;
  reason: string | null;
  sku: string;
  quantity: number;
  secured: boolean;
  invitedBy: string | null;
  joined: Date;
  /** What the place costs, with tax and shipping. */
  total: string;
};
export type TeamRow = {
  id: string;
  tenant: string;
  campaign: string;
  code: string;
  leader: string;
  size: number;
  joined: number;
  secured: number;
  status: string;
  mergedInto: string | null;
  settled: boolean;
};
export type CustomerUnitsRow = { campaign: string; user: string; units: number };
/** `offeredUntil`: until when a place was kept for the user. Null if none was offered. */
export type WaitingRow = { id: string; campaign: string; user: string; state: string; offeredUntil: Date | null };
/** What the API counts for an inviter of a campaign. */
export type ReferralRow = { campaign: string; user: string; invited: number; charged: number };

/** What the audit checks about campaigns, their teams, their places and their waiting lists. */
export type GroupBooks = {
  campaigns: CampaignRow[];
  participants: ParticipantRow[];
  teams: TeamRow[];
  customerUnits: CustomerUnitsRow[];
  waiting: WaitingRow[];
  referrals: ReferralRow[];
};

export const groupQueries = {
  campaigns: `select id, tenant_id as tenant, status, mode, min_participants as min, max_participants as max,
    actual_participants as actual, secured_participants as secured, secured_units as "securedUnits",
    offered_places as offered, success_on as "successOn", max_per_customer as "maxPerCustomer", joiners,
    coalesce(skus, array[sku]) as skus, price, tiers, settled_price as "settledPrice", end_time as end, settled_at is not null as settled
    from group_commerce.group_commerce_campaigns`,
  // The price of a tier is that of the orders. A place that was released before it has the entry price.
  participants: `select p.id, campaign_id as campaign, team_id as team, user_id as user, order_id as "order",
    payment_id as payment, state, reason, coalesce(p.sku, c.sku) as sku, quantity, secured_at is not null as secured,
    invited_by as "invitedBy", joined_at as joined, coalesce((amounts->>'total')::numeric, case when exists (select from orders.orders o where o.id = p.order_id)
      then coalesce(c.settled_price, c.price) else c.price end) as total
    from group_commerce.participants p join group_commerce.group_commerce_campaigns c on c.id = campaign_id
    order by p.id`,
  teams: `select id, tenant_id as tenant, campaign_id as campaign, code, leader, size, joined, secured, status,
    merged_into as "mergedInto", settled_at is not null as settled from group_commerce.teams order by id`,
  customerUnits: 'select campaign_id as campaign, user_id as user, units from group_commerce.campaign_customers',
  waiting: `select id, campaign_id as campaign, user_id as user, state, offered_until as "offeredUntil" from group_commerce.waiting_places order by id`,
} as const;

/** Reads what the API counts for the inviters of these campaigns: at most 100 for each, more than a run has. */
export async function readReferrals(url: string, campaigns: readonly CampaignRow[]): Promise<ReferralRow[]> {
  const rows: ReferralRow[] = [];
  for (const { id, tenant } of campaigns) {
    const headers = { authorization: `Bearer sk_dev_${tenant}` };
    const response = await fetch(`${url}/v1/campaigns/${id}/referrals?limit=100`, { headers });
    if (!response.ok) throw new Error(`the referrals of campaign ${id}: ${response.status}`);
    const { data } = (await response.json()) as { data: { userId: string; invited: number; charged: number }[] };
    rows.push(...data.map(({ userId: user, invited, charged }) => ({ campaign: id, user, invited, charged })));
  }
  return rows;
}
