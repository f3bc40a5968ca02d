import fastify from 'fastify';
import { generateKeyPair } from 'jose';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Clock, systemClock } from '../../src/clock.ts';
import { AppError } from '../../src/errors.ts';
import { JwtVerifier } from '../../src/server/jwt.ts';
import { challengeFor, protectedResource } from '../../src/server/oauth.ts';
import { ManualClock } from '../support/clock.ts';
import { type Issuer, startIssuer } from '../support/issuer.ts';

function verifierFor(
  { url, audience }: Issuer,
  jwksUri: string | null = null,
  clock: Clock = systemClock,
): JwtVerifier {
  return new JwtVerifier({ issuer: url, audience, jwksUri }, clock);
}

async function refusalOf(work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof AppError)) throw new Error(`not refused: ${error}`);
  return error;
}

const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;
const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('an access token', () => {
  it('leads to a principal of its subject, with the scopes that mean something here', async () => {
    const issuer = await startIssuer();
    expect(await verifierFor(issuer).verify(await issuer.issue())).toEqual({
      id: 'oauth:ada',
      name: 'ada',
      scopes: new Set(['infer', 'read']),
      budget: null,
      requestsPerMinute: null,
    });
  });

  it.each([
    ['a text in scp', { scp: 'operate' }, ['operate']],
    ['a list in scp', { scp: ['infer', 'operate', 7] }, ['infer', 'operate']],
    ['no scope', {}, []],
    ['scopes that only look alike', { scope: 'operate_all Operate xoperate' }, []],
  ])('may have its scopes as %s', async (_what, claims, expected) => {
    const issuer = await startIssuer();
    const principal = await verifierFor(issuer).verify(await issuer.issue({ scope: undefined, ...claims }));
    expect([...principal.scopes]).toEqual(expected);
  });

  it('gives a name for people, but not one that breaks tables', async () => {
    const issuer = await startIssuer();
    const verifier = verifierFor(issuer);
    const nameOf = async (preferred_username: string) =>
      (await verifier.verify(await issuer.issue({ preferred_username }))).name;
    expect(await nameOf('Ada L.')).toBe('Ada L.');
    expect(await nameOf('Ada\nlocal')).toBe('ada');
  });

  it.each([
    ['another issuer', { iss: 'https://evil.example' }, '"iss"'],
    ['another audience', { aud: 'https://other.example/mcp' }, '"aud"'],
    ['no audience', { aud: undefined }, '"aud"'],
    ['an end that is over', { exp: 1_700_000_000 }, 'has expired'],
    ['no end', { exp: undefined }, '"exp"'],
    ['no subject', { sub: undefined }, '"sub"'],
    ['an empty subject', { sub: '' }, '"sub"'],
    ['a subject of two lines', { sub: 'ada\nlocal' }, '"sub"'],
    ['a beginning that is to come', { nbf: inSeconds(3600) }, '"nbf"'],
  ])('is refused with %s', async (_what, claims, reason) => {
    const issuer = await startIssuer();
    const jwt = await issuer.issue(claims);
    const error = await refusalOf(verifierFor(issuer).verify(jwt));
    expect(error.code).toBe('unauthorized');
    expect(error.message).toContain(reason);
    expect(error.text).not.toContain(jwt.slice(0, 20));
  });

  it('is refused without a signature', async () => {
    const issuer = await startIssuer();
    const claims = { iss: issuer.url, aud: issuer.audience, sub: 'ada', exp: inSeconds(600), scope: 'operate' };
    for (const signature of ['', 'AAAA'])
      expect(
        await refusalOf(verifierFor(issuer).verify(`${base64({ alg: 'none' })}.${base64(claims)}.${signature}`)),
      ).toMatchObject({ code: 'unauthorized' });
  });

  it('is refused when it is signed with a shared secret, such as the public key', async () => {
    const issuer = await startIssuer();
    const keys = await (await fetch(issuer.jwksUri)).text();
    const jwt = await issuer.issue({}, { alg: 'HS256', key: new TextEncoder().encode(keys) });
    expect((await refusalOf(verifierFor(issuer).verify(jwt))).message).toContain('signed in a way that is not allowed');
  });

  it('is refused when another key signed it, under the name of the right one or under its own', async () => {
    const issuer = await startIssuer();
    const { privateKey } = await generateKeyPair('ES256');
    const verifier = verifierFor(issuer);
    const forged = await issuer.issue({}, { key: privateKey });
    expect((await refusalOf(verifier.verify(forged))).message).toContain('wrong signature');
    const unknown = await issuer.issue({}, { key: privateKey, kid: 'two' });
    expect((await refusalOf(verifier.verify(unknown))).message).toContain('key that the issuer does not have');
  });

  it('is refused when a part of it was changed', async () => {
    const issuer = await startIssuer();
    const [header, claims = '', signature] = (await issuer.issue()).split('.');
    const wider = { ...JSON.parse(Buffer.from(claims, 'base64url').toString()), scope: 'infer read operate' };
    const jwt = [header, base64(wider), signature].join('.');
    expect(await refusalOf(verifierFor(issuer).verify(jwt))).toMatchObject({ code: 'unauthorized' });
  });

  it('is refused when it is no token or has no end of length', async () => {
    const issuer = await startIssuer();
    for (const text of ['a.b.c', '..', `${'a'.repeat(20_000)}.b.c`])
      expect(await refusalOf(verifierFor(issuer).verify(text))).toMatchObject({ code: 'unauthorized' });
  });

  it('may be signed with RSA or Ed25519', async () => {
    for (const algorithm of ['RS256', 'PS256', 'EdDSA']) {
      const issuer = await startIssuer({ algorithm });
      expect(await verifierFor(issuer).verify(await issuer.issue())).toMatchObject({ id: 'oauth:ada' });
    }
  });
});

