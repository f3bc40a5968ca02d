import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Principal, type Scope, scopes } from '../principal.ts';
import type { Database } from './database.ts';
import type { TokenTable } from './tables.ts';

/** A token as it may be shown: everything but the hash of its secret. */
export type Token = Omit<TokenTable, 'secret_hash'>;

export interface NewToken {
  name: string;
  scopes: readonly Scope[];
  budget: Principal['budget'];
  requestsPerMinute: number | null;
  /** From now; null: it never expires. */
  validMs: number | null;
}

export type RefusedBecause = 'malformed' | 'unknown' | 'revoked' | 'expired';

export type Authentication = { principal: Principal } | { refused: RefusedBecause };

/** What every secret begins with, so that people and scanners of leaked keys know it when they see it. */
export const secretPrefix = 'tdm_';

const secretForm = /^tdm_[\w-]{43}$/;
const nameForm = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/;
/** A token that another process revoked is refused after this time at the latest. */
const freshMs = 3_000;
/** A secret that is not known is looked up again at most so often: it may have been made a moment ago. */
const lookAgainMs = 200;
const noteUseMs = 60_000;

interface Known {
  token: Token;
  hash: Buffer;
  principal: Principal;
}

/**
 * The tokens with which principals come in. All of them are held in memory and read again every few seconds, so that
 * a request costs a hash and a look into a map: no read and no write.
 */
export class TokenBook {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #log: Log;
  #known: ReadonlyMap<string, Known> = new Map();
  #readAtMs = Number.NEGATIVE_INFINITY;
  #changes = 0;
  #reading: Promise<void> | null = null;
  readonly #notedAtMs = new Map<string, number>();
  #notes: Promise<unknown> = Promise.resolve();

  constructor(database: Database, clock: Clock, log: Log) {
    this.#database = database;
    this.#clock = clock;
    this.#log = log;
  }

  /** Throws `invalid_input`, or `duplicate_name` when a live token bears the name. The secret is not kept. */
  async create(wish: NewToken): Promise<{ token: Token; secret: string }> {
    requireSensible(wish);
    // 256 random bits cannot be guessed or found by trying, so a plain hash is as good as a slow, salted one.
    const secret = secretPrefix + randomBytes(32).toString('base64url');
    const nowMs = this.#clock.nowMs();
    const token: Token = {
      id: `tok_${randomBytes(6).toString('hex')}`,
      name: wish.name,
      scopes: scopes.filter((scope) => wish.scopes.includes(scope)).join(' '),
      budget_limit_nano_usd: wish.budget?.limitNanoUsd ?? null,
      budget_per: wish.budget?.per ?? null,
      requests_per_minute: wish.requestsPerMinute,
      created_at_ms: nowMs,
      expires_at_ms: wish.validMs === null ? null : nowMs + wish.validMs,
      revoked_at_ms: null,
      last_used_at_ms: null,
    };
    await this.#database.write(async (queries) => {
      const named = await queries.selectFrom('token').selectAll().where('name', '=', wish.name).execute();
      if (named.some((other) => isLive(other, nowMs))) {
        throw new AppError('duplicate_name', `There is a token named "${wish.name}" already.`, {
          next: `Choose another name, or revoke it first: tandem token revoke ${wish.name}`,
        });
      }
      await queries
        .insertInto('token')
        .values({ ...token, secret_hash: hashOf(secret).toString('hex') })
        .execute();
    });
    this.#forget();
    return { token, secret };
  }

  /** All that there ever were, oldest first. */
  async list(): Promise<Token[]> {
    await this.#read();
    return [...this.#known.values()].map(({ token }) => token);
  }

  /** Holds at once here, and within seconds in other processes. Throws `not_found`. */
  async revoke(idOrName: string): Promise<Token> {
    const nowMs = this.#clock.nowMs();
    const revoked = await this.#database.write(async (queries) => {
      const all = await queries.selectFrom('token').selectAll().orderBy('created_at_ms').execute();
      const live = all.filter((token) => isLive(token, nowMs));
      const found = live.find(({ id }) => id === idOrName) ?? live.find(({ name }) => name === idOrName);
      if (!found) {
        const names = live.map(({ id, name }) => `${name} (${id})`).join(', ');
        throw new AppError('not_found', `There is no live token "${idOrName}".`, { next: `Live: ${names || 'none'}.` });
      }
      await queries.updateTable('token').set({ revoked_at_ms: nowMs }).where('id', '=', found.id).execute();
      return { ...withoutHash(found), revoked_at_ms: nowMs };
    });
    this.#forget();
    return revoked;
  }

  /** Whether any was ever made: whoever began to use tokens does not get an open door when the last one expires. */
  async hasAny(): Promise<boolean> {
    await this.#refresh(freshMs);
    return this.#known.size > 0;
  }

  async hasLive(): Promise<boolean> {
    await this.#refresh(freshMs);
    const nowMs = this.#clock.nowMs();
    return [...this.#known.values()].some(({ token }) => isLive(token, nowMs));
  }

  /** Whether this one, by its id, still lets its holder in. */
  async isLive(id: string): Promise<boolean> {
    await this.#refresh(freshMs);
    const known = [...this.#known.values()].find(({ token }) => token.id === id);
    return known !== undefined && isLive(known.token, this.#clock.nowMs());
  }

  async authenticate(secret: string): Promise<Authentication> {
    if (!secretForm.test(secret)) return { refused: 'malformed' };
    const hash = hashOf(secret);
    await this.#refresh(freshMs);
    let known = this.#find(hash);
    if (!known) {
      await this.#refresh(lookAgainMs);
      known = this.#find(hash);
    }
    if (!known) return { refused: 'unknown' };
    const { token, principal } = known;
    const nowMs = this.#clock.nowMs();
    if (token.revoked_at_ms !== null) return { refused: 'revoked' };
    if (!isLive(token, nowMs)) return { refused: 'expired' };
    this.#noteUse(token, nowMs);
    return { principal };
  }

  /** Waits for what is still being written. */
  async close(): Promise<void> {
    await this.#notes;
  }

  /**
   * By the hash: how long the look-up takes can tell something about the hash of a guess, which says nothing about a
   * secret, because nobody can choose a hash. The comparison that decides takes equally long for all.
   */
  #find(hash: Buffer): Known | null {
    const known = this.#known.get(hash.toString('hex'));
    return known && timingSafeEqual(known.hash, hash) ? known : null;
  }

  async #refresh(atMostOldMs: number): Promise<void> {
    // The clock may be set back; what was read in its future is not fresh.
    if (Math.abs(this.#clock.nowMs() - this.#readAtMs) >= atMostOldMs) await this.#read();
  }

  /** Several requests at once share one read. */
  async #read(): Promise<void> {
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = null;
    });
    await this.#reading;
  }

  async #readAll(): Promise<void> {
    const readAtMs = this.#clock.nowMs();
    const changes = this.#changes;
    const rows = await this.#database.read.selectFrom('token').selectAll().orderBy('created_at_ms').execute();
    // A revoke here may have come between: what it ended must not come back with an older list.
    if (changes !== this.#changes) return this.#readAll();
    this.#known = new Map(rows.map((row) => [row.secret_hash, toKnown(row)]));
    this.#readAtMs = readAtMs;
  }

  /** Own changes hold at once. */
  #forget(): void {
    this.#changes += 1;
    this.#readAtMs = Number.NEGATIVE_INFINITY;
  }

  #noteUse({ id, last_used_at_ms: lastUsedAtMs }: Token, nowMs: number): void {
    if (nowMs - Math.max(lastUsedAtMs ?? 0, this.#notedAtMs.get(id) ?? 0) < noteUseMs) return;
    this.#notedAtMs.set(id, nowMs);
    const note = this.#database.write((queries) =>
      queries.updateTable('token').set({ last_used_at_ms: nowMs }).where('id', '=', id).execute(),
    );
    // A request is not refused because its time could not be noted.
    const noted = note.catch((error: unknown) => this.#log.warn({ error, token: id }, 'could not note the use'));
    this.#notes = Promise.all([this.#notes, noted]);
  }
}

