import { hostname } from 'node:os';
import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Budget } from './budget.ts';
import type { Database, Queries } from './database.ts';
import { owner } from './instances.ts';
import type { Price, Usage } from './prices.ts';
import type { AttemptStatus, AttemptTable, CostSource } from './tables.ts';

/** What is known before the call. */
export interface NewAttempt {
  requestId: string;
  ordinal: number;
  backend: string;
  kind: 'serverless' | 'dedicated';
  model: string;
  priority: string;
  score: number | null;
  /** The most the call can cost; null when the model's price is unknown. */
  reserveNanoUsd: number | null;
  price: Price | null;
  /** From now on, how long the call can take at most. */
  deadlineMs: number;
}

/** What is known after it. */
export interface AttemptOutcome {
  status: Exclude<AttemptStatus, 'open'>;
  errorCode?: string;
  httpStatus?: number | undefined;
  finishReason?: string | null;
  usage: Usage | null;
  usageSource: AttemptTable['usage_source'];
  costNanoUsd: number | null;
  costSource: CostSource | null;
  firstTokenMs: number | null;
  latencyMs: number;
  elapsedMs: number;
}

/** After its deadline an open row is given this long before it is taken for abandoned. */
const abandonedAfterMs = 60_000;
const settleTries = 5;
const settleWaitMs = 500;

/** One row per upstream call, reserved and written before it is made, settled after, never lost. */
export class Ledger {
  readonly #database: Database;
  readonly #budget: Budget;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(database: Database, budget: Budget, clock: Clock, log: Log) {
    this.#database = database;
    this.#budget = budget;
    this.#clock = clock;
    this.#log = log;
  }

  /** Reserves and records in one transaction. Throws `budget_exhausted`, and then nothing was written. */
  async openAttempt(attempt: NewAttempt): Promise<string> {
    try {
      return await this.#open(attempt);
    } catch (error) {
      // Reservations of a process that died would otherwise be missing until the next start.
      const exhausted = error instanceof AppError && error.code === 'budget_exhausted';
      if (!exhausted || (await this.recover()) === 0) throw error;
      return this.#open(attempt);
    }
  }

  async #open(attempt: NewAttempt): Promise<string> {
    const id = `${attempt.requestId}.${attempt.ordinal}`;
    const nowMs = this.#clock.nowMs();
    const day = this.#budget.today();
    const reserved = attempt.reserveNanoUsd ?? 0;
    await this.#database.write(async (queries) => {
      await this.#budget.requireRoom(queries, attempt.reserveNanoUsd, `${attempt.backend}/${attempt.model}`);
      await this.#budget.book(queries, day, { reservedNanoUsd: reserved });
      await queries
        .insertInto('attempt')
        .values({
          id,
          request_id: attempt.requestId,
          ordinal: attempt.ordinal,
          day,
          backend: attempt.backend,
          kind: attempt.kind,
          model: attempt.model,
          priority: attempt.priority,
          score: attempt.score,
          owner,
          started_at_ms: nowMs,
          deadline_at_ms: nowMs + Math.ceil(attempt.deadlineMs),
          status: 'open',
          input_price_nano_usd: attempt.price?.inputNanoUsdPerMTok ?? null,
          output_price_nano_usd: attempt.price?.outputNanoUsdPerMTok ?? null,
          price_as_of: attempt.price?.asOf ?? null,
          reserved_nano_usd: reserved,
        })
        .execute();
    });
    return id;
  }

  /**
   * Closes a row and gives its reservation back. Never throws: the answer is already there and paid for. A locked
   * database is tried again; a row that cannot be closed stays open, and the next start settles it.
   */
  async settleAttempt(id: string, outcome: AttemptOutcome): Promise<void> {
    for (let tried = 1; ; tried += 1) {
      try {
        return await this.#database.write((queries) => this.#settle(queries, id, outcome));
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
  }

  async #settle(queries: Queries, id: string, outcome: AttemptOutcome): Promise<void> {
    const row = await queries
      .selectFrom('attempt')
      .select(['day', 'status', 'reserved_nano_usd'])
      .where('id', '=', id)
      .executeTakeFirst();
    // A row taken for abandoned (a laptop that slept) may still be settled by the process that made the call.
    if (!row || (row.status !== 'open' && row.status !== 'interrupted')) return;
    const released = row.status === 'open' ? row.reserved_nano_usd : 0;
    await this.#budget.book(queries, row.day, { settledNanoUsd: outcome.costNanoUsd ?? 0, reservedNanoUsd: -released });
    await queries
      .updateTable('attempt')
      .set({
        status: outcome.status,
        ended_at_ms: this.#clock.nowMs(),
        error_code: outcome.errorCode ?? null,
        http_status: outcome.httpStatus ?? null,
        finish_reason: outcome.finishReason ?? null,
        input_tokens: outcome.usage?.inputTokens ?? null,
        cached_input_tokens: outcome.usage?.cachedInputTokens ?? null,
        output_tokens: outcome.usage?.outputTokens ?? null,
        reasoning_tokens: outcome.usage?.reasoningTokens ?? null,
        usage_source: outcome.usageSource,
        cost_nano_usd: outcome.costNanoUsd,
        cost_source: outcome.costSource,
        first_token_ms: outcome.firstTokenMs,
        latency_ms: outcome.latencyMs,
        elapsed_ms: outcome.elapsedMs,
      })
      .where('id', '=', id)
      .execute();
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
      .execute();
    const abandoned = open.filter(
      (row) => nowMs > row.deadline_at_ms + abandonedAfterMs || isGone(row.owner) || (starting && row.owner === owner),
    );
    for (const row of abandoned) {
      const latencyMs = Math.max(0, nowMs - row.started_at_ms);
      await this.settleAttempt(row.id, {
        status: 'interrupted',
        usage: null,
        usageSource: null,
        costNanoUsd: null,
        costSource: null,
        firstTokenMs: null,
        latencyMs,
        elapsedMs: latencyMs,
      });
    }
    if (abandoned.length > 0)
      this.#log.warn({ attempts: abandoned.length }, 'settled calls that an earlier process left open');
    return abandoned.length;
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
