import { AppError } from '../errors.ts';
import type { LeaseBook, Orphan } from '../usage/leases.ts';
import type { FleetInstance } from './fleet-instance.ts';
import { type LeaseRules, type LeaseTerms, leaseFromNow } from './lease.ts';
import { eventReader, orphanOf, type ReconcileParts } from './reconcile.ts';
import { isEnding } from './terminate.ts';

/** A renewal, complete: carrying it out needs no further choice. */
export interface RenewalPlan {
  target: FleetInstance;
  lease: LeaseTerms;
  /** The machine as it is taken in, with its lease; null: the ledger has it. */
  orphan: Orphan | null;
  /** What it will have cost when the lease ends, from its start on. */
  worstCaseNanoUsd: number;
}

/**
 * A lease that ends `hours` from now, for a machine of ours, or for one that Tandem did not launch, which is taken in.
 * Throws `invalid_input` beyond the cap, `conflict` when the lease has ended, `budget_exhausted` when it does not fit.
 */
export async function planRenewal(
  parts: Omit<ReconcileParts, 'tell'> & { leases: LeaseRules },
  target: FleetInstance,
  hours: number,
  signal: AbortSignal,
): Promise<RenewalPlan> {
  const { client, clock, instances, leases } = parts;
  const { id, intentId } = target;
  const lease = leaseFromNow(hours, target.lease, leases, clock.nowMs());
  if (target.isRecorded && intentId !== null) {
    const renewal = { intentId, fromExpiresAtMs: target.lease?.expiresAtMs ?? null, lease };
    return { target, lease, orphan: null, worstCaseNanoUsd: await instances.leases.quoteRenewal(renewal) };
  }
  const listed = (await client.listInstances(signal)).find((instance) => instance.id === id);
  if (!listed || isEnding(listed.status)) {
    throw new AppError('conflict', `"${target.name}" is ending, or gone.`, { next: 'Launch another instance.' });
  }
  const orphan = await orphanOf(parts, listed, lease, eventReader(parts, signal));
  return { target, lease, orphan, worstCaseNanoUsd: await instances.leases.quoteAdoption(orphan) };
}

export async function renew(book: LeaseBook, { target, lease, orphan }: RenewalPlan): Promise<void> {
  if (orphan) {
    if (await book.adopt(orphan, true)) return;
    throw new AppError('conflict', `"${target.name}" was taken in by somebody else meanwhile.`, {
      next: 'Ask for a new plan: call without confirm_token.',
    });
  }
  if (target.intentId === null) return;
  await book.renew({ intentId: target.intentId, fromExpiresAtMs: target.lease?.expiresAtMs ?? null, lease });
}
