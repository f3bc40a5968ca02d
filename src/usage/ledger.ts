import { hostname } from 'node:os';
import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { AttemptOutcome, NewAttempt } from './attempt-rows.ts';
import type { Budget } from './budget.ts';
import { attemptsPerChunk, sealChunk } from './chunks.ts';
import type { Database } from './database.ts';
import { Journal } from './journal.ts';
import { owner } from './owner.ts';

export type { AttemptOutcome, NewAttempt } from './attempt-rows.ts';

/** After its deadline an open row is given this long before it is taken for abandoned. */
const abandonedAfterMs = 60_000;
const settleTries = 5;
const settleWaitMs = 500;

export interface LedgerOptions {
  /** For tests. */
  attemptsPerChunk?: number;
}

/** One row per upstream call, reserved and written before it is made, settled after, never lost. */
export class Ledger {
  readonly #database: Database;
  readonly #budget: Budget;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #journal: Journal;
  readonly #attemptsPerChunk: number;
  readonly #underWay = new Set<Promise<unknown>>();
  #settledSinceSeal = 0;
  #sealing: Promise<void> | undefined;
  #recovering: Promise<number> | undefined;

  constructor(database: Database, budget: Budget, clock: Clock, log: Log, options: LedgerOptions = {}) {
    this.#database = database;
    this.#budget = budget;
    this.#clock = clock;
    this.#log = log;
    this.#journal = new Journal(database, budget, clock);
    this.#attemptsPerChunk = options.attemptsPerChunk ?? attemptsPerChunk;
  }

  /**
   * Reserves and records in one transaction, together with whatever else is to be written at that moment. Throws
   * `budget_exhausted`, of everybody's budget or of the principal's own, and then nothing was written.
   */
  async openAttempt(attempt: NewAttempt): Promise<string> {
    try {
      return await this.#journal.open(attempt);
    } catch (error) {
      // Reservations of a process that died would otherwise be missing until the next start.
      const exhausted = error instanceof AppError && error.code === 'budget_exhausted';
      if (!exhausted || (await this.#recoverOnce()) === 0) throw error;
      return this.#journal.open(attempt);
    }
  }

  /**
   * Closes a row and gives its reservation back. Never throws: the answer is already there and paid for. A locked
   * database is tried again; a row that cannot be closed stays open, and the next start settles it.
   */
  settleAttempt(id: string, outcome: AttemptOutcome): Promise<void> {
    const settling = this.#settle(id, outcome);
    this.#underWay.add(settling);
    return settling.finally(() => this.#underWay.delete(settling));
  }

  async #settle(id: string, outcome: AttemptOutcome): Promise<void> {
    for (let tried = 1; ; tried += 1) {
      try {
        await this.#journal.settle(id, outcome);
        break;
      } catch (error) {
        if (tried >= settleTries || !(error instanceof AppError) || !error.isRetryable) {
          this.#log.error(
            { error, attempt: id },
            'an attempt could not be settled; the next start settles it as interrupted',
          );
          return;
        }
        await this.#clock.sleep(settleWaitMs);
      }
    }
    this.#settledSinceSeal += 1;
    if (this.#settledSinceSeal >= this.#attemptsPerChunk) this.#sealSoon();
  }

  /**
   * What both budgets leave to be spent, as of a moment ago; nearly always known without asking the database. For
   * decisions: `openAttempt` has the last word.
   */
  leftNanoUsd(): number | Promise<number> {
    return this.#budget.leftNanoUsd(this.#database.read);
  }

  /** Waits until all that was handed over is written, for a stop that leaves nothing open. */
  async drain(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
    await this.#journal.drain();
    await this.#sealing;
  }

  /**
   * Settles, as interrupted and at unknown cost, the open rows of processes that are gone, and gives their
   * reservations back. Returns how many there were. `starting` also takes this process's own id as gone: the rows
   * of an earlier process that had the same one (containers always start at pid 1).
   */
  async recover(starting = false): Promise<number> {
    const nowMs = this.#clock.nowMs();
    const open = await this.#database.read
      .selectFrom('attempt')
      .select(['id', 'owner', 'started_at_ms', 'deadline_at_ms'])
      .where('status', '=', 'open')
      // Chunks hold settled rows only, so this is the end of a table that may be large.
      .where('sequence', '>', (where) =>
        where
          .selectFrom('attempt_chunk')
          .select(({ fn, val }) => fn.coalesce(fn.max('last_sequence'), val(0)).as('last')),
      )
      .execute();
    const gone = new Set([...new Set(open.map((row) => row.owner))].filter(isGone));
    const abandoned = open.filter(
      (row) =>
        nowMs > row.deadline_at_ms + abandonedAfterMs || gone.has(row.owner) || (starting && row.owner === owner),
    );
    const settling = abandoned.map((row) => {
      const latencyMs = Math.max(0, nowMs - row.started_at_ms);
      return this.settleAttempt(row.id, {
        status: 'interrupted',
        usage: null,
        usageSource: null,
        costNanoUsd: null,
        costSource: null,
        firstTokenMs: null,
        latencyMs,
        elapsedMs: latencyMs,
      });
    });
    await Promise.all(settling);
    if (abandoned.length > 0)
      this.#log.warn({ attempts: abandoned.length }, 'settled calls that an earlier process left open');
    if (starting) this.#sealSoon();
    return abandoned.length;
  }

  /** Calls that are refused together look for abandoned reservations once. */
  #recoverOnce(): Promise<number> {
    this.#recovering ??= this.recover().finally(() => {
      this.#recovering = undefined;
    });
    return this.#recovering;
  }

  #sealSoon(): void {
    this.#settledSinceSeal = 0;
    this.#sealing ??= this.#seal()
      .catch((error: unknown) =>
        this.#log.warn({ error }, 'attempts could not be summed up; reports read them one by one'),
      )
      .finally(() => {
        this.#sealing = undefined;
      });
  }

  /** One chunk per transaction, so that calls can be written in between. */
  async #seal(): Promise<void> {
    for (;;) {
      const sealed = await sealChunk(this.#database, this.#attemptsPerChunk);
      if (sealed === 'nothing') return;
      // What a process left behind would keep all later rows out of chunks.
      if (sealed === 'open' && (await this.#recoverOnce()) === 0) return;
      await new Promise(setImmediate);
    }
  }
}

/** True only when the writer ran on this machine and its process is certainly not there any more. */
function isGone(writer: string): boolean {
  const [host, pid] = [writer.slice(0, writer.lastIndexOf(':')), Number(writer.slice(writer.lastIndexOf(':') + 1))];
  if (host !== hostname()) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}
