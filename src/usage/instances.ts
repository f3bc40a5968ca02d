import type { Clock } from '../clock.ts';
import type { Budget } from './budget.ts';
import type { Database, Queries } from './database.ts';
import type { InstanceRow } from './instance-cost.ts';
import { type LaunchIntent, LeaseBook, type LeaseTerms } from './leases.ts';
import type { EndReason } from './tables.ts';

/** How long a machine may still be seen running after its termination was asked for before it counts as ignored. */
const terminationGraceMs = 3 * 60_000;

/** A fresh launch may be missing from the cloud's list for a moment. */
const listedWithinMs = 60_000;

/** A machine that was looked at so recently is being watched. */
const watchedWithinMs = 60_000;

/** For how long a machine that was given up is still looked for in every list. */
const turnsUpWithinMs = 24 * 60 * 60_000;

/** What the cloud says about a machine that the ledger knows. */
export interface Sighting {
  intentId: string;
  instanceId: string;
  status: string;
  /** As the cloud bills it: the price may have changed between the plan and the launch. */
  priceCentsPerHour: number;
  /** When the cloud says that billing began; it rarely does. */
  firstHealthyAtMs: number | null;
}

/** The lives of the machines that Tandem launched, and what their minutes cost. */
export class InstanceLedger {
  readonly leases: LeaseBook;
  readonly #database: Database;
  readonly #clock: Clock;

  constructor(database: Database, budget: Budget, clock: Clock) {
    this.leases = new LeaseBook(database, budget, clock);
    this.#database = database;
    this.#clock = clock;
  }

  /** Written, with the budget that its lease claims, before anything is sent to the cloud. */
  openIntent(intent: LaunchIntent, also?: (queries: Queries) => Promise<void>): Promise<LeaseTerms> {
    return this.leases.open(intent, also);
  }

  async launched(intentId: string, instanceId: string): Promise<void> {
    const nowMs = this.#clock.nowMs();
    await this.#set(intentId, {
      instance_id: instanceId,
      status: 'booting',
      launched_at_ms: nowMs,
      last_seen_at_ms: nowMs,
    });
  }

  async unconfirmed(intentId: string): Promise<void> {
    await this.#setUnseen(intentId, { status: 'unconfirmed' });
  }

  async notLaunched(intentId: string): Promise<void> {
    await this.#setUnseen(intentId, { status: 'not_launched', reserved_nano_usd: 0 });
  }

  async terminateRequested(instanceIds: string[], reason: EndReason = 'asked'): Promise<void> {
    await this.#database.write(async (queries) => {
      await queries
        .updateTable('instance')
        .set({ terminate_requested_at_ms: this.#clock.nowMs(), end_reason: reason })
        .where('instance_id', 'in', instanceIds)
        .where('terminate_requested_at_ms', 'is', null)
        .execute();
    });
  }

  /** Those that were not seen to end have run until now. */
  async terminateAskedAgain(instanceIds: readonly string[]): Promise<void> {
    await this.#setUnlessEnding(instanceIds, { terminate_requested_at_ms: this.#clock.nowMs() });
  }

  /** Nobody knows whether it ends: unless it was seen to, the minutes go on until it is, and then it is known why. */
  async terminateUnanswered(instanceId: string): Promise<void> {
    await this.#setUnlessEnding([instanceId], { terminate_requested_at_ms: null });
  }

  /** The termination failed or was refused: the minutes of what was not seen to end go on. */
  async terminateFailed(instanceIds: readonly string[]): Promise<void> {
    await this.#setUnlessEnding(instanceIds, { terminate_requested_at_ms: null, end_reason: null });
  }

  /**
   * Takes in a complete list, asked for at `listedAtMs`: new statuses, first `active`, and machines that are no
   * longer there. A machine that is missing from a list asked for before, or right after, its launch is not gone.
   * Returns the rows as they are then.
   */
  async observe(sightings: Sighting[], listedAtMs: number): Promise<InstanceRow[]> {
    const nowMs = this.#clock.nowMs();
    const seen = new Map(sightings.map((sighting) => [sighting.intentId, sighting]));
    return this.#database.write(async (queries) => {
      const rows: InstanceRow[] = [];
      for (const row of await this.known(queries)) {
        const sighting = seen.get(row.intent_id);
        const changes = sighting
          ? changesSeen(row, sighting, nowMs)
          : isMissing(row, listedAtMs)
            ? { status: 'gone', gone_at_ms: nowMs }
            : {};
        if (Object.keys(changes).length > 0) {
          await queries.updateTable('instance').set(changes).where('intent_id', '=', row.intent_id).execute();
        }
        rows.push({ ...row, ...changes });
      }
      return rows;
    });
  }

  /** Machines that may still cost money, and intents whose fate is open. */
  async live(): Promise<InstanceRow[]> {
    return (await this.known()).filter((row) => row.gone_at_ms === null && row.status !== 'not_launched');
  }

  /** Every row that may still change: a launch given up as lost, or a machine taken for gone, can turn up late. */
  async known(queries: Queries = this.#database.read): Promise<InstanceRow[]> {
    const recentMs = this.#clock.nowMs() - turnsUpWithinMs;
    return queries
      .selectFrom('instance')
      .selectAll()
      .where((where) =>
        where.or([
          where.and([where('gone_at_ms', 'is', null), where('status', '!=', 'not_launched')]),
          where('gone_at_ms', '>', recentMs),
          where('requested_at_ms', '>', recentMs),
        ]),
      )
      .execute();
  }

  async #set(intentId: string, changes: Partial<InstanceRow>): Promise<void> {
    await this.#database.write(async (queries) => {
      await queries.updateTable('instance').set(changes).where('intent_id', '=', intentId).execute();
    });
  }

  /** A machine that was seen to end ends, whatever becomes of further requests. */
  async #setUnlessEnding(instanceIds: readonly string[], changes: Partial<InstanceRow>): Promise<void> {
    await this.#database.write(async (queries) => {
      await queries
        .updateTable('instance')
        .set(changes)
        .where('instance_id', 'in', instanceIds)
        .where('status', '!=', 'terminating')
        .execute();
    });
  }

  /** Leaves a machine alone that somebody has seen: a list, here or in another process, may beat the launch's answer. */
  async #setUnseen(intentId: string, changes: Partial<InstanceRow>): Promise<void> {
    await this.#database.write(async (queries) => {
      await queries
        .updateTable('instance')
        .set(changes)
        .where('intent_id', '=', intentId)
        .where('launched_at_ms', 'is', null)
        .execute();
    });
  }
}

