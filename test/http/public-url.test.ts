import { describe, expect, test } from 'vitest';
import { checkPublicUrl, isPublicAddress, RefusedUrl, readPublicUrl } from '../../src/base/public-url.ts';

const strict = { allowLoopback: false };
const local = { allowLoopback: true };

/** The reason of a refusal; undefined if the URL is allowed. */
const refusalOf = (url: string, rules = strict): string | undefined => {
  try {
    readPublicUrl(url, rules);
    return undefined;
  } catch (error) {
    if (error instanceof RefusedUrl) return error.message;
    throw error;
  }
};
const resolving = (addresses: string[]) => ({ allowLoopback: false, resolve: async () => addresses });
const notPublic = 'The URL leads to an address that is not public.';

describe('an address is public', () => {
  test.each(['1.1.1.1', '8.8.8.8', '100.63.255.255', '100.128.0.0', '172.15.255.255', '172.32.0.0', '192.0.1.0'])(
    'if it is %s',
    (address) => expect(isPublicAddress(address)).toBe(true),
  );
  test.each(['192.167.255.255', '198.17.255.255', '198.20.0.0', '223.255.255.255', '9.255.255.255', '11.0.0.0'])(
    'if it is %s, beside a closed network',
    (address) => expect(isPublicAddress(address)).toBe(true),
  );
  test.each(['2606:4700:4700::1111', '2a00:1450:4001::1', '2001:200::1', '2003::1'])('if it is %s', (address) =>
    expect(isPublicAddress(address)).toBe(true),
  );
  test.each([
    ['this host', '0.0.0.0', '0.255.255.255', '::'],
    [
      'private',
      '10.0.0.0',
      '10.255.255.255',
      '172.16.0.0',
      '172.31.255.255',
      '192.168.0.0',
      '192.168.255.255',
      'fc00::1',
    ],
    ['private, IPv6', 'fd00::1', 'fdff:ffff::1', 'fec0::1'],
    ['loopback', '127.0.0.1', '127.255.255.255', '::1'],
    ['link-local or metadata', '169.254.0.0', '169.254.169.254', '169.254.255.255', 'fe80::1', 'fd00:ec2::254'],
    ['shared (CGNAT)', '100.64.0.0', '100.127.255.255', '100.100.100.200'],
    ['multicast', '224.0.0.1', '239.255.255.255', 'ff02::1'],
    ['reserved or broadcast', '240.0.0.1', '255.255.255.255'],
    ['documentation', '192.0.2.1', '198.51.100.1', '203.0.113.1', '2001:db8::1', '3fff::1'],
    ['a benchmark network', '198.18.0.1', '198.19.255.255'],
    ['for protocols', '192.0.0.1', '192.0.0.171', '192.88.99.1', '2001::1', '2001:1ff::1'],
    [
      'IPv4 in IPv6',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '::ffff:8.8.8.8',
      '::127.0.0.1',
      '64:ff9b::a00:1',
      '2002:a00:1::',
    ],
    ['no address', 'example.com', '', '1.2.3', '1.2.3.4.5', '::g'],
  ])('not if it is %s', (_name, ...addresses) => {
    expect(addresses.filter(isPublicAddress)).toEqual([]);
  });
});

