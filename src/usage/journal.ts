import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import { localPrincipal } from '../principal.ts';
import {
  type AttemptOutcome,
  attemptId,
  findAttempt,
  insertAttempt,
  insertValues,
  type NewAttempt,
  type OpenRow,
  updateAttempt,
  updateValues,
} from './attempt-rows.ts';
import { Bookings } from './bookings.ts';
import type { Allowance, Budget } from './budget.ts';
import { dropChunkOf } from './chunks.ts';
import type { Database, Queries, RunEach } from './database.ts';

interface OpenJob {
  attempt: NewAttempt;
  done: (error: unknown) => void;
}
interface SettleJob {
  id: string;
  outcome: AttemptOutcome;
  endedAtMs: number;
  done: (error: unknown) => void;
}

/** What one transaction did, to be told once it is committed. */
interface Committed {
  /** In the order of the jobs; null: written. */
  refusals: (AppError | null)[];
  opened: [string, OpenRow][];
}

/** So long a settlement waits for an open to be written with: a commit costs several times what a row does. */
const settlesWaitMs = 5;
const settlesAtOnce = 64;
/** With so many calls under way, and others written just now, opens wait a moment for each other too. */
const crowdedFrom = 16;
const crowdedWaitMs = 1;

/** So that a burst does not hold up everything else for longer than some milliseconds. */
const jobsPerTransaction = 256;

/**
 * Writes attempts in groups: what comes in while the event loop turns once goes into one transaction, for a commit
 * costs several times what a row does. A promise settles when its row is committed.
 */
export class Journal {
  readonly #database: Database;
  readonly #budget: Budget;
  readonly #clock: Clock;
  /** Rows that this process has open, so that settling them reads nothing. */
  readonly #open = new Map<string, OpenRow>();
  #opens: OpenJob[] = [];
  #settles: SettleJob[] = [];
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #alarm: NodeJS.Timeout | undefined;
  #alarmMs = Number.POSITIVE_INFINITY;
  #draining = false;
  #committedAt = 0;

  constructor(database: Database, budget: Budget, clock: Clock) {
    this.#database = database;
    this.#budget = budget;
    this.#clock = clock;
  }

