import { hostname } from 'node:os';
import type { Clock } from '../clock.ts';
import { billedMinutes, instanceCostNano } from '../money.ts';
import type { Budget } from './budget.ts';
import type { Period } from './calendar.ts';
import type { Database, Queries } from './database.ts';
import type { InstanceTable } from './tables.ts';

export type InstanceRow = InstanceTable;

/** `host:pid`: who wrote a row, so that the next start can tell whether its writer still lives. */
export const owner = `${hostname()}:${process.pid}`;

/** A launch reserves its first hour, so that two launches at once cannot both use the last of the budget. */
export const launchReservationMs = 60 * 60_000;

/** How long a machine may still be seen running after its termination was asked for before it counts as ignored. */
const terminationGraceMs = 3 * 60_000;

/** A fresh launch may be missing from the cloud's list for a moment. */
const listedWithinMs = 60_000;

/** For how long a machine that was given up is still looked for in every list. */
const turnsUpWithinMs = 24 * 60 * 60_000;

/** What the cloud says about a machine that the ledger knows. */
export interface Sighting {
  intentId: string;
  instanceId: string;
  status: string;
}

/** The lives of the machines that Tandem launched, and what their minutes cost. */
export class InstanceLedger {
  readonly #database: Database;
  readonly #budget: Budget;
  readonly #clock: Clock;

  constructor(database: Database, budget: Budget, clock: Clock) {
    this.#database = database;
    this.#budget = budget;
    this.#clock = clock;
  }

  /** Written, with its reservation, before anything is sent to the cloud. */
  async openIntent(intent: {
    intentId: string;
    name: string;
    instanceType: string;
    region: string;
    priceCentsPerHour: number;
  }): Promise<void> {
    const reserved = instanceCostNano(intent.priceCentsPerHour, launchReservationMs);
    const nowMs = this.#clock.nowMs();
    await this.#database.write(async (queries) => {
      await this.#budget.requireRoom(queries, reserved, `one hour of ${intent.instanceType}`);
      await queries
        .insertInto('instance')
        .values({
          intent_id: intent.intentId,
          instance_id: null,
          name: intent.name,
          instance_type: intent.instanceType,
          region: intent.region,
          price_cents_per_hour: intent.priceCentsPerHour,
          status: 'intent',
          owner,
          requested_at_ms: nowMs,
          launched_at_ms: null,
          first_active_at_ms: null,
          terminate_requested_at_ms: null,
          gone_at_ms: null,
          last_seen_at_ms: null,
          reserved_nano_usd: reserved,
        })
        .execute();
    });
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

  async terminateRequested(instanceIds: string[]): Promise<void> {
    await this.#database.read
      .updateTable('instance')
      .set({ terminate_requested_at_ms: this.#clock.nowMs() })
      .where('instance_id', 'in', instanceIds)
      .where('terminate_requested_at_ms', 'is', null)
      .execute();
  }

  /** The termination failed or was refused: the minutes go on. */
  async terminateFailed(instanceIds: string[]): Promise<void> {
    await this.#database.read
      .updateTable('instance')
      .set({ terminate_requested_at_ms: null })
      .where('instance_id', 'in', instanceIds)
      .execute();
  }

  /**
   * Takes in a complete list, asked for at `listedAtMs`: new statuses, first `active`, and machines that are no
   * longer there. A machine that is missing from a list asked for before, or right after, its launch is not gone.
   */
  async observe(sightings: Sighting[], listedAtMs: number): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const seen = new Map(sightings.map((sighting) => [sighting.intentId, sighting]));
    for (const row of await this.known()) {
      const sighting = seen.get(row.intent_id);
      if (sighting) await this.#set(row.intent_id, changesSeen(row, sighting, nowMs));
      else if (isMissing(row, listedAtMs)) await this.#set(row.intent_id, { status: 'gone', gone_at_ms: nowMs });
    }
  }

  /** Machines that may still cost money, and intents whose fate is open. */
  async live(): Promise<InstanceRow[]> {
    return (await this.known()).filter((row) => row.gone_at_ms === null && row.status !== 'not_launched');
  }

  /** Every row that may still change: a launch given up as lost, or a machine taken for gone, can turn up late. */
  async known(): Promise<InstanceRow[]> {
    const recentMs = this.#clock.nowMs() - turnsUpWithinMs;
    return this.#database.read
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

  async within(fromMs: number, toMs: number): Promise<InstanceRow[]> {
    return instancesWithin(this.#database.read, fromMs, toMs);
  }

  async #set(intentId: string, changes: Partial<InstanceRow>): Promise<void> {
    await this.#database.read.updateTable('instance').set(changes).where('intent_id', '=', intentId).execute();
  }

  /** Leaves a machine alone that somebody has seen: a list, here or in another process, may beat the launch's answer. */
  async #setUnseen(intentId: string, changes: Partial<InstanceRow>): Promise<void> {
    await this.#database.read
      .updateTable('instance')
      .set(changes)
      .where('intent_id', '=', intentId)
      .where('launched_at_ms', 'is', null)
      .execute();
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
    // Billing starts when health checks pass; an unknown status counts as running, the safe side.
    ...(row.first_active_at_ms === null && !ending && sighting.status !== 'booting' && { first_active_at_ms: nowMs }),
    // Somebody else may have ended it: from the first sight of it on it is not billed.
    ...(ending && row.terminate_requested_at_ms === null && { terminate_requested_at_ms: nowMs }),
    ...(ignored && { terminate_requested_at_ms: null }),
    gone_at_ms: ended ? (row.gone_at_ms ?? nowMs) : null,
  };
}

