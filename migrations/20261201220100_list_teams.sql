-- Lists of the teams of a campaign, newest first, by status and by whether the list shows them to everybody.
create index idx_teams_status on group_commerce.teams (campaign_id, status, listed, id desc);

-- fusion_reader proves a tenant and a scope, which a publishable key has too. So it must not read who leads a team, nor
-- the code that lets anybody join it. group_commerce.show_team shows them to those who may see them.
revoke select on group_commerce.teams from fusion_reader;
grant select (id, tenant_id, campaign_id, size, joined, secured, status, listed, merge_refusals, end_time, merged_into,
  settled_at, version, created_at, updated_at) on group_commerce.teams to fusion_reader;
