import type { Clock } from '../clock.ts';
import type { Database } from './database.ts';
import { owner as thisProcess } from './owner.ts';
import type { KeeperTable } from './tables.ts';

export type KeeperRow = KeeperTable;

/** `watch`: a process of its own. */
export type KeeperCommand = 'watch' | 'serve' | 'stdio' | 'sandbox';

/** Without a beat for so long, a keeper is dead, or its machine sleeps. */
const staleAfterMs = 30_000;
const beatEveryMs = 5_000;

/**
 * Says which process keeps the fleet: one row, renewed by beats. It saves work and is no safeguard: a keeper that
 * slept through its time may go on for a moment beside the next one, and both are harmless together.
 */
export class KeeperLock {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #owner: string;

  constructor(database: Database, clock: Clock, owner = thisProcess) {
    this.#database = database;
    this.#clock = clock;
    this.#owner = owner;
  }

  /** True when this process keeps from now on, or still: the place was free, ours, or its keeper is dead. */
  async take(command: KeeperCommand): Promise<boolean> {
    return this.#database.write(async (queries) => {
      const nowMs = this.#clock.nowMs();
      const row = await queries.selectFrom('keeper').selectAll().executeTakeFirst();
      const mine = row?.owner === this.#owner;
      if (row && !mine && isBeating(row, nowMs)) return false;
      const beat = { owner: this.#owner, command, since_ms: mine ? row.since_ms : nowMs, beat_at_ms: nowMs };
      await queries
        .insertInto('keeper')
        .values({ id: 1, ...beat, listed_at_ms: null })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(beat))
        .execute();
      return true;
    });
  }

  /**
   * Beats until the signal says so (then true), or somebody else keeps (then false). A database that is locked or
   * full for a moment is no reason to stop.
   */
  async beat(command: KeeperCommand, signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      await this.#clock.sleep(beatEveryMs, signal).catch(() => undefined);
      if (signal.aborted) break;
      if (!(await this.take(command).catch(() => true))) return false;
    }
    return true;
  }

  /** Notes that the account's machines were listed, when this process keeps. */
  async listed(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    await this.#database.write((queries) =>
      queries.updateTable('keeper').set({ listed_at_ms: nowMs }).where('owner', '=', this.#owner).execute(),
    );
  }

  /** Makes room for the next keeper, when this process keeps. */
  async release(): Promise<void> {
    await this.#database.write((queries) => queries.deleteFrom('keeper').where('owner', '=', this.#owner).execute());
  }

  /** Who keeps, or kept when it died; null: nobody, and the last one left in order. */
  async state(): Promise<KeeperRow | null> {
    return (await this.#database.read.selectFrom('keeper').selectAll().executeTakeFirst()) ?? null;
  }

  async isMine(): Promise<boolean> {
    return (await this.state())?.owner === this.#owner;
  }

  /** Whether some process keeps now, this one or another. */
  async isKept(): Promise<boolean> {
    const row = await this.state();
    return row !== null && isBeating(row, this.#clock.nowMs());
  }
}

/** A beat from the future: the clock was set back, and nobody knows how old it is. */
function isBeating({ beat_at_ms: beatAtMs }: KeeperRow, nowMs: number): boolean {
  return Math.abs(nowMs - beatAtMs) <= staleAfterMs;
}
