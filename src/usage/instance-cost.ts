import { billedMinutes, instanceCostNano } from '../money.ts';
import type { Period } from './calendar.ts';
import { type Queries, select } from './database.ts';
import type { InstanceTable } from './tables.ts';

export type InstanceRow = InstanceTable;

const withinSpan = `
SELECT * FROM instance
WHERE requested_at_ms < ? AND (gone_at_ms IS NULL OR gone_at_ms > ?) AND status != 'not_launched'`;

/** Machines that lived in a span; those that were never launched did not. */
export async function instancesWithin(queries: Queries, fromMs: number, toMs: number): Promise<InstanceRow[]> {
  return select<InstanceRow>(queries, withinSpan, [toMs, fromMs]);
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

/**
 * What a machine counts for in a budget period: its cost so far, and while it lives its price until its lease ends. One
 * of before there were leases counts at least what its launch reserved.
 */
export function instanceClaimNano(row: InstanceRow, period: Pick<Period, 'startMs' | 'endMs'>, nowMs: number): number {
  const { costNanoUsd } = instanceCost(row, period.startMs, period.endMs, nowMs);
  if (row.gone_at_ms !== null || row.terminate_requested_at_ms !== null) return costNanoUsd;
  const leaseEndMs = row.lease_expires_at_ms;
  if (leaseEndMs !== null) {
    // As if it ran from now on, or from the last look at it: once it is seen to run, that is where its minutes begin.
    const activeAtMs = row.first_active_at_ms ?? row.last_seen_at_ms ?? row.requested_at_ms;
    const running = { ...row, first_active_at_ms: activeAtMs };
    return instanceCost(running, period.startMs, period.endMs, Math.max(nowMs, leaseEndMs)).costNanoUsd;
  }
  const reservedHere = row.requested_at_ms >= period.startMs && row.requested_at_ms < period.endMs;
  return reservedHere ? Math.max(costNanoUsd, row.reserved_nano_usd) : costNanoUsd;
}

const allTime = { startMs: 0, endMs: Number.MAX_SAFE_INTEGER };

/** What a machine will have cost when its lease ends, unless it ends before. */
export function worstCaseNano(row: InstanceRow, nowMs: number): number {
  return instanceClaimNano(row, allTime, nowMs);
}
