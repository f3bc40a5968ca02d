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

/** What a machine counts for in a budget period: its cost so far, and while it lives at least what its launch reserved. */
export function instanceClaimNano(row: InstanceRow, period: Period, nowMs: number): number {
  const { costNanoUsd } = instanceCost(row, period.startMs, period.endMs, nowMs);
  const ended = row.gone_at_ms !== null || row.terminate_requested_at_ms !== null;
  const reservedHere = row.requested_at_ms >= period.startMs && row.requested_at_ms < period.endMs;
  return ended || !reservedHere ? costNanoUsd : Math.max(costNanoUsd, row.reserved_nano_usd);
}
