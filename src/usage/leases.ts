import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import { instanceCostNano } from '../money.ts';
import type { Budget } from './budget.ts';
import type { Database, Queries } from './database.ts';
import { type InstanceRow, worstCaseNano } from './instance-cost.ts';
import { owner } from './owner.ts';
import type { EndReason } from './tables.ts';

/** A launch as it is to be recorded. */
export interface LaunchIntent {
  intentId: string;
  name: string;
  instanceType: string;
  region: string;
  priceCentsPerHour: number;
  /** From the launch request on. */
  leaseMs: number;
  capMs: number;
  deploymentId?: string | null;
}

/** A machine that runs and that no row knows. */
export interface Orphan {
  intentId: string;
  instanceId: string;
  name: string;
  instanceType: string;
  region: string;
  status: string;
  priceCentsPerHour: number;
  /** When its life began, as far as anybody can tell. */
  startedAtMs: number;
  /** Whether its minutes count since then: it is past its boot. */
  isActive: boolean;
  lease: LeaseTerms;
}

export interface LeaseTerms {
  expiresAtMs: number;
  /** No renewal goes beyond it. */
  capAtMs: number;
}

export interface Renewal {
  intentId: string;
  /** As it was when the renewal was planned; null: it had none. */
  fromExpiresAtMs: number | null;
  lease: LeaseTerms;
}

/** The row of a launch that is about to be made. The cap is a whole second, as its tag has it. */
export function intentRow(intent: LaunchIntent, nowMs: number): InstanceRow {
  const capAtMs = Math.floor((nowMs + intent.capMs) / 1000) * 1000;
  const leaseMs = Math.min(intent.leaseMs, capAtMs - nowMs);
  return {
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
    reserved_nano_usd: instanceCostNano(intent.priceCentsPerHour, leaseMs),
    lease_expires_at_ms: nowMs + leaseMs,
    lease_cap_at_ms: capAtMs,
    deployment_id: intent.deploymentId ?? null,
    planned_price_cents_per_hour: intent.priceCentsPerHour,
    end_reason: null,
  };
}

function orphanRow(orphan: Orphan, nowMs: number): InstanceRow {
  const { intentId, name, instanceType, region, priceCentsPerHour, lease, startedAtMs } = orphan;
  const intent = { intentId, name, instanceType, region, priceCentsPerHour, leaseMs: 0, capMs: 0 };
  return {
    ...intentRow(intent, nowMs),
    instance_id: orphan.instanceId,
    status: orphan.status,
    requested_at_ms: startedAtMs,
    launched_at_ms: nowMs,
    first_active_at_ms: orphan.isActive ? startedAtMs : null,
    last_seen_at_ms: nowMs,
    lease_expires_at_ms: lease.expiresAtMs,
    lease_cap_at_ms: lease.capAtMs,
    // Nobody planned it: its price cannot differ from a plan.
    planned_price_cents_per_hour: null,
  };
}

/** Whether Tandem took it in while it ran, instead of launching it. */
export function isAdopted(row: InstanceRow): boolean {
  return row.lease_expires_at_ms !== null && row.planned_price_cents_per_hour === null;
}

/** Until when machines may live: stamped, renewed and ended, each in one transaction with what it means for the budget. */
export class LeaseBook {
  readonly #database: Database;
  readonly #budget: Budget;
  readonly #clock: Clock;

  constructor(database: Database, budget: Budget, clock: Clock) {
    this.#database = database;
    this.#budget = budget;
    this.#clock = clock;
  }

  /** What a launch can cost until its lease ends. Throws `budget_exhausted` when the budget has no room for that now. */
  async quote(intent: Omit<LaunchIntent, 'intentId' | 'name' | 'region'>): Promise<number> {
    const row = intentRow({ ...intent, intentId: '', name: '', region: '' }, this.#clock.nowMs());
    await this.#budget.requireRoomForLease(this.#database.read, null, row);
    return row.reserved_nano_usd;
  }

  /** Written, with the budget that its lease claims, before anything is sent to the cloud. */
  async open(intent: LaunchIntent, also?: (queries: Queries) => Promise<void>): Promise<LeaseTerms> {
    const row = intentRow(intent, this.#clock.nowMs());
    await this.#database.write(async (queries) => {
      await this.#budget.requireRoomForLease(queries, null, row);
      await queries.insertInto('instance').values(row).execute();
      await also?.(queries);
    });
    return { expiresAtMs: row.lease_expires_at_ms ?? 0, capAtMs: row.lease_cap_at_ms ?? 0 };
  }

