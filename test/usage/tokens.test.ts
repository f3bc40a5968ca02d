import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createLog } from '../../src/log.ts';
import { usdToNano } from '../../src/money.ts';
import { Redactor } from '../../src/redactor.ts';
import { openDatabase } from '../../src/usage/database.ts';
import { type NewToken, TokenBook } from '../../src/usage/tokens.ts';
import { type Books, openBooks } from './books.ts';

const dayMs = 24 * 3_600_000;
const log = createLog('silent', new Redactor());

function wish(about: Partial<NewToken> = {}): NewToken {
  return { name: 'laptop', scopes: ['infer'], budget: null, requestsPerMinute: null, validMs: 90 * dayMs, ...about };
}

async function openBook(): Promise<Books & { tokens: TokenBook }> {
  const books = await openBooks();
  return { ...books, tokens: new TokenBook(books.database, books.clock, log) };
}

/** The rows as they are on the disk. */
function rows({ database }: Books) {
  return database.read.selectFrom('token').selectAll().execute();
}

describe('TokenBook', () => {
  it('makes a secret of 256 random bits that leads to a principal with what was given', async () => {
    const { tokens } = await openBook();
    const { token, secret } = await tokens.create(
      wish({
        scopes: ['operate', 'infer'],
        budget: { limitNanoUsd: usdToNano(5), per: 'day' },
        requestsPerMinute: 60,
      }),
    );
    expect(secret).toMatch(/^tdm_[\w-]{43}$/);
    expect(token.id).toMatch(/^tok_[0-9a-f]{12}$/);
    expect(await tokens.authenticate(secret)).toEqual({
      principal: {
        id: token.id,
        name: 'laptop',
        scopes: new Set(['infer', 'operate']),
        budget: { limitNanoUsd: usdToNano(5), per: 'day' },
        requestsPerMinute: 60,
      },
    });
  });

  it('keeps no secret: neither in what it returns nor in any file', async () => {
    const { tokens, path, database } = await openBook();
    const { token, secret } = await tokens.create(wish());
    await tokens.authenticate(secret);
    await tokens.close();
    expect(JSON.stringify([token, await tokens.list()])).not.toContain(secret.slice(4));
    expect(JSON.stringify(await tokens.list())).not.toMatch(/hash/);
    const bytes = () => readdirSync(dirname(path)).map((file) => readFileSync(join(dirname(path), file), 'latin1'));
    expect(bytes().join('')).toContain('laptop');
    expect(bytes().join('')).not.toContain(secret.slice(4, 24));
    await database.close();
    expect(bytes().join('')).not.toContain(secret.slice(4, 24));
  });

  it('refuses a secret that it never gave, and one that is none', async () => {
    const { tokens } = await openBook();
    const { secret } = await tokens.create(wish());
    const wrong = secret.slice(0, -2) + (secret.endsWith('AA') ? 'BB' : 'AA');
    expect(await tokens.authenticate(wrong)).toEqual({ refused: 'unknown' });
    for (const text of ['', 'tdm_', 'tdm_short', `${secret}A`, ` ${secret}`, secret.slice(4), `TDM_${secret.slice(4)}`])
      expect(await tokens.authenticate(text)).toEqual({ refused: 'malformed' });
  });

  it('refuses the hash in place of the secret', async () => {
    const book = await openBook();
    await book.tokens.create(wish());
    const [row] = await rows(book);
    expect(await book.tokens.authenticate(`tdm_${row?.secret_hash.slice(0, 43)}`)).toEqual({ refused: 'unknown' });
  });

  it('refuses it from the moment at which it expires', async () => {
    const { tokens, clock } = await openBook();
    const { secret } = await tokens.create(wish({ validMs: dayMs }));
    clock.advance(dayMs - 1);
    expect(await tokens.authenticate(secret)).toHaveProperty('principal');
    clock.advance(1);
    expect(await tokens.authenticate(secret)).toEqual({ refused: 'expired' });
  });

  it('lets a token without an end live on', async () => {
    const { tokens, clock } = await openBook();
    const { secret } = await tokens.create(wish({ validMs: null }));
    clock.advance(10_000 * dayMs);
    expect(await tokens.authenticate(secret)).toHaveProperty('principal');
  });

  it('refuses at once what was revoked here', async () => {
    const { tokens } = await openBook();
    const { secret } = await tokens.create(wish());
    expect(await tokens.authenticate(secret)).toHaveProperty('principal');
    await tokens.revoke('laptop');
    expect(await tokens.authenticate(secret)).toEqual({ refused: 'revoked' });
  });

  it('refuses at once what was revoked here while its list was being read', async () => {
    const { tokens, clock } = await openBook();
    const { secret } = await tokens.create(wish());
    clock.advance(dayMs);
    const [, , after] = await Promise.all([
      tokens.authenticate(secret),
      tokens.revoke('laptop'),
      tokens.list(),
      tokens.list(),
    ]);
    expect(after).toHaveLength(1);
    expect(await tokens.authenticate(secret)).toEqual({ refused: 'revoked' });
  });

  it('refuses within five seconds what another process revoked', async () => {
    const { tokens, path, clock } = await openBook();
    const { secret } = await tokens.create(wish());
    expect(await tokens.authenticate(secret)).toHaveProperty('principal');
    await tokens.close();
    const elsewhere = await openDatabase(path);
    await new TokenBook(elsewhere, clock, log).revoke('laptop');
    await elsewhere.close();
    clock.advance(5_000);
    expect(await tokens.authenticate(secret)).toEqual({ refused: 'revoked' });
  });

  it('knows a moment later what another process made', async () => {
    const { tokens, path, clock } = await openBook();
    expect(await tokens.hasAny()).toBe(false);
    const elsewhere = await openDatabase(path);
    const { secret } = await new TokenBook(elsewhere, clock, log).create(wish());
    await elsewhere.close();
    clock.advance(200);
    expect(await tokens.authenticate(secret)).toHaveProperty('principal');
  });

  it('does not take a list for fresh when the clock was set back', async () => {
    const { tokens, path, clock } = await openBook();
    const { secret } = await tokens.create(wish());
    await tokens.authenticate(secret);
    await tokens.close();
    clock.advance(-dayMs);
    const elsewhere = await openDatabase(path);
    await new TokenBook(elsewhere, clock, log).revoke('laptop');
    await elsewhere.close();
    expect(await tokens.authenticate(secret)).toEqual({ refused: 'revoked' });
  });

  it('reads nothing from the database for requests in a row, right or wrong', async () => {
    const { tokens, database } = await openBook();
    const { secret } = await tokens.create(wish());
    await tokens.authenticate(secret);
    await tokens.close();
    await database.close();
    for (let asked = 0; asked < 100; asked += 1) expect(await tokens.authenticate(secret)).toHaveProperty('principal');
    expect(await tokens.authenticate(`tdm_${'A'.repeat(43)}`)).toEqual({ refused: 'unknown' });
  });

  it('notes the last use, once a minute at most', async () => {
    const book = await openBook();
    const { tokens, clock } = book;
    const { secret } = await tokens.create(wish());
    const startMs = clock.nowMs();
    const lastUse = async () => {
      await tokens.authenticate(secret);
      await tokens.close();
      return ((await rows(book))[0]?.last_used_at_ms ?? 0) - startMs;
    };
    clock.advance(1_000);
    expect(await lastUse()).toBe(1_000);
    clock.advance(59_999);
    expect(await lastUse()).toBe(1_000);
    clock.advance(1);
    expect(await lastUse()).toBe(61_000);
  });

  it('lets nobody wait or fail because the use could not be noted', async () => {
    const { tokens, database } = await openBook();
    const { secret } = await tokens.create(wish());
    await tokens.list();
    await database.close();
    expect(await tokens.authenticate(secret)).toHaveProperty('principal');
    await tokens.close();
  });

  it('gives a name to one live token at a time', async () => {
    const { tokens, clock } = await openBook();
    await tokens.create(wish({ validMs: dayMs }));
    await expect(tokens.create(wish())).rejects.toMatchObject({
      code: 'duplicate_name',
      next: expect.stringContaining('tandem token revoke laptop'),
    });
    clock.advance(dayMs);
    await tokens.create(wish());
    await tokens.revoke('laptop');
    await tokens.create(wish());
    expect(await tokens.list()).toHaveLength(3);
  });

  it('revokes by id as well as by name, and only what lives', async () => {
    const { tokens } = await openBook();
    const { token } = await tokens.create(wish());
    expect(await tokens.revoke(token.id)).toMatchObject({ name: 'laptop', revoked_at_ms: expect.any(Number) });
    await tokens.create(wish({ name: 'other' }));
    await expect(tokens.revoke('laptop')).rejects.toMatchObject({
      code: 'not_found',
      next: expect.stringMatching(/^Live: other \(tok_/),
    });
  });

  it('tells tokens that there were from tokens that live', async () => {
    const { tokens } = await openBook();
    expect([await tokens.hasAny(), await tokens.hasLive()]).toEqual([false, false]);
    await tokens.create(wish());
    expect([await tokens.hasAny(), await tokens.hasLive()]).toEqual([true, true]);
    await tokens.revoke('laptop');
    expect([await tokens.hasAny(), await tokens.hasLive()]).toEqual([true, false]);
  });

  it.each<[string, Partial<NewToken>]>([
    ['no name', { name: '' }],
    ['a name with spaces', { name: 'my laptop' }],
    ['a name like an id', { name: 'tok_1' }],
    ['no scope', { scopes: [] }],
    ['a rate of nothing', { requestsPerMinute: 0 }],
    ['no time to live', { validMs: 0 }],
    ['a budget without end', { budget: { limitNanoUsd: Number.POSITIVE_INFINITY, per: 'day' } }],
  ])('refuses to make one with %s', async (_what, about) => {
    const { tokens } = await openBook();
    await expect(tokens.create(wish(about))).rejects.toMatchObject({ code: 'invalid_input' });
    expect(await tokens.list()).toEqual([]);
  });
});
