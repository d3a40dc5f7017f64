import type { Context } from '../context.ts';
import type { Event } from '../domain/events.ts';
import { freePlacesOfEndedOrders, releaseCampaigns, settleCampaigns } from '../domain/group-commerce/settlement.ts';
import { invalidateProducts } from '../http/edge-cache.ts';

/**
 * campaign.successful: makes orders and charges. campaign.expired, .failed: releases the places. order.failed,
 * .cancelled: frees the order's place.
 */
export async function consumeForGroupCommerce(context: Context, tenant: string, topic: string, events: Event[]) {
  if (topic === 'order.failed' || topic === 'order.cancelled') {
    await freePlacesOfEndedOrders(context, tenant, topic, events);
    return;
  }
  for (const campaignId of new Set(events.map((event) => event.subject))) {
    if (topic === 'group-commerce.campaign.successful') {
      await settleCampaigns(context, { tenant, campaignId });
    } else if (topic === 'group-commerce.campaign.expired' || topic === 'group-commerce.campaign.failed') {
      const { changed } = await releaseCampaigns(context, { tenant, campaignId });
      for (const { skus } of changed) await invalidateProducts(context, tenant, skus);
    } else {
      throw new Error(`group commerce does not consume ${topic}`);
    }
  }
}