  /** What the machine will have cost at the end of the renewed lease. Throws what `renew` would. */
  async quoteRenewal(renewal: Renewal): Promise<number> {
    return worstCaseNano(await this.#renewed(this.#database.read, renewal), this.#clock.nowMs());
  }

  /** Throws `conflict` when the lease has ended, or is not what it was when the renewal was planned. */
  async renew(renewal: Renewal): Promise<void> {
    await this.#database.write(async (queries) => {
      const { lease_expires_at_ms, lease_cap_at_ms } = await this.#renewed(queries, renewal);
      await queries
        .updateTable('instance')
        .set({ lease_expires_at_ms, lease_cap_at_ms })
        .where('intent_id', '=', renewal.intentId)
        .execute();
    });
  }

  async #renewed(queries: Queries, { intentId, fromExpiresAtMs, lease }: Renewal): Promise<InstanceRow> {
    const nowMs = this.#clock.nowMs();
    const row = await queries
      .selectFrom('instance')
      .selectAll()
      .where('intent_id', '=', intentId)
      .executeTakeFirstOrThrow();
    const endedMs = row.lease_expires_at_ms;
    // With a reason its end is asked for again until it comes, whatever has become of the last time.
    const isToEnd = row.terminate_requested_at_ms !== null || row.end_reason !== null;
    if (row.gone_at_ms !== null || isToEnd || (endedMs !== null && endedMs <= nowMs)) {
      throw new AppError('conflict', `The lease of "${row.name}" has ended, and the machine with it.`, {
        next: 'What has ended is not renewed: launch another instance.',
      });
    }
    if (endedMs !== fromExpiresAtMs || lease.expiresAtMs <= nowMs) {
      throw new AppError('conflict', `The lease of "${row.name}" has changed since the plan was made.`, {
        next: 'Nothing was done. Ask for a new plan: call without confirm_token.',
      });
    }
    const capAtMs = row.lease_cap_at_ms ?? lease.capAtMs;
    const after = {
      ...row,
      lease_expires_at_ms: Math.min(lease.expiresAtMs, capAtMs),
      lease_cap_at_ms: capAtMs,
    };
    await this.#budget.requireRoomForLease(queries, row, after);
    return after;
  }

  /** As `quoteRenewal`, for a machine that is to be taken in. */
  async quoteAdoption(orphan: Orphan): Promise<number> {
    const row = orphanRow(orphan, this.#clock.nowMs());
    await this.#budget.requireRoomForLease(this.#database.read, null, row);
    return worstCaseNano(row, this.#clock.nowMs());
  }

  /**
   * Takes a machine in. With `needsRoom` only if what it has cost and its lease fit into the budget: somebody chose the
   * lease. Without it, it is taken in whatever it costs: it runs. False: another process was first.
   */
  async adopt(orphan: Orphan, needsRoom: boolean): Promise<boolean> {
    return this.#database.write(async (queries) => {
      const row = orphanRow(orphan, this.#clock.nowMs());
      const known = await queries
        .selectFrom('instance')
        .selectAll()
        .where((where) =>
          where.or([where('intent_id', '=', orphan.intentId), where('instance_id', '=', orphan.instanceId)]),
        )
        .executeTakeFirst();
      if (known && known.gone_at_ms === null && known.status !== 'not_launched') return false;
      if (needsRoom) await this.#budget.requireRoomForLease(queries, null, row);
      if (!known) {
        await queries.insertInto('instance').values(row).execute();
        return true;
      }
      // Given up or taken for gone so long ago that no list was searched for it any more.
      await queries
        .updateTable('instance')
        .set({
          instance_id: row.instance_id,
          status: row.status,
          launched_at_ms: known.launched_at_ms ?? row.launched_at_ms,
          last_seen_at_ms: row.last_seen_at_ms,
          gone_at_ms: null,
          terminate_requested_at_ms: null,
          end_reason: null,
          lease_expires_at_ms: known.lease_expires_at_ms ?? row.lease_expires_at_ms,
          lease_cap_at_ms: known.lease_cap_at_ms ?? row.lease_cap_at_ms,
        })
        .where('intent_id', '=', known.intent_id)
        .execute();
      return true;
    });
  }

  /**
   * Marks the end of a lease right before the machine's termination is asked for (again). False, and nothing may be
   * asked for: the lease was renewed meanwhile, or the machine is gone.
   */
  async expire(
    { intentId, expiresAtMs }: { intentId: string; expiresAtMs: number },
    reason: EndReason,
  ): Promise<boolean> {
    const nowMs = this.#clock.nowMs();
    return this.#database.write(async (queries) => {
      const { numUpdatedRows } = await queries
        .updateTable('instance')
        // Asked again, it has run until now, unless it was seen to end.
        .set((row) => ({
          terminate_requested_at_ms: row
            .case()
            .when('status', '=', 'terminating')
            .then(row.fn.coalesce('terminate_requested_at_ms', row.val(nowMs)))
            .else(nowMs)
            .end(),
          end_reason: reason,
        }))
        .where('intent_id', '=', intentId)
        .where('lease_expires_at_ms', '=', expiresAtMs)
        .where('gone_at_ms', 'is', null)
        .executeTakeFirst();
      return numUpdatedRows > 0n;
    });
  }
}
