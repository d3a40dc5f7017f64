const digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'; // Crockford's base 32: without I, L, O and U

/**
 * The number of an order for people to say and write, such as K7QF2-M9X4T: 50 random bits of its id. It reveals neither
 * how many orders a tenant has nor when they were placed.
 */
export function orderNumber(id: string): string {
  let bits = BigInt(`0x${id.replaceAll('-', '').slice(-13)}`);
  let text = '';
  for (let place = 0; place < 10; place++) {
    text = digits[Number(bits % 32n)] + text;
    bits /= 32n;
  }
  return `${text.slice(0, 5)}-${text.slice(5)}`;
}
