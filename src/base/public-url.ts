import { BlockList, isIP } from 'node:net';
import * as z from 'zod';

const dnsDeadlineMs = 5_000;

/**
 * The IPv4 networks that are not the public Internet (IANA's special-purpose registry). They include this host, private
 * networks, the link-local network with the metadata services of clouds, shared addresses (CGNAT) and multicast.
 */
const closedV4 = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24'],
  ...['224.0.0.0/4', '240.0.0.0/4'],
];
/**
 * Of IPv6 only 2000::/3 is public, without these networks in it: special protocols (Teredo, ORCHID), documentation, and
 * 6to4, which contains any IPv4 address. IPv4-mapped and NAT64 addresses are outside 2000::/3.
 */
const closedV6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

function listOf(networks: string[], family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix] = network.split('/');
    list.addSubnet(address, Number(prefix), family);
  }
  return list;
}

const closedV4List = listOf(closedV4, 'ipv4');
const closedV6List = listOf(closedV6, 'ipv6');
const globalV6List = listOf(['2000::/3'], 'ipv6');
const loopbackList = listOf(['127.0.0.0/8'], 'ipv4');

/** Whether an IP address is on the public Internet. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !closedV4List.check(address, 'ipv4');
  return family === 6 && globalV6List.check(address, 'ipv6') && !closedV6List.check(address, 'ipv6');
}

/** Names that never lead to the public Internet, with all names below them. */
const closedNames = /(^|\.)(localhost|localdomain|local|internal|intranet|private|corp|home|lan|home\.arpa)$/;

/** The host of a URL, without the brackets of IPv6 and the dot at the end of a full name. */
const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '').replace(/\.+$/, '');

/** Whether a host is this machine: `localhost`, 127.0.0.0/8 or ::1. */
const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && loopbackList.check(host, 'ipv4'));

/** Finds the addresses of a name. Empty if it has none. */
export type Resolve = (name: string) => Promise<string[]>;

const answers = z.object({ Answer: z.array(z.object({ data: z.string() })).default([]) });

/** Asks Cloudflare's DNS over HTTPS for the addresses of one family. */
async function resolveFamily(name: string, type: 'A' | 'AAAA'): Promise<string[]> {
  const url = `https://cloudflare-dns.com/dns-query?name=${encodeURIComponent(name)}&type=${type}`;
  const headers = { Accept: 'application/dns-json' };
  const response = await fetch(url, { headers, signal: AbortSignal.timeout(dnsDeadlineMs) });
  return answers.parse(await response.json()).Answer.flatMap(({ data }) => (isIP(data) === 0 ? [] : [data]));
}

/** A Worker has no other DNS. If one of the families cannot be found out, the name is refused for now. */
const resolveByDns: Resolve = async (name) =>
  (await Promise.all([resolveFamily(name, 'A'), resolveFamily(name, 'AAAA')])).flat();

export type UrlRules = {
  /** Also allows this machine, over http or https. Only for the local platform and tests. */
  allowLoopback: boolean;
  resolve?: Resolve;
};

/** A URL that may not be fetched. `permanent`: false if its name was not found, which may change. */
export class RefusedUrl extends Error {
  readonly permanent: boolean;

  constructor(reason: string, permanent = true) {
    super(reason);
    this.name = 'RefusedUrl';
    this.permanent = permanent;
  }
}

/**
 * Reads a URL that a client has given, without asking DNS. Use it when the URL is stored, and `checkPublicUrl` before
 * each fetch. The URL parser has turned every notation of an IPv4 address (octal, hexadecimal, one number) into four
 * decimals by then.
 * @throws RefusedUrl unless it is an https URL of a name or address that can be public. The reason never has the URL
 */
export function readPublicUrl(text: string, { allowLoopback }: UrlRules): URL {
  if (!URL.canParse(text)) throw new RefusedUrl('The URL is not valid.');
  const url = new URL(text);
  const host = hostOf(url);
  const isAllowedLoopback = allowLoopback && isLoopback(host);
  if (url.protocol !== 'https:' && !(isAllowedLoopback && url.protocol === 'http:')) {
    throw new RefusedUrl('The URL must begin with https://.');
  }
  if (url.username !== '' || url.password !== '') throw new RefusedUrl('The URL must not have a user or password.');
  if (isAllowedLoopback) return url;
  if (isIP(host) === 0 ? closedNames.test(host) || !host.includes('.') : !isPublicAddress(host)) {
    throw new RefusedUrl('The URL leads to an address that is not public.');
  }
  return url;
}

/**
 * The same, and asks DNS: every address of the name must be public. Check each redirect too.
 * @throws RefusedUrl
 */
export async function checkPublicUrl(text: string, rules: UrlRules): Promise<URL> {
  const url = readPublicUrl(text, rules);
  const host = hostOf(url);
  if (isIP(host) !== 0 || (rules.allowLoopback && isLoopback(host))) return url;
  const addresses = await (rules.resolve ?? resolveByDns)(host).catch(() => {
    throw new RefusedUrl('DNS did not respond for the name in the URL.', false);
  });
  if (addresses.length === 0) throw new RefusedUrl('The name in the URL was not found in DNS.', false);
  if (!addresses.every(isPublicAddress))
    throw new RefusedUrl('The name in the URL leads to an address that is not public.');
  return url;
}