describe('the keys of the issuer', () => {
  it.each([
    ['OAuth', { metadata: 'oauth' as const }],
    ['OAuth, for an issuer with a path', { metadata: 'oauth' as const, path: '/tenant' }],
    ['OpenID Connect', { metadata: 'openid' as const }],
    ['OpenID Connect, for an issuer with a path', { metadata: 'openid' as const, path: '/tenant' }],
  ])('are found by its metadata: %s', async (_what, options) => {
    const issuer = await startIssuer(options);
    expect(await verifierFor(issuer).verify(await issuer.issue())).toMatchObject({ id: 'oauth:ada' });
  });

  it('are read from where the configuration says', async () => {
    const issuer = await startIssuer({ metadata: 'none' });
    expect(await verifierFor(issuer, issuer.jwksUri).verify(await issuer.issue())).toMatchObject({ id: 'oauth:ada' });
  });

  it('are read once for many tokens, also for tokens with keys that do not exist', async () => {
    const issuer = await startIssuer();
    const verifier = verifierFor(issuer);
    const jwt = await issuer.issue();
    await Promise.all([verifier.verify(jwt), verifier.verify(jwt)]);
    for (const kid of ['x', 'y', 'z']) await refusalOf(verifier.verify(await issuer.issue({}, { kid })));
    expect(issuer.jwksReads).toBe(1);
  });

  it.each([
    ['speaks for another issuer', { issuer: 'https://evil.example' }],
    ['leads to keys in the clear', { jwks_uri: 'http://keys.example/keys' }],
  ])('are not taken from metadata that %s', async (_what, claims) => {
    const issuer = await startIssuer({ claims });
    expect(await refusalOf(verifierFor(issuer).verify(await issuer.issue()))).toMatchObject({
      code: 'upstream_unavailable',
    });
    expect(issuer.jwksReads).toBe(0);
  });

  it('that cannot be read are a failure of the issuer and not of the token, tried again after a pause', async () => {
    const issuer = await startIssuer();
    const jwt = await issuer.issue();
    await issuer.close();
    const clock = new ManualClock(new Date().toISOString());
    for (const jwksUri of [null, issuer.jwksUri]) {
      const verifier = verifierFor(issuer, jwksUri, clock);
      expect(await refusalOf(verifier.verify(jwt))).toMatchObject({ code: 'upstream_unavailable' });
      expect((await refusalOf(verifier.verify(jwt))).message).toContain('did not answer a moment ago');
      clock.advance(5_000);
      expect((await refusalOf(verifier.verify(jwt))).message).not.toContain('a moment ago');
    }
  });
});

describe('the protected resource', () => {
  const oauth = { issuer: 'https://login.example', audience: 'https://tandem.example.com/mcp', jwksUri: null };

  async function serve(about: Partial<typeof oauth> = {}) {
    const app = fastify();
    await app.register(protectedResource, { oauth: { ...oauth, ...about } });
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    onTestFinished(() => app.close());
    const read = async (path: string) =>
      (await fetch(`${url}/.well-known/oauth-protected-resource${path}`)).json() as Promise<Record<string, unknown>>;
    return { url, read };
  }

  it('says who issues tokens for it, at both addresses', async () => {
    const { read } = await serve();
    for (const path of ['', '/mcp'])
      expect(await read(path)).toEqual({
        resource: 'https://tandem.example.com/mcp',
        authorization_servers: ['https://login.example'],
        scopes_supported: ['infer', 'read', 'operate'],
        bearer_methods_supported: ['header'],
        resource_name: 'Tandem',
      });
  });

  it('goes by the address of the request when the audience is no URL', async () => {
    const { url, read } = await serve({ audience: 'api://tandem' });
    expect(await read('/mcp')).toMatchObject({ resource: `${url}/mcp` });
  });

  describe('challenges', () => {
    const reached = { protocol: 'http', host: '127.0.0.1:8080' };
    const metadata = 'resource_metadata="https://tandem.example.com/.well-known/oauth-protected-resource/mcp"';
    const unauthorized = new AppError('unauthorized', 'No.');
    const forbidden = new AppError('forbidden', 'No.', { scope: 'operate' });

    it('who came without a token with where to learn more', () => {
      expect(challengeFor(unauthorized, { oauth, bearer: false, reached })).toBe(`Bearer ${metadata}`);
    });

    it('who came with a wrong token, and who lacks a scope, with what was wrong', () => {
      expect(challengeFor(unauthorized, { oauth, bearer: true, reached })).toBe(
        `Bearer error="invalid_token", ${metadata}`,
      );
      expect(challengeFor(forbidden, { oauth, bearer: true, reached })).toBe(
        `Bearer error="insufficient_scope", scope="operate", ${metadata}`,
      );
    });

    it('also without OAuth, and nobody for other errors', () => {
      expect(challengeFor(unauthorized, { oauth: null, bearer: false, reached })).toBe('Bearer');
      expect(challengeFor(new AppError('forbidden', 'No.'), { oauth, bearer: true, reached })).toBeNull();
      expect(challengeFor(new AppError('rate_limited', 'No.'), { oauth, bearer: true, reached })).toBeNull();
    });
  });
});
