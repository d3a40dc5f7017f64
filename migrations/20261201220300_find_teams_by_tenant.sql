-- The cron ends, settles and releases the teams of each tenant in turn.

drop index group_commerce.idx_teams_due, group_commerce.idx_teams_unsettled;
create index idx_teams_due on group_commerce.teams (tenant_id, end_time, id) where status = 'forming';
create index idx_teams_to_settle on group_commerce.teams (tenant_id, id)
  where settled_at is null and status = 'successful';
create index idx_teams_to_release on group_commerce.teams (tenant_id, id)
  where settled_at is null and status in ('expired', 'cancelled');