export function isLive(token: Token, nowMs: number): boolean {
  return token.revoked_at_ms === null && (token.expires_at_ms === null || nowMs < token.expires_at_ms);
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function withoutHash({ secret_hash: _, ...token }: TokenTable): Token {
  return token;
}

function toKnown(row: TokenTable): Known {
  const token = withoutHash(row);
  const given = row.scopes.split(' ');
  const { budget_limit_nano_usd: limitNanoUsd, budget_per: per } = row;
  const principal: Principal = {
    id: row.id,
    name: row.name,
    scopes: new Set(scopes.filter((scope) => given.includes(scope))),
    budget: limitNanoUsd === null || per === null ? null : { limitNanoUsd, per },
    requestsPerMinute: row.requests_per_minute,
  };
  return { token, hash: Buffer.from(row.secret_hash, 'hex'), principal };
}

function requireSensible({ name, scopes: wanted, budget, requestsPerMinute, validMs }: NewToken): void {
  const refuse = (message: string, next: string): never => {
    throw new AppError('invalid_input', message, { next });
  };
  if (!nameForm.test(name))
    refuse(`"${name}" is no name for a token.`, 'Use 1 to 64 letters, digits, dots, dashes, underscores.');
  if (name.startsWith('tok_') || name.startsWith(secretPrefix))
    refuse(`"${name}" looks like an id or a secret.`, 'Choose a name that says who or what uses the token.');
  if (wanted.length === 0) refuse('The token has no scope.', `Valid: ${scopes.join(', ')}.`);
  if (budget && !Number.isSafeInteger(budget.limitNanoUsd)) refuse('The budget is too large.', 'Give fewer dollars.');
  if (requestsPerMinute !== null && !(requestsPerMinute >= 1))
    refuse('The rate allows nothing.', 'Give one request per minute or more.');
  if (validMs !== null && !(validMs > 0))
    refuse('The token would be expired at once.', 'Give a time that is not over.');
}