describe('a URL that a client has given', () => {
  test.each([
    'https://cdn.example.com/a.png',
    'https://CDN.example.com:8443/a.png?token=1#x',
    'https://cdn.example.com./a.png',
    'https://93.184.216.34/a.png',
    'https://[2606:4700:4700::1111]/a.png',
    'https://bücher.example/a.png',
    'https://localhost.example.com/',
    'https://internal.example.com/',
  ])('is allowed if it is %s', (url) => expect(refusalOf(url)).toBeUndefined());

  test.each([
    '',
    'a.png',
    '//cdn.example.com/a.png',
    'https://',
    'https://exa mple.com/',
    'https://[::1',
    'https://256.1.1.1/',
  ])('is not valid if it is “%s”', (url) => expect(refusalOf(url)).toBe('The URL is not valid.'));

  test.each([
    'http://cdn.example.com/a.png',
    'ftp://cdn.example.com/a.png',
    'file:///etc/passwd',
    'data:image/png;base64,AAAA',
    'javascript:alert(1)',
    'gopher://cdn.example.com/',
    'blob:https://cdn.example.com/1',
    'ws://cdn.example.com/',
  ])('must be https: %s is refused', (url) => expect(refusalOf(url)).toBe('The URL must begin with https://.'));

  test.each([
    'https://user@cdn.example.com/',
    'https://user:secret@cdn.example.com/',
    'https://:secret@cdn.example.com/',
  ])('must not have a user or password: %s is refused', (url) =>
    expect(refusalOf(url)).toBe('The URL must not have a user or password.'),
  );

  test.each([
    ...['127.0.0.1', '127.1', '2130706433', '0x7f000001', '0x7f.0.0.1', '017700000001', '0177.0.0.1', '0177.0.0x0.1'],
    ...['127.0.0.1.', '１２７.0.0.1', '127。0。0。1', '%31%32%37.0.0.1', '0', '0.0.0.0', '00000000177.0.0.1'],
    ...['10.0.0.1', '0xa000001', '012.0.0.1', '167772161', '192.168.1', '3232235777', '172.16.0.1', '100.64.0.1'],
    ...['169.254.169.254', '0xa9fea9fe', '2852039166', '0251.0376.0251.0376', '[fd00:ec2::254]'],
    ...['[::1]', '[::]', '[0:0:0:0:0:0:0:1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[::ffff:169.254.169.254]'],
    ...[
      '[fe80::1]',
      '[fc00::1]',
      '[ff02::1]',
      '[64:ff9b::7f00:1]',
      '[2002:7f00:1::]',
      '[::127.0.0.1]',
      '[2001:db8::1]',
    ],
    ...['localhost', 'LOCALHOST', 'localhost.', 'shop.localhost', 'printer.local', 'ｌocalhost', 'db.internal'],
    ...[
      'metadata.google.internal',
      'metadata.google.internal.',
      'router.lan',
      'nas.home',
      'nas.home.arpa',
      'wiki.corp',
    ],
    ...['db', 'intranet', 'app.private', 'wiki.intranet', 'localhost.localdomain', '224.0.0.1', '255.255.255.255'],
  ])('must lead to a public address: https://%s/ is refused', (host) => {
    expect(refusalOf(`https://${host}/a.png`)).toBe(notPublic);
    // The port and the path change nothing.
    expect(refusalOf(`https://${host}:8443/`)).toBe(notPublic);
  });

  test('is refused with a reason that does not repeat it, because it may hold a secret', () => {
    for (const url of ['https://10.0.0.1/?token=s3cret', 'http://a.example/?token=s3cret', 's3cret']) {
      expect(refusalOf(url)).not.toContain('s3cret');
    }
  });
});

describe('where loopback is allowed, for the local platform and tests', () => {
  test.each([
    'http://127.0.0.1:8080/',
    'https://127.0.0.1/',
    'http://localhost:1/',
    'http://[::1]:1/',
    'http://127.9.9.9/',
  ])('%s is allowed', (url) => expect(refusalOf(url, local)).toBeUndefined());
  test.each(['http://10.0.0.1/', 'https://10.0.0.1/', 'http://cdn.example.com/', 'https://169.254.169.254/'])(
    '%s is still refused',
    (url) => expect(refusalOf(url, local)).toBeDefined(),
  );
  test.each(['https://0.0.0.0/', 'https://shop.localhost/', 'https://[::ffff:127.0.0.1]/'])(
    '%s is still refused',
    (url) => expect(refusalOf(url, local)).toBe(notPublic),
  );
});

describe('a name in a URL', () => {
  test('is allowed if all of its addresses are public', async () => {
    const rules = resolving(['93.184.216.34', '2606:4700::1']);
    expect((await checkPublicUrl('https://cdn.example.com/', rules)).hostname).toBe('cdn.example.com');
  });

  test.each([
    ['private', ['10.0.0.1']],
    ['loopback', ['127.0.0.1']],
    ['the metadata service', ['169.254.169.254']],
    ['IPv4 in IPv6', ['::ffff:10.0.0.1']],
    ['public and another one private', ['93.184.216.34', 'fd00::1']],
  ])('is refused if an address is %s', async (_name, addresses) => {
    await expect(checkPublicUrl('https://cdn.example.com/', resolving(addresses))).rejects.toMatchObject({
      ...{
        name: 'RefusedUrl',
        permanent: true,
        message: 'The name in the URL leads to an address that is not public.',
      },
    });
  });

  test('that DNS does not know is refused for now, because it may be known later', async () => {
    await expect(checkPublicUrl('https://cdn.example.com/', resolving([]))).rejects.toMatchObject({ permanent: false });
  });

  test('is refused for now if DNS does not respond', async () => {
    const resolve = () => Promise.reject(new Error('no network'));
    await expect(checkPublicUrl('https://cdn.example.com/', { allowLoopback: false, resolve })).rejects.toMatchObject({
      ...{ permanent: false, message: 'DNS did not respond for the name in the URL.' },
    });
  });

  test('is asked for without the dot at its end, and an address is not asked for', async () => {
    const asked: string[] = [];
    const resolve = async (name: string) => {
      asked.push(name);
      return ['93.184.216.34'];
    };
    await checkPublicUrl('https://cdn.example.com./', { allowLoopback: false, resolve });
    await checkPublicUrl('https://93.184.216.34/', { allowLoopback: false, resolve });
    await checkPublicUrl('http://localhost/', { allowLoopback: true, resolve });
    expect(asked).toEqual(['cdn.example.com']);
  });
});
