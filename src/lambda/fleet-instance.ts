import { type InstanceCost, type InstanceRow, instanceCost } from '../usage/instance-cost.ts';
import { intentIdOf, isOurs, type LeaseTerms } from './lease.ts';
import type { Instance } from './schema.ts';

/** A machine as the tools show it: what the cloud says and what the ledger knows, joined. */
export interface FleetInstance {
  /** Lambda's id; null while a launch is not confirmed. */
  id: string | null;
  /** The ledger's, else what its tag says; null when Tandem did not launch it. */
  intentId: string | null;
  name: string;
  instanceType: string;
  region: string;
  status: string;
  ip: string | null;
  priceCentsPerHour: number;
  /** Since the launch request, or since it was first healthy; null when nobody knows. */
  ageMs: number | null;
  /** Null for machines that Tandem did not launch and has no start of. */
  cost: InstanceCost | null;
  managed: boolean;
  /** Whether the ledger has it. */
  isRecorded: boolean;
  /** Null for machines that Tandem did not launch, or launched before there were leases. */
  lease: LeaseTerms | null;
}

/** The lease of a row; one without a cap of its own cannot be renewed beyond its end. */
export function leaseOf(row: InstanceRow): LeaseTerms | null {
  const expiresAtMs = row.lease_expires_at_ms;
  return expiresAtMs === null ? null : { expiresAtMs, capAtMs: row.lease_cap_at_ms ?? expiresAtMs };
}

/** Whether a launch has no answer yet. */
export function isOpen(row: InstanceRow): boolean {
  return row.status === 'intent' || row.status === 'unconfirmed';
}

/**
 * The ledger's row for a machine: by the intent in its tag, else by its id. A machine that bears no tag at all may
 * still be the one of a launch without answer that asked for its name and type.
 */
export function rowOf(instance: Instance, rows: readonly InstanceRow[]): InstanceRow | undefined {
  const intentId = intentIdOf(instance.tags);
  const known = rows.find((row) => row.intent_id === intentId || row.instance_id === instance.id);
  if (known || intentId !== undefined) return known;
  return rows.find((row) => isOpen(row) && row.name === instance.name && row.instance_type === instance.type.name);
}

export function join(instance: Instance, row: InstanceRow | undefined, nowMs: number): FleetInstance {
  const startMs = row?.requested_at_ms ?? instance.firstHealthyAtMs;
  return {
    id: instance.id,
    intentId: row?.intent_id ?? intentIdOf(instance.tags) ?? null,
    name: oneLine(instance.name ?? instance.hostname ?? instance.id),
    instanceType: instance.type.name,
    region: instance.region,
    status: instance.status,
    ip: instance.ip,
    priceCentsPerHour: row?.price_cents_per_hour ?? instance.type.priceCentsPerHour,
    ageMs: startMs === null ? null : nowMs - startMs,
    cost: row ? instanceCost(row, 0, nowMs, nowMs) : null,
    managed: row !== undefined || intentIdOf(instance.tags) !== undefined || isOurs(instance.tags),
    isRecorded: row !== undefined,
    lease: row ? leaseOf(row) : null,
  };
}

export function unconfirmedInstance(row: InstanceRow, nowMs: number): FleetInstance {
  return {
    id: null,
    intentId: row.intent_id,
    name: row.name,
    instanceType: row.instance_type,
    region: row.region,
    status: 'unconfirmed',
    ip: null,
    priceCentsPerHour: row.price_cents_per_hour,
    ageMs: nowMs - row.requested_at_ms,
    cost: null,
    managed: true,
    isRecorded: true,
    lease: leaseOf(row),
  };
}

/** Names of machines that others launched are shown to people and models: no line of theirs may look like one of ours. */
export function oneLine(name: string): string {
  return name.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ');
}
