import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import { formatUsd } from '../money.ts';
import { type InstanceRow, instanceCost } from '../usage/instance-cost.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import type { EndReason } from '../usage/tables.ts';
import type { LambdaClient } from './client.ts';
import { isRefusal } from './errors.ts';
import { leaseOf } from './fleet-instance.ts';
import { inUtc, warnAtMs } from './lease.ts';
import { type Tell, tellOnce } from './tell.ts';
import { isEnding } from './terminate.ts';

/** A termination that is not seen to happen is asked for again after this. */
const askAgainMs = 30_000;
/** A machine that is seen to end is left to end for so long. */
const endsWithinMs = 10 * 60_000;

export interface LeaseKeeperParts {
  /** Null: without a key nothing can be listed or ended. */
  client: LambdaClient | null;
  instances: InstanceLedger;
  clock: Clock;
  log: Log;
  tell: Tell;
  /** Whether something else ends a machine before its lease does: then nobody needs to be warned of that. */
  endsBefore?: (row: InstanceRow) => Promise<boolean>;
}

/**
 * Ends machines whose lease has ended, and says so before. All of it follows from the ledger's rows as the last list
 * left them, so that any number of keepers may do it, in any process, and none of them needs to have seen the start.
 */
export class LeaseKeeper {
  readonly #parts: LeaseKeeperParts;
  readonly #tell: Tell;
  readonly #askedAtMs = new Map<string, number>();

  constructor(parts: LeaseKeeperParts) {
    this.#parts = parts;
    this.#tell = tellOnce(parts.tell, parts.log);
  }

  /** One pass over all live machines, each by itself: one that cannot be ended keeps no other from its end. */
  async enforce(signal: AbortSignal): Promise<void> {
    const { instances, log } = this.#parts;
    const rows = await instances.live();
    for (const intentId of this.#askedAtMs.keys())
      if (!rows.some((row) => row.intent_id === intentId)) this.#askedAtMs.delete(intentId);
    await Promise.all(
      rows.map((row) =>
        this.#tend(row, signal).catch((error: unknown) => {
          signal.throwIfAborted();
          log.warn({ error, instance: row.instance_id }, 'a lease could not be enforced; trying again');
        }),
      ),
    );
  }

  async #tend(row: InstanceRow, signal: AbortSignal): Promise<void> {
    const lease = leaseOf(row);
    if (lease === null) return;
    const nowMs = this.#parts.clock.nowMs();
    if (row.end_reason !== null && wasIgnored(row)) {
      await this.#ask(row, row.end_reason, nowMs, signal);
      return;
    }
    const endsAtMs = Math.min(lease.expiresAtMs, lease.capAtMs);
    if (nowMs >= endsAtMs) return this.#end(row, nowMs, signal);
    if (row.terminate_requested_at_ms !== null || nowMs < warnAtMs(startOf(row), endsAtMs)) return;
    if (await this.#parts.endsBefore?.(row)) return;
    const cap =
      endsAtMs < lease.capAtMs ? `renew_lease keeps it, until ${inUtc(lease.capAtMs)} at most` : 'that is its cap';
    await this.#tell(
      'lease_80',
      `lease_80:${row.intent_id}:${endsAtMs}`,
      `${nameOf(row)} is terminated at ${inUtc(endsAtMs)}, in ${Math.ceil((endsAtMs - nowMs) / 60_000)} min: ${cap}. It has cost ${costOf(row, nowMs)} so far.`,
    );
  }

  async #end(row: InstanceRow, nowMs: number, signal: AbortSignal): Promise<void> {
    const { intent_id: intentId, lease_expires_at_ms: expiresAtMs } = row;
    // It came into the books with no lease left.
    const reason = expiresAtMs !== null && expiresAtMs <= startOf(row) ? 'orphan' : 'lease';
    try {
      if (!(await this.#ask(row, reason, nowMs, signal))) return;
    } catch (error) {
      signal.throwIfAborted();
      await this.#tell(
        'lease_expired',
        `lease_expired:${intentId}:${expiresAtMs}:failing`,
        `The lease of ${nameOf(row)} has ended, and Lambda Cloud has not taken its termination (${error instanceof AppError ? error.message : 'no answer'}). It is billed on; Tandem asks again every ${askAgainMs / 1000} s.`,
      );
      throw error;
    }
    await this.#tell(
      'lease_expired',
      `lease_expired:${intentId}:${expiresAtMs}`,
      `The lease of ${nameOf(row)} has ended, and Tandem terminates it. It has cost ${costOf(row, nowMs)}.`,
    );
  }

  /** Asks for its end, when it is time to. False: it is not. */
  async #ask(row: InstanceRow, reason: EndReason, nowMs: number, signal: AbortSignal): Promise<boolean> {
    const { intent_id: intentId, instance_id: id, lease_expires_at_ms: expiresAtMs } = row;
    // A launch without answer: there is nothing to end until a list shows its machine.
    if (id === null || id === '' || expiresAtMs === null || !this.#isDue(row, nowMs)) return false;
    const { client, instances, log } = this.#parts;
    if (!client || !(await this.#mark({ intentId, expiresAtMs }, reason))) return false;
    this.#askedAtMs.set(intentId, nowMs);
    try {
      const answer = await client.terminate([id], signal);
      if (!answer.some((instance) => instance.id === id && isEnding(instance.status)))
        log.warn({ instance: id, reason }, 'Lambda Cloud did not confirm the termination of a machine');
    } catch (error) {
      signal.throwIfAborted();
      await (isRefusal(error) ? instances.terminateFailed([id]) : instances.terminateUnanswered(id));
      throw error;
    }
    return true;
  }

  /** A ledger that cannot be written keeps no machine running: then nobody can have renewed its lease either. */
  async #mark(lease: { intentId: string; expiresAtMs: number }, reason: EndReason): Promise<boolean> {
    try {
      return await this.#parts.instances.leases.expire(lease, reason);
    } catch (error) {
      this.#parts.log.error({ error }, 'the end of a lease could not be recorded; ending the machine all the same');
      return true;
    }
  }

  /** The clock may have gone back since the last time; then nobody knows how long ago that was. */
  #isDue(row: InstanceRow, nowMs: number): boolean {
    const askedAtMs = this.#askedAtMs.get(row.intent_id) ?? row.terminate_requested_at_ms;
    if (askedAtMs === null || askedAtMs > nowMs) return true;
    return nowMs - askedAtMs >= (row.status === 'terminating' ? endsWithinMs : askAgainMs);
  }
}

/** Whether Tandem has asked for its end, and said so, and the ledger has seen by now that it did not come of it. */
function wasIgnored(row: InstanceRow): boolean {
  return row.terminate_requested_at_ms === null && !isEnding(row.status);
}

/** Of its time in the ledger: a machine that was taken in may have run for days before. */
function startOf(row: InstanceRow): number {
  return row.launched_at_ms ?? row.requested_at_ms;
}

function nameOf(row: InstanceRow): string {
  return `"${row.name}" (${row.instance_id ?? 'not confirmed yet'}, ${row.instance_type} in ${row.region})`;
}

function costOf(row: InstanceRow, nowMs: number): string {
  return formatUsd(instanceCost(row, 0, nowMs, nowMs).costNanoUsd);
}