export async function instancesWithin(queries: Queries, fromMs: number, toMs: number): Promise<InstanceRow[]> {
  return queries
    .selectFrom('instance')
    .selectAll()
    .where('requested_at_ms', '<', toMs)
    .where((where) => where.or([where('gone_at_ms', 'is', null), where('gone_at_ms', '>', fromMs)]))
    .where('status', '!=', 'not_launched')
    .execute();
}

export interface InstanceCost {
  minutes: number;
  /** From first `active` seen until its termination was asked for. */
  costNanoUsd: number;
  /** That, and the time from the launch request until it was gone besides: what it can have cost at most. */
  upperNanoUsd: number;
}

/** What a machine's time within a span cost. Parts of one life add up to the whole to the nano-dollar. */
export function instanceCost(row: InstanceRow, fromMs: number, toMs: number, nowMs: number): InstanceCost {
  const lastMs = row.gone_at_ms ?? nowMs;
  const endMs = Math.min(row.terminate_requested_at_ms ?? lastMs, lastMs);
  const spanMs = (startMs: number | null, stopMs: number) => (startMs === null ? 0 : Math.max(0, stopMs - startMs));
  const activeMs = (ms: number) => spanMs(row.first_active_at_ms, Math.min(ms, endMs));
  const besidesMs = (ms: number) => spanMs(row.requested_at_ms, Math.min(ms, lastMs)) - activeMs(ms);
  const costUntil = (ms: number) => instanceCostNano(row.price_cents_per_hour, activeMs(ms));
  // Rounded apart from the estimate, so that no part of a life can have cost more than it can have cost at most.
  const upperUntil = (ms: number) => costUntil(ms) + instanceCostNano(row.price_cents_per_hour, besidesMs(ms));
  const minutesUntil = (ms: number) => billedMinutes(activeMs(ms));
  return {
    minutes: minutesUntil(toMs) - minutesUntil(fromMs),
    costNanoUsd: costUntil(toMs) - costUntil(fromMs),
    upperNanoUsd: upperUntil(toMs) - upperUntil(fromMs),
  };
}

/** What a machine counts for in a budget period: its cost so far, and while it lives at least what its launch reserved. */
export function instanceClaimNano(row: InstanceRow, period: Period, nowMs: number): number {
  const { costNanoUsd } = instanceCost(row, period.startMs, period.endMs, nowMs);
  const ended = row.gone_at_ms !== null || row.terminate_requested_at_ms !== null;
  const reservedHere = row.requested_at_ms >= period.startMs && row.requested_at_ms < period.endMs;
  return ended || !reservedHere ? costNanoUsd : Math.max(costNanoUsd, row.reserved_nano_usd);
}
