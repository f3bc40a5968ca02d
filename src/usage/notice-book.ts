import { sql } from 'kysely';
import type { Clock } from '../clock.ts';
import type { Redactor } from '../redactor.ts';
import type { Database } from './database.ts';
import type { NoticeTable } from './tables.ts';

export type NoticeKind =
  | 'ready'
  | 'boot_failed'
  | 'capacity_found'
  | 'capacity_given_up'
  | 'lease_80'
  | 'lease_expired'
  | 'idle_stop'
  | 'budget_80'
  | 'budget_100'
  | 'orphan_found'
  | 'error_rate'
  | 'price_changed';

export type NoticeRow = NoticeTable;

/** Receivers of Slack's format that are stricter than Slack take so many characters. */
const longestText = 1_800;
/** A sender that has not finished by then is dead: another one takes the notice up. */
const claimServesMs = 60_000;
const firstRetryMs = 10_000;
const longestRetryMs = 60 * 60_000;
/** Nobody wants to be told later than that. */
const givenUpAfterMs = 24 * 60 * 60_000;
const keptMs = 30 * 24 * 60 * 60_000;
/** `next_try_at_ms` of what was given up. */
const never = Number.MAX_SAFE_INTEGER;

/**
 * What people are to be told: written first, each key once for all processes, and sent later. A sender that dies
 * between sending and noting it makes a notice arrive twice; none is lost.
 */
export class NoticeBook {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #redactor: Redactor;

  constructor(parts: { database: Database; clock: Clock; redactor: Redactor }) {
    this.#database = parts.database;
    this.#clock = parts.clock;
    this.#redactor = parts.redactor;
  }

  /** False when the key was told before. `text`: what happened, and what to do next. */
  async tell(kind: NoticeKind, key: string, text: string): Promise<boolean> {
    // Conditions that stay are told again in every pass, and a look is cheaper than a transaction.
    if (await this.#find(key)) return false;
    const nowMs = this.#clock.nowMs();
    return this.#database.write(async (queries) => {
      const { numInsertedOrUpdatedRows } = await queries
        .insertInto('notice')
        .values({
          key,
          kind,
          text: shorten(this.#redactor.scrub(text)),
          at_ms: nowMs,
          sent_at_ms: null,
          tries: 0,
          next_try_at_ms: nowMs,
          problem: null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow();
      return numInsertedOrUpdatedRows === 1n;
    });
  }

  /** What is to be sent at `nowMs`, in the order in which it was told. */
  due(nowMs: number, limit = 20): Promise<NoticeRow[]> {
    return this.#database.read
      .selectFrom('notice')
      .selectAll()
      .where('sent_at_ms', 'is', null)
      .where('next_try_at_ms', '<=', nowMs)
      .orderBy('at_ms')
      .orderBy(sql`rowid`)
      .limit(limit)
      .execute();
  }

  /** Whether any is still to be sent, now or later. */
  async hasUnsent(): Promise<boolean> {
    const row = await this.#database.read
      .selectFrom('notice')
      .select('key')
      .where('sent_at_ms', 'is', null)
      .where('next_try_at_ms', '<', never)
      .limit(1)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** The row for its sender alone; null when somebody else has it, or has sent it. Sent, failed, or due again later. */
  async claim({ key, tries, next_try_at_ms }: NoticeRow): Promise<NoticeRow | null> {
    const row = await this.#database.write((queries) =>
      queries
        .updateTable('notice')
        .set({ tries: tries + 1, next_try_at_ms: this.#clock.nowMs() + claimServesMs })
        .where('key', '=', key)
        .where('sent_at_ms', 'is', null)
        .where('tries', '=', tries)
        .where('next_try_at_ms', '=', next_try_at_ms)
        .returningAll()
        .executeTakeFirst(),
    );
    return row ?? null;
  }

  /** Also by a sender whose claim has run out: it has arrived. */
  async sent({ key }: NoticeRow): Promise<void> {
    await this.#database.write((queries) =>
      queries
        .updateTable('notice')
        .set({ sent_at_ms: this.#clock.nowMs(), problem: null })
        .where('key', '=', key)
        .where('sent_at_ms', 'is', null)
        .execute(),
    );
  }

  /**
   * To be tried again after a while that grows, and not before `retryAfterMs`; given up a day after it was told.
   * Returns when it is tried again, null when never.
   */
  async failed({ key, tries, at_ms }: NoticeRow, problem: string, retryAfterMs = 0): Promise<number | null> {
    const nowMs = this.#clock.nowMs();
    const nextMs = Math.round(nowMs + Math.max(retryAfterMs, backoffMs(tries)));
    const givenUp = nextMs - at_ms > givenUpAfterMs;
    await this.#database.write((queries) =>
      queries
        .updateTable('notice')
        .set({ next_try_at_ms: givenUp ? never : nextMs, problem: shorten(this.#redactor.scrub(problem)) })
        .where('key', '=', key)
        .where('sent_at_ms', 'is', null)
        // Its claim may have run out, and somebody else be at it.
        .where('tries', '=', tries)
        .execute(),
    );
    return givenUp ? null : nextMs;
  }

  /** For when nothing can be sent at all: what is older than a day is not sent when it can. */
  async giveUpOld(problem: string): Promise<void> {
    const beforeMs = this.#clock.nowMs() - givenUpAfterMs;
    await this.#database.write((queries) =>
      queries
        .updateTable('notice')
        .set({ next_try_at_ms: never, problem })
        .where('sent_at_ms', 'is', null)
        .where('next_try_at_ms', '<', never)
        .where('at_ms', '<', beforeMs)
        .execute(),
    );
  }

  /** Removes what was sent, or given up, a month ago. */
  async removeOld(): Promise<void> {
    const beforeMs = this.#clock.nowMs() - keptMs;
    await this.#database.write((queries) =>
      queries
        .deleteFrom('notice')
        .where('at_ms', '<', beforeMs)
        .where((where) =>
          where.or([
            where('sent_at_ms', '<', beforeMs),
            where.and([where('sent_at_ms', 'is', null), where('next_try_at_ms', '=', never)]),
          ]),
        )
        .execute(),
    );
  }

  /** The latest, oldest of them first. */
  async last(limit: number): Promise<NoticeRow[]> {
    const all = this.#database.read.selectFrom('notice').selectAll();
    const latest = all.orderBy('at_ms', 'desc').orderBy(sql`rowid`, 'desc').limit(limit);
    return (await latest.execute()).reverse();
  }

  #find(key: string): Promise<{ key: string } | undefined> {
    return this.#database.read.selectFrom('notice').select('key').where('key', '=', key).executeTakeFirst();
  }
}

/** Doubles each time, up to an hour; jittered, so that several senders do not come at once. */
function backoffMs(tries: number): number {
  const wholeMs = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(tries - 1, 20));
  return wholeMs * (0.5 + Math.random() / 2);
}

function shorten(text: string): string {
  return text.length > longestText ? `${text.slice(0, longestText)}…` : text;
}
