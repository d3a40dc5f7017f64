-- requires: platform/access.sql
-- The constraint on what a campaign fixes when it is created. It is one constraint, because each join of a pool
-- prepares every constraint of the campaign's row again.

create or replace function group_commerce.terms_agree(c group_commerce.group_commerce_campaigns) returns boolean
language plpgsql immutable as $$
begin
  return coalesce(c.end_time > c.start_time and c.min_participants > 0 and c.max_participants >= c.min_participants
    and c.price >= 0 and c.original_price >= c.price
    and c.success_on in ('joined', 'secured') and c.joiners in ('all', 'new_customers')
    and coalesce(c.max_per_customer > 0, true)
    and case c.mode
      when 'pool' then num_nonnulls(c.team_size, c.team_seconds, c.on_short) = 0
      when 'teams' then c.team_size between 2 and 1000 and c.team_seconds > 0 and c.on_short in ('release', 'merge')
        and c.tiers is null
    end, false);
end
$$;

do $$
begin
  if not exists (select from pg_constraint c where c.conname = 'campaigns_terms'
      and c.conrelid = 'group_commerce.group_commerce_campaigns'::regclass) then
    alter table group_commerce.group_commerce_campaigns drop constraint campaigns_end_after_start,
      drop constraint campaigns_min_positive, drop constraint campaigns_max_at_least_min,
      drop constraint campaigns_price_not_negative, drop constraint campaigns_price_not_above_original,
      drop constraint campaigns_success_on, drop constraint campaigns_joiners, drop constraint campaigns_max_per_customer,
      drop constraint campaigns_mode, drop constraint campaigns_team_size, drop constraint campaigns_team_seconds,
      drop constraint campaigns_on_short, drop constraint campaigns_of_teams, drop constraint campaigns_tiers_of_pools,
      add constraint campaigns_terms check (group_commerce.terms_agree(group_commerce_campaigns));
  end if;
end
$$;

call platform.set_owner('group_commerce', 'fusion_group_commerce');