function isMissing(row: InstanceRow, listedAtMs: number): boolean {
  if (row.launched_at_ms === null || row.gone_at_ms !== null || listedAtMs < row.launched_at_ms) return false;
  return row.terminate_requested_at_ms !== null || listedAtMs > row.launched_at_ms + listedWithinMs;
}

function changesSeen(row: InstanceRow, sighting: Sighting, nowMs: number): Partial<InstanceRow> {
  const ended = sighting.status === 'terminated' || sighting.status === 'preempted';
  const ending = ended || sighting.status === 'terminating';
  const ignored =
    !ending && row.terminate_requested_at_ms !== null && nowMs - row.terminate_requested_at_ms > terminationGraceMs;
  return {
    instance_id: sighting.instanceId,
    status: sighting.status,
    launched_at_ms: row.launched_at_ms ?? nowMs,
    last_seen_at_ms: nowMs,
    price_cents_per_hour: sighting.priceCentsPerHour,
    // Billing starts when health checks pass; an unknown status counts as running, the safe side.
    ...(row.first_active_at_ms === null &&
      !ending &&
      sighting.status !== 'booting' && { first_active_at_ms: sighting.firstHealthyAtMs ?? activeSince(row, nowMs) }),
    // Somebody else may have ended it: from the first sight of it on it is not billed.
    ...(ending && row.terminate_requested_at_ms === null && { terminate_requested_at_ms: nowMs }),
    // Why it was to end stays: whoever keeps asks again.
    ...(ignored && { terminate_requested_at_ms: null }),
    gone_at_ms: ended ? (row.gone_at_ms ?? nowMs) : null,
  };
}

/** Where nobody looked for a while (Tandem was closed), it may have been running since the last look: the safe side. */
function activeSince({ last_seen_at_ms: lastSeenAtMs }: InstanceRow, nowMs: number): number {
  return lastSeenAtMs !== null && nowMs - lastSeenAtMs > watchedWithinMs ? lastSeenAtMs : nowMs;
}