  /** Reserves and records. Rejects with `budget_exhausted`, and then nothing was written. */
  open(attempt: NewAttempt): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#opens.push({ attempt, done: (error) => (error ? reject(error) : resolve(attemptId(attempt))) });
      this.#start();
    });
  }

  /** Closes a row and gives its reservation back. A row that is not there, or closed already, is left alone. */
  settle(id: string, outcome: AttemptOutcome): Promise<void> {
    return new Promise((resolve, reject) => {
      const endedAtMs = this.#clock.nowMs();
      this.#settles.push({ id, outcome, endedAtMs, done: (error) => (error ? reject(error) : resolve()) });
      this.#start();
    });
  }

  /** Writes what is waiting at once, until nothing is. */
  async drain(): Promise<void> {
    this.#draining = true;
    this.#setAlarm();
    while (this.#running) await this.#running;
    this.#draining = false;
  }

  #start(): void {
    this.#running ??= this.#run();
    this.#setAlarm();
  }

  #untilDue(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#setAlarm();
    });
  }

  /** Sets when the next group is written, sooner than was set before if need be. */
  #setAlarm(): void {
    const wake = this.#wake;
    if (!wake) return;
    const waitMs = this.#waitMs();
    if (waitMs >= this.#alarmMs) return;
    this.#alarmMs = waitMs;
    clearTimeout(this.#alarm);
    const ring = () => {
      this.#wake = undefined;
      this.#alarmMs = Number.POSITIVE_INFINITY;
      wake();
    };
    // Not a microtask: requests that arrive together are read one after the other in one turn.
    if (waitMs === 0) setImmediate(ring);
    else this.#alarm = setTimeout(ring, waitMs);
  }

  /** Somebody waits for an open; a settlement can wait for the next open to come along. */
  #waitMs(): number {
    if (this.#draining || this.#settles.length >= settlesAtOnce) return 0;
    if (this.#opens.length === 0) return settlesWaitMs;
    const crowded = this.#open.size >= crowdedFrom && performance.now() - this.#committedAt < crowdedWaitMs;
    return crowded ? crowdedWaitMs : 0;
  }

  async #run(): Promise<void> {
    do {
      await this.#untilDue();
      const settles = this.#settles.splice(0, jobsPerTransaction);
      await this.#commit(this.#opens.splice(0, jobsPerTransaction - settles.length), settles);
    } while (this.#opens.length + this.#settles.length > 0);
    this.#running = undefined;
  }

  async #commit(opens: OpenJob[], settles: SettleJob[]): Promise<void> {
    try {
      const { refusals, opened } = await this.#database.write(async (queries, runEach, turn) => {
        const bookings = new Bookings();
        // First what gives money back.
        await this.#settleAll(queries, runEach, settles, bookings);
        const committed = await this.#openAll(queries, runEach, opens, bookings, turn);
        await bookings.write(runEach);
        this.#budget.booked(bookings, turn);
        return committed;
      });
      this.#committedAt = performance.now();
      for (const [id, row] of opened) this.#open.set(id, row);
      for (const { id } of settles) this.#open.delete(id);
      for (const { done } of settles) done(null);
      for (const [index, { done }] of opens.entries()) done(refusals[index]);
    } catch (error) {
      this.#budget.forget();
      // One row that cannot be written takes no other with it. A database that cannot be used fails all of them.
      const alone = opens.length + settles.length === 1;
      if (alone || error instanceof AppError) for (const { done } of [...settles, ...opens]) done(error);
      else {
        for (const job of settles) await this.#commit([], [job]);
        for (const job of opens) await this.#commit([job], []);
      }
    }
  }

  async #settleAll(queries: Queries, runEach: RunEach, jobs: SettleJob[], bookings: Bookings): Promise<void> {
    const known = jobs.flatMap((job) => {
      const row = this.#open.get(job.id);
      return row ? [{ job, row }] : [];
    });
    const changes = await runEach(
      updateAttempt,
      known.map(({ job }) => updateValues(job.id, job.outcome, job.endedAtMs, 'open')),
    );
    const others = jobs.filter(({ id }) => !this.#open.has(id));
    for (const [index, { job, row }] of known.entries()) {
      if (changes[index] === 0) others.push(job);
      else bookings.add(row.budgetOf, row.day, job.outcome.costNanoUsd ?? 0, -row.reservedNanoUsd);
    }
    for (const job of others) await this.#settleOther(queries, runEach, job, bookings);
  }

  /** A row of another process, or one that another process took for abandoned (a laptop that slept). */
  async #settleOther(queries: Queries, runEach: RunEach, job: SettleJob, bookings: Bookings): Promise<void> {
    const row = await findAttempt(queries, job.id);
    if (!row || (row.status !== 'open' && row.status !== 'interrupted') || row.status === job.outcome.status) return;
    await runEach(updateAttempt, [updateValues(job.id, job.outcome, job.endedAtMs, row.status)]);
    const released = row.status === 'open' ? row.reserved_nano_usd : 0;
    const own = await this.#budget.hasOwn(queries, row.principal_id);
    bookings.add(own ? row.principal_id : null, row.day, job.outcome.costNanoUsd ?? 0, -released);
    if (row.status === 'interrupted') await dropChunkOf(runEach, row.sequence);
  }

  async #openAll(
    queries: Queries,
    runEach: RunEach,
    jobs: OpenJob[],
    bookings: Bookings,
    turn: number,
  ): Promise<Committed> {
    const nowMs = this.#clock.nowMs();
    const day = this.#budget.dayAt(nowMs);
    const allowances = await this.#allowances(queries, jobs, turn);
    const refusals: Committed['refusals'] = [];
    const opened: Committed['opened'] = [];
    const values = jobs.flatMap(({ attempt }) => {
      const { reserveNanoUsd, principal = localPrincipal } = attempt;
      const refusal = this.#budget.refusal(
        allowances(principal.id),
        reserveNanoUsd,
        `${attempt.backend}/${attempt.model}`,
        bookings,
      );
      refusals.push(refusal);
      if (refusal) return [];
      const row = { budgetOf: principal.budget ? principal.id : null, day, reservedNanoUsd: reserveNanoUsd ?? 0 };
      bookings.add(row.budgetOf, day, 0, row.reservedNanoUsd);
      opened.push([attemptId(attempt), row]);
      return [insertValues(attempt, row, nowMs)];
    });
    await runEach(insertAttempt, values);
    return { refusals, opened };
  }

  /** Read once for the whole transaction, and only what its calls are held to. */
  async #allowances(queries: Queries, jobs: OpenJob[], turn: number): Promise<(principalId: string) => Allowance[]> {
    const paid = jobs.filter(({ attempt }) => attempt.reserveNanoUsd !== 0);
    const shared = paid.length > 0 ? await this.#budget.allowances(queries, turn) : [];
    const own = new Map<string, Allowance[]>();
    for (const { attempt } of paid) {
      const { principal = localPrincipal } = attempt;
      if (principal.budget === null || own.has(principal.id)) continue;
      const allowance = await this.#budget.allowanceOf(queries, principal);
      if (allowance) own.set(principal.id, [...shared, allowance]);
    }
    return (principalId) => own.get(principalId) ?? shared;
  }
}
