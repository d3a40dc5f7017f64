/**
 * Decides whether joining a campaign authorizes the price or saves the card.
 *
 * An authorization lapses. On Visa, Mastercard, American Express and Discover it lasts 7 days if the customer started
 * it online, and on Visa 4 days and 18 hours if the merchant did. Source:
 * docs.stripe.com/payments/place-a-hold-on-a-payment-method ("Authorization windows", 2026-10).
 *
 * The buyer confirms when joining, so 7 days should apply. But an issuer may treat the payment as merchant-initiated,
 * and settling 10,000 places takes minutes to hours. So an authorization is used only within the shorter window minus a
 * margin of 18 hours: 4 days. For a campaign that ends later, the card is saved and charged on success.
 */
export const cardWindowSeconds = { customerInitiated: 7 * 86_400, merchantInitiated: 4 * 86_400 + 18 * 3_600 } as const;

const marginSeconds = 18 * 3_600;

/** If the campaign ends within this many seconds of the join, the price is authorized. Otherwise the card is saved. */
export const holdWithinSeconds = cardWindowSeconds.merchantInitiated - marginSeconds;
