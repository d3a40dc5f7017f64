import type { Card } from '../../domain/group-commerce/card.ts';
import { sampleImage } from '../examples.ts';
import { sampleCampaign, sampleParticipant } from './campaign-examples.ts';

export const sampleTeamCampaign = {
  ...sampleCampaign,
  id: '019ab3f3-3d4e-7f50-8b62-7c8d9e0f1a2c',
  mode: 'teams',
  ...{ minParticipants: 3, maxParticipants: 3, teamSize: 3, teamSeconds: 86_400, onShort: 'merge' },
  ...{ formingTeams: 12, successfulTeams: 4 },
};

export const sampleTeam = {
  id: '019ab3f5-1a2b-7c3d-8e4f-5a6b7c8d9e0f',
  campaignId: sampleTeamCampaign.id,
  code: 'k3v9x0m2p7q4r8t1',
  leader: 'user-1',
  size: 3,
  joined: 1,
  secured: 0,
  status: 'forming',
  listed: true,
  mergedInto: null,
  endTime: '2036-02-01T12:00:00.000Z',
  createdAt: '2026-01-31T12:00:00.000Z',
};

export const sampleReadableTeam = { ...sampleTeam, secondsLeft: 3_600 };

export const sampleTeamPlace = {
  team: sampleTeam,
  participant: { ...sampleParticipant, campaignId: sampleTeamCampaign.id, teamId: sampleTeam.id, merge: true },
};

export const sampleCard: Card = {
  ...{ title: 'T-shirt, black, M', description: 'Organic cotton', status: 'forming', size: 3, joined: 1 },
  image: {
    url: `https://api.example.com${sampleImage.path}`,
    ...{ alt: sampleImage.alt, width: sampleImage.width, height: sampleImage.height },
  },
  ...{ missing: 2, open: true, price: 19.99, originalPrice: 29.99, currency: 'USD', endTime: sampleTeam.endTime },
  ...{ secondsLeft: 3_600, teamId: sampleTeam.id, campaignId: sampleTeam.campaignId },
  productId: sampleTeamCampaign.productId,
};
