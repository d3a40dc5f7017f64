/**
 * How the money of a place is secured at the join.
 *
 * An authorization lapses: online, customer-initiated ones on Visa, Mastercard, American Express and Discover after 7 days;
 * Visa's merchant-initiated ones after 4 days and 18 hours. Source: docs.stripe.com/payments/place-a-hold-on-a-payment-method
 * ("Authorization windows", 2026-10). The buyer confirms at the join, so 7 days count; but an issuer may take a payment
 * for a merchant-initiated one, and settling 10,000 places takes minutes to hours. So a hold is only relied upon for the
 * shorter window less a margin of 18 hours: 4 days. A campaign that ends later saves the card and charges it on success.
 */
export const cardWindowSeconds = { customerInitiated: 7 * 86_400, merchantInitiated: 4 * 86_400 + 18 * 3_600 } as const;

const marginSeconds = 18 * 3_600;

/** A campaign that ends within this many seconds of the join has its places' money held; a later one saves the card. */
export const holdWithinSeconds = cardWindowSeconds.merchantInitiated - marginSeconds;
