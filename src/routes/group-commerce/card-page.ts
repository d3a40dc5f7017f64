import { Buffer } from 'node:buffer';
import { decimalsOf } from '../../base/currencies.ts';
import { sha256 } from '../../base/sha256.ts';
import type { Card } from '../../domain/group-commerce/card.ts';

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** A text as part of HTML, in an element or in an attribute with quotes. */
const escapeHtml = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? '');

const style =
  'body{font:1.1rem/1.5 system-ui,sans-serif;margin:0;color:#1a1a1a;background:#fff}' +
  'main{max-width:36rem;margin:0 auto;padding:1.5rem}img{max-width:100%;height:auto;border-radius:.5rem}' +
  'h1{font-size:1.5rem}p{margin:.5rem 0}strong{font-size:1.25rem}';

/** The page loads its image and nothing else. Its style is allowed by its hash. */
export const pagePolicyOf = ({ image }: Card): string => {
  const images = image ? [`img-src ${new URL(image.url).origin}`] : [];
  const hash = Buffer.from(sha256(style), 'hex').toString('base64');
  const rules = ["default-src 'none'", ...images, `style-src 'sha256-${hash}'`];
  return [...rules, "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"].join('; ');
};

const amount = (value: number, currency: string): string => `${value.toFixed(decimalsOf(currency))} ${currency}`;

/** "1 February 12:00 UTC" */
function dayAndTime(iso: string): string {
  const day = new Date(iso).toLocaleDateString('en-GB', { day: 'numeric', month: 'long', timeZone: 'UTC' });
  return `${day} ${iso.slice(11, 16)} UTC`;
}

const plural = (count: number, unit: string): string => `${count} ${unit}${count === 1 ? '' : 's'}`;

/** "3 hours", in the largest unit of which two are left, rounded down. */
function timeLeft(seconds: number): string {
  for (const [unit, length] of Object.entries({ day: 86_400, hour: 3_600, minute: 60 })) {
    if (seconds >= 2 * length) return plural(Math.floor(seconds / length), unit);
  }
  return plural(seconds, 'second');
}

function stateOf({ open, missing, status, secondsLeft, size, joined }: Card): string {
  if (open) return `${missing} more ${missing === 1 ? 'person' : 'people'}`;
  if (status === 'successful') return 'This team is complete.';
  if (status === 'cancelled') return 'This team was cancelled.';
  if (status === 'expired' || secondsLeft === 0) return 'The time of this team is over.';
  return joined >= size ? 'This team is full.' : 'Nobody can join this team now.';
}

/** The price, and what it is without a team if that is more. */
function priceOf({ price, originalPrice, currency }: Card): string {
  const now = amount(price, currency);
  return originalPrice > price ? `${now} instead of ${amount(originalPrice, currency)}` : now;
}

/** "2 more people until 1 February 12:00 UTC: 19.99 USD instead of 29.99 USD" */
const summaryOf = (card: Card): string =>
  card.open ? `${stateOf(card)} until ${dayAndTime(card.endTime)}: ${priceOf(card)}` : stateOf(card);

/** A card as a page: Open Graph and Twitter tags for link previews, and the same for people. `url`: of the page. */
export function cardPage(card: Card, url: string): string {
  const { image, title, open, endTime, secondsLeft, size, joined } = card;
  const summary = summaryOf(card);
  const properties = {
    ...{ 'og:type': 'website', 'og:title': title, 'og:description': summary, 'og:url': url },
    ...(image && {
      ...{ 'og:image': image.url, 'og:image:width': String(image.width), 'og:image:height': String(image.height) },
      ...(image.alt === null ? {} : { 'og:image:alt': image.alt }),
    }),
  };
  const names = {
    ...{ viewport: 'width=device-width, initial-scale=1', robots: 'noindex', description: summary },
    ...{ 'twitter:card': image ? 'summary_large_image' : 'summary', 'twitter:title': title },
    ...{ 'twitter:description': summary, ...(image && { 'twitter:image': image.url }) },
  };
  const metas = (attribute: string, values: object): string[] =>
    Object.entries(values).map(([name, content]) => `<meta ${attribute}="${name}" content="${escapeHtml(content)}">`);
  const picture = image && [
    `<img src="${escapeHtml(image.url)}" alt="${escapeHtml(image.alt ?? '')}" width="${image.width}" height="${image.height}">`,
  ];
  const until = `<time datetime="${escapeHtml(endTime)}">${escapeHtml(dayAndTime(endTime))}</time>`;
  return [
    ...[
      '<!doctype html>',
      '<html lang="en">',
      '<head>',
      '<meta charset="utf-8">',
      `<title>${escapeHtml(title)}</title>`,
    ],
    ...metas('name', names),
    ...metas('property', properties),
    ...[`<style>${style}</style>`, '</head>', '<body>', '<main>', ...(picture ?? []), `<h1>${escapeHtml(title)}</h1>`],
    `<p><strong>${escapeHtml(priceOf(card))}</strong></p>`,
    open
      ? `<p>${escapeHtml(stateOf(card))} until ${until} (${escapeHtml(timeLeft(secondsLeft))} left).</p>`
      : `<p>${escapeHtml(stateOf(card))}</p>`,
    `<p>Places taken: ${joined} of ${size}.</p>`,
    ...['</main>', '</body>', '</html>', ''],
  ].join('\n');
}
