import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { AppError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { localPrincipal } from '../../src/principal.ts';
import { Redactor } from '../../src/redactor.ts';
import { requireScope } from '../../src/scope.ts';
import { Access, type Caller, requireSafeBinding } from '../../src/server/access.ts';
import { networkOf } from '../../src/server/guesses.ts';
import { JwtVerifier } from '../../src/server/jwt.ts';
import { type NewToken, TokenBook } from '../../src/usage/tokens.ts';
import { startIssuer } from '../support/issuer.ts';
import { holderOf } from '../support/principal.ts';
import { openBooks } from '../usage/books.ts';

const minuteMs = 60_000;

async function openDoor({ host = '127.0.0.1', oauth = null as JwtVerifier | null } = {}) {
  const { database, clock } = await openBooks();
  const tokens = new TokenBook(database, clock, createLog('silent', new Redactor()));
  const access = new Access({ tokens, oauth, host });
  const create = async (about: Partial<NewToken> = {}) => {
    const name = `token-${(await tokens.list()).length}`;
    return tokens.create({ name, scopes: ['infer'], budget: null, requestsPerMinute: null, validMs: null, ...about });
  };
  const come = (authorization?: string, about: Partial<Caller> = {}) =>
    access.authenticate({ authorization, ip: '10.0.0.1', ...about });
  return { access, tokens, clock, create, come };
}

async function openDoorWithOAuth() {
  const issuer = await startIssuer();
  const { url, audience, jwksUri } = issuer;
  return { issuer, ...(await openDoor({ oauth: new JwtVerifier({ issuer: url, audience, jwksUri }, systemClock) })) };
}

async function refusalOf(work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof AppError)) throw new Error(`not refused: ${error}`);
  return error;
}

const wrong = (index: number) => `Bearer tdm_${String(index).padStart(43, 'x')}`;

describe('an open door', () => {
  it('is there on loopback as long as no token was made: everybody is the owner', async () => {
    const { come } = await openDoor();
    expect(await come()).toBe(localPrincipal);
    expect(await come('Bearer sk-unused')).toBe(localPrincipal);
  });

  it.each(['0.0.0.0', '::', '192.168.1.5', 'gpu-box', ''])(
    'is not there when the server listens on "%s"',
    async (host) => {
      const { come } = await openDoor({ host });
      expect(await refusalOf(come())).toMatchObject({ code: 'unauthorized' });
    },
  );

  it('closes with the first token', async () => {
    const { come, create } = await openDoor();
    await come();
    await create();
    const error = await refusalOf(come());
    expect(error.code).toBe('unauthorized');
    expect(error.next).toContain('tandem token create --name NAME --scope infer');
  });

  it('does not open again when the last token expires or is revoked', async () => {
    const { come, create, tokens, clock } = await openDoor();
    await create({ name: 'short', validMs: minuteMs });
    clock.advance(minuteMs);
    expect(await refusalOf(come())).toMatchObject({ code: 'unauthorized' });
    await create({ name: 'other' });
    await tokens.revoke('other');
    expect(await refusalOf(come())).toMatchObject({ code: 'unauthorized' });
  });

  it('is closed where OAuth is configured', async () => {
    const { come } = await openDoorWithOAuth();
    expect(await refusalOf(come())).toMatchObject({ code: 'unauthorized' });
  });

  it('does not let in who believes to have a token', async () => {
    const { come } = await openDoor();
    expect(await refusalOf(come(wrong(1)))).toMatchObject({ message: 'The token is not known here.' });
  });

  it.each([
    ['a name that leads here by DNS rebinding', { host: 'evil.example:8080' }],
    ['a web page', { host: '127.0.0.1:8080', origin: 'https://evil.example' }],
    ['a page without an origin of its own', { host: '127.0.0.1:8080', origin: 'null' }],
    ['no host at all', { host: '' }],
    ['a proxy before it', { host: '127.0.0.1:8080', isForwarded: true }],
  ])('does not take others who come by way of this machine for the owner: %s', async (_what, about) => {
    const { come } = await openDoor();
    expect(await refusalOf(come(undefined, about))).toMatchObject({ code: 'forbidden' });
  });

  it.each(['127.0.0.1:8080', 'localhost', '[::1]:8080'])('lets in programs that come by %s', async (host) => {
    const { come } = await openDoor();
    expect(await come(undefined, { host, origin: `http://${host}` })).toBe(localPrincipal);
  });
});

