import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { freePlacesOfEndedOrders, releaseCampaigns, settleCampaigns } from '../domain/group-commerce/settlement.ts';
import { cancelTeams, releaseTeams, settleTeams } from '../domain/group-commerce/team-settlement.ts';
import { invalidateProducts } from '../http/edge-cache.ts';

/**
 * campaign.successful, campaign.priced (with tiers), team.successful: makes orders and charges. campaign.expired, .failed,
 * team.expired, .cancelled: releases the places. campaign.failed also cancels the campaign's forming teams. order.failed,
 * .cancelled: frees the order's place. The teams of a batch are processed together.
 */
export async function consumeForGroupCommerce(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic === 'order.failed' || topic === 'order.cancelled') {
    await freePlacesOfEndedOrders(context, tenant, topic, events);
    return;
  }
  if (topic.startsWith('group-commerce.team.')) {
    const teamIds = [...new Set(events.map((event) => event.subject))];
    if (topic === 'group-commerce.team.successful') {
      await settleTeams(context, { tenant, teamIds });
    } else if (topic === 'group-commerce.team.expired' || topic === 'group-commerce.team.cancelled') {
      const { changed } = await releaseTeams(context, { tenant, teamIds });
      await invalidateProducts(
        context,
        tenant,
        changed.flatMap(({ skus }) => skus),
      );
    } else {
      throw new Error(`group commerce does not consume ${topic}`);
    }
    return;
  }
  for (const campaignId of new Set(events.map((event) => event.subject))) {
    if (topic === 'group-commerce.campaign.successful' || topic === 'group-commerce.campaign.priced') {
      await settleCampaigns(context, { tenant, campaignId });
    } else if (topic === 'group-commerce.campaign.expired' || topic === 'group-commerce.campaign.failed') {
      const { changed } = await releaseCampaigns(context, { tenant, campaignId });
      for (const { skus } of changed) await invalidateProducts(context, tenant, skus);
      if (topic === 'group-commerce.campaign.failed') await cancelTeams(context, { tenant, campaignId });
    } else {
      throw new Error(`group commerce does not consume ${topic}`);
    }
  }
}
