-- Teams, tiers, quantities, limits and waiting lists of campaigns.

alter table group_commerce.group_commerce_campaigns
  add column mode varchar not null default 'pool' constraint campaigns_mode check (mode in ('pool', 'teams')),
  add column team_size integer constraint campaigns_team_size check (team_size between 2 and 1000),
  add column team_seconds integer constraint campaigns_team_seconds check (team_seconds > 0),
  add column on_short varchar constraint campaigns_on_short check (on_short in ('release', 'merge')),
  add column tiers jsonb,                     -- [{participants | units, price}], prices fall as the count rises
  add column settled_price numeric(10,2),     -- the price of the tier that was reached, fixed once
  add column skus varchar[],                  -- null: `sku` alone
  add column max_per_customer integer constraint campaigns_max_per_customer check (max_per_customer > 0),
  add column joiners varchar not null default 'all' constraint campaigns_joiners check (joiners in ('all', 'new_customers')),
  add column secured_units integer not null default 0 constraint campaigns_secured_units check (secured_units >= 0),
  add column offered_places integer not null default 0, -- kept for the first of the waiting list
  add constraint campaigns_offers check (offered_places >= 0 and actual_participants + offered_places <= max_participants),
  add constraint campaigns_of_teams check ((mode = 'teams') = (team_size is not null)
    and (mode = 'teams') = (team_seconds is not null) and (mode = 'teams') = (on_short is not null)),
  add constraint campaigns_tiers_of_pools check (mode = 'pool' or tiers is null);
update group_commerce.group_commerce_campaigns set secured_units = secured_participants where secured_participants > 0;

-- A team of a campaign. Its own row decides about its places, so that teams of one campaign do not wait for each other.
create table group_commerce.teams (
  id varchar primary key,
  tenant_id varchar not null,
  campaign_id varchar not null references group_commerce.group_commerce_campaigns (id),
  code varchar not null constraint teams_code_unique unique,
  leader varchar not null,                    -- the user of its earliest place
  size integer not null,
  joined integer not null default 0,
  secured integer not null default 0,
  status varchar not null
    constraint teams_status check (status in ('forming', 'successful', 'expired', 'merged', 'cancelled')),
  listed boolean not null default false,
  merge_refusals integer not null default 0 constraint teams_merge_refusals check (merge_refusals >= 0),
  end_time timestamptz not null,
  merged_into varchar references group_commerce.teams (id),
  settled_at timestamptz,                     -- success: every place has an order; end without it: all are released
  version integer not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint teams_not_overfull check (joined between 0 and size),
  constraint teams_secured_have_places check (secured between 0 and joined),
  constraint teams_merged_into_another check ((status = 'merged') = (merged_into is not null) and merged_into <> id)
);
create index idx_teams_campaign_id on group_commerce.teams (campaign_id, id desc);
create index idx_teams_forming on group_commerce.teams (campaign_id, id) where status = 'forming';
create index idx_teams_due on group_commerce.teams (end_time) where status = 'forming';
create index idx_teams_unsettled on group_commerce.teams (tenant_id, id)
  where settled_at is null and status in ('successful', 'expired', 'cancelled');

-- The units of a customer's places in a campaign with a limit.
create table group_commerce.campaign_customers (
  campaign_id varchar not null references group_commerce.group_commerce_campaigns (id),
  user_id varchar not null,
  tenant_id varchar not null,
  units integer not null constraint campaign_customers_units check (units >= 0),
  primary key (campaign_id, user_id)
);

-- Who waits for a place in a full campaign, in the order of their ids.
create table group_commerce.waiting_places (
  id varchar primary key,
  tenant_id varchar not null,
  campaign_id varchar not null references group_commerce.group_commerce_campaigns (id),
  user_id varchar not null,
  state varchar not null
    constraint waiting_places_state check (state in ('waiting', 'offered', 'taken', 'lapsed', 'left', 'ended')),
  offered_until timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint waiting_places_offer check ((state = 'offered') <= (offered_until is not null))
);
create unique index waiting_places_one_a_user on group_commerce.waiting_places (user_id, campaign_id)
  where state in ('waiting', 'offered');
create index idx_waiting_places_line on group_commerce.waiting_places (campaign_id, id) where state in ('waiting', 'offered');
create index idx_waiting_places_offers on group_commerce.waiting_places (offered_until) where state = 'offered';
create index idx_waiting_places_tenant_id on group_commerce.waiting_places (tenant_id, campaign_id, id desc);

alter table group_commerce.participants
  add column team_id varchar references group_commerce.teams (id),
  add column sku varchar,                     -- null: the campaign's
  add column quantity integer not null default 1 constraint participants_quantity check (quantity > 0),
  add column merge boolean not null default false,
  add column invited_by varchar;
-- One live place for each user in a pool or team.
create unique index participants_one_place_in_a_team
  on group_commerce.participants (user_id, campaign_id, (coalesce(team_id, ''))) where state <> 'released';
drop index group_commerce.participants_one_place_a_user;
alter index group_commerce.participants_one_place_in_a_team rename to participants_one_place_a_user;
create index idx_participants_team_id on group_commerce.participants (team_id, id) where team_id is not null;
create index idx_participants_invited_by on group_commerce.participants (campaign_id, invited_by)
  where invited_by is not null;

do $$
declare
  guarded text;
begin
  foreach guarded in array array['teams', 'campaign_customers', 'waiting_places'] loop
    execute format('alter table group_commerce.%I enable row level security', guarded);
    execute format('alter table group_commerce.%I force row level security', guarded);
    execute format('create policy tenant on group_commerce.%I to fusion_group_commerce
      using (case when tenant_id = current_setting(''app.tenant_id'', true) then true end is not null)
      with check (tenant_id = current_setting(''app.tenant_id'', true))', guarded);
    -- The cron looks for what is due in every tenant; what it then changes, it changes as that tenant.
    execute format('create policy every_tenant on group_commerce.%I for select to fusion_group_commerce
      using (current_setting(''app.tenant_id'', true) = ''*'')', guarded);
    execute format('grant select, insert, update on group_commerce.%I to fusion_group_commerce', guarded);
  end loop;
end
$$;
grant select on group_commerce.teams, group_commerce.waiting_places to fusion_reader;

-- What a PaymentIntent authorizes, if that may be more than what is captured: the price at the join, where the price can
-- fall until the campaign settles. Null: `amount`.
alter table payments.payments add column authorized numeric(10,2)
  constraint payments_captured_at_most_authorized check (amount <= authorized);