describe('a bearer', () => {
  it('leads to the principal of its token', async () => {
    const { come, create } = await openDoor();
    const { secret, token } = await create({ scopes: ['read'] });
    expect(await come(`Bearer ${secret}`)).toMatchObject({ id: token.id, scopes: new Set(['read']) });
    expect(await come(`bearer  ${secret} `)).toMatchObject({ id: token.id });
  });

  it.each([
    ['no scheme', (secret: string) => secret],
    ['another scheme', (secret: string) => `Basic ${secret}`],
    ['two secrets', (secret: string) => `Bearer ${secret} ${secret}`],
    ['nothing behind it', () => 'Bearer '],
    ['the secret in pieces', (secret: string) => `Bearer ${secret.slice(0, 20)}`],
    ['a secret of somebody else', (secret: string) => `Bearer ${secret.slice(0, -3)}___`],
    ['something like a JWT, without OAuth', () => 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.'],
  ])('is refused with %s', async (_what, headerOf) => {
    const { come, create } = await openDoor();
    const { secret } = await create();
    const error = await refusalOf(come(headerOf(secret)));
    expect(error.code).toBe('unauthorized');
    expect(error.text).not.toContain(secret.slice(4, 20));
  });

  it('is told why it holds no longer', async () => {
    const { come, create, tokens, clock } = await openDoor();
    const [revoked, expired] = [await create({ name: 'one' }), await create({ name: 'two', validMs: minuteMs })];
    await tokens.revoke('one');
    clock.advance(minuteMs);
    expect((await refusalOf(come(`Bearer ${revoked.secret}`))).message).toBe('The token was revoked.');
    expect((await refusalOf(come(`Bearer ${expired.secret}`))).message).toBe('The token has expired.');
  });

  it('may be guessed ten times a minute from one address', async () => {
    const { come, create } = await openDoor();
    const { secret, token } = await create();
    for (let tried = 0; tried < 10; tried += 1)
      expect(await refusalOf(come(wrong(tried)))).toMatchObject({ code: 'unauthorized' });
    const error = await refusalOf(come(wrong(10)));
    expect(error.code).toBe('rate_limited');
    expect(error.retryAfterMs).toBeGreaterThan(0);
    expect(error.retryAfterMs).toBeLessThanOrEqual(minuteMs);
    // Others are not held up by it, and neither is who has a right one behind the same address.
    expect(await refusalOf(come(wrong(11), { ip: '10.0.0.2' }))).toMatchObject({ code: 'unauthorized' });
    expect(await come(`Bearer ${secret}`, { ip: '10.0.0.2' })).toMatchObject({ id: token.id });
    expect(await come(`Bearer ${secret}`)).toMatchObject({ id: token.id });
  });

  it('may be an access token where OAuth is configured, beside tokens of our own', async () => {
    const { come, create, issuer } = await openDoorWithOAuth();
    const { secret, token } = await create();
    expect(await come(`Bearer ${await issuer.issue()}`)).toMatchObject({ id: 'oauth:ada' });
    expect(await come(`Bearer ${secret}`)).toMatchObject({ id: token.id });
  });

  it('counts as a guess when it is a wrong access token, which holds up nobody with a right one', async () => {
    const { come, issuer } = await openDoorWithOAuth();
    const right = `Bearer ${await issuer.issue()}`;
    const other = `Bearer ${await issuer.issue({ aud: 'https://other.example' })}`;
    for (let tried = 0; tried < 10; tried += 1)
      expect(await refusalOf(come(other))).toMatchObject({ code: 'unauthorized' });
    expect(await refusalOf(come(other))).toMatchObject({ code: 'rate_limited' });
    expect(await come(right)).toMatchObject({ id: 'oauth:ada' });
  });

  it('is no guess when it is missing: clients come without one to learn what is needed', async () => {
    const { come, create } = await openDoor();
    await create();
    for (let tried = 0; tried < 30; tried += 1) expect(await refusalOf(come())).toMatchObject({ code: 'unauthorized' });
  });

  it('may be used as often as its token allows', async () => {
    const { come, create } = await openDoor();
    const [slow, other] = [await create({ name: 'slow', requestsPerMinute: 3 }), await create({ name: 'other' })];
    for (let asked = 0; asked < 3; asked += 1) await come(`Bearer ${slow.secret}`);
    const error = await refusalOf(come(`Bearer ${slow.secret}`, { ip: '10.0.0.9' }));
    expect(error).toMatchObject({ code: 'rate_limited', message: '"slow" may ask 3 times a minute, and has.' });
    expect(error.retryAfterMs).toBeGreaterThan(0);
    for (let asked = 0; asked < 30; asked += 1) await come(`Bearer ${other.secret}`);
  });

  it('may guess, and ask, again when the minute is over', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const { come, create } = await openDoor();
    const { secret } = await create({ requestsPerMinute: 1 });
    for (let tried = 0; tried < 12; tried += 1) await refusalOf(come(wrong(tried)));
    await come(`Bearer ${secret}`);
    expect(await refusalOf(come(`Bearer ${secret}`))).toMatchObject({ code: 'rate_limited' });
    vi.setSystemTime(Date.now() + minuteMs);
    expect(await refusalOf(come(wrong(1)))).toMatchObject({ code: 'unauthorized' });
    await come(`Bearer ${secret}`);
  });

  it('costs microseconds', async () => {
    const { come, create } = await openDoor();
    const { secret } = await create({ requestsPerMinute: 1_000_000 });
    await come(`Bearer ${secret}`);
    const startedAt = performance.now();
    for (let asked = 0; asked < 2_000; asked += 1) await come(`Bearer ${secret}`);
    const eachMs = (performance.now() - startedAt) / 2_000;
    console.log(`authenticate: ${(eachMs * 1000).toFixed(1)} µs`);
    expect(eachMs).toBeLessThan(1);
  });
});

describe('addresses that guess', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002:0:0:0:0', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
  ])('are counted together where one household has them: %s', (ip, network) => {
    expect(networkOf(ip)).toBe(network);
  });
});

describe('requireScope', () => {
  it('names the scope that is missing', () => {
    expect(() => requireScope(holderOf('infer'), 'infer', 'complete')).not.toThrow();
    expect(() => requireScope(holderOf('infer'), 'operate', 'launch_instance')).toThrow(
      expect.objectContaining({
        code: 'forbidden',
        scope: 'operate',
        message: expect.stringContaining('scope operate'),
      }),
    );
  });
});

describe('requireSafeBinding', () => {
  const nobody = { hasTokens: false, oauth: false };

  it.each(['0.0.0.0', '::', '', '192.168.1.5', 'gpu-box', '127.0.0.1.evil.example', '128.0.0.1'])(
    'refuses to listen on "%s" for everybody, and says which command to run',
    (host) => {
      expect(() => requireSafeBinding({ host, ...nobody })).toThrow(
        expect.objectContaining({
          code: 'config_invalid',
          next: expect.stringContaining('tandem token create --name NAME --scope infer'),
        }),
      );
    },
  );

  it.each(['127.0.0.1', '127.8.8.8', 'localhost', '::1', '[::1]'])('lets it listen on %s', (host) => {
    expect(() => requireSafeBinding({ host, ...nobody })).not.toThrow();
  });

  it('lets it listen anywhere with a token or with OAuth', () => {
    expect(() => requireSafeBinding({ host: '0.0.0.0', hasTokens: true, oauth: false })).not.toThrow();
    expect(() => requireSafeBinding({ host: '0.0.0.0', hasTokens: false, oauth: true })).not.toThrow();
  });
});
