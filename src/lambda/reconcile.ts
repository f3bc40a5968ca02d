import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { formatUsd, hourlyNano } from '../money.ts';
import type { InstanceRow } from '../usage/instance-cost.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import { isAdopted, type Orphan } from '../usage/leases.ts';
import type { LambdaClient } from './client.ts';
import { isOpen, oneLine, rowOf } from './fleet-instance.ts';
import { intentIdOf, inUtc, isOurs, type LeaseRules, type LeaseTerms, launchedAt, leaseOfOrphan } from './lease.ts';
import type { AuditEvent, Instance } from './schema.ts';
import type { Tell } from './tell.ts';
import { isEnding } from './terminate.ts';

/** Until a launch whose answer was lost counts as not made. Reports speak of up to three minutes. */
const adoptWithinMs = 5 * 60_000;
/** Real time. An account's log may have very many pages; the machine is taken in without it, too. */
const auditPatienceMs = 15_000;

type ReadEvents = () => Promise<readonly AuditEvent[]>;

/** How the account and the ledger differ, as of one list. */
export interface Findings {
  listedAtMs: number;
  /** Ours, but found running: launched by a Tandem whose ledger is lost, or taken in by somebody. */
  adopted: Machine[];
  /** Not ours: shown, and never touched. */
  unmanaged: Machine[];
  /** Billed at another price than was planned. */
  drift: (Machine & { plannedCentsPerHour: number; priceCentsPerHour: number })[];
  /** Running past their lease. */
  overdue: (Machine & { expiredAtMs: number })[];
}

interface Machine {
  id: string;
  name: string;
  instanceType: string;
}

export interface ReconcileParts {
  client: LambdaClient;
  instances: InstanceLedger;
  leases: LeaseRules;
  clock: Clock;
  log: Log;
  tell: Tell;
}

/**
 * The account against the ledger: adopts by tag, notes what is seen, gives up launches that never showed, takes in
 * machines of ours that no row knows. Returns the rows that are left, and what was found.
 */
export async function reconcile(
  parts: ReconcileParts,
  listed: readonly Instance[],
  listedAtMs: number,
  signal: AbortSignal,
): Promise<{ rows: InstanceRow[]; findings: Findings }> {
  const { instances, log, clock } = parts;
  const before = await instances.known();
  const sightings = listed.flatMap((instance) => {
    const row = rowOf(instance, before);
    if (!row) return [];
    const { id: instanceId, status, firstHealthyAtMs } = instance;
    const { priceCentsPerHour } = instance.type;
    return [{ intentId: row.intent_id, instanceId, status, firstHealthyAtMs, priceCentsPerHour }];
  });
  const seen = await instances.observe(sightings, listedAtMs);
  const lost = seen.filter((row) => isOpen(row) && listedAtMs - row.requested_at_ms >= adoptWithinMs);
  for (const { intent_id: intent, name } of lost) {
    log.warn({ intent, name }, 'a launch without answer never showed up; it counts as not launched');
    await instances.notLaunched(intent);
  }
  const orphans = listed.filter(({ tags, status, ...instance }) => {
    return isOurs(tags) && !isEnding(status) && !rowOf({ tags, status, ...instance }, seen);
  });
  const readEvents = eventReader(parts, signal);
  for (const orphan of orphans) await adoptOrphan(parts, orphan, readEvents);
  const known = orphans.length > 0 ? await instances.known() : seen;
  const rows = known.filter((row) => !lost.some(({ intent_id }) => intent_id === row.intent_id));
  const findings = compare(listed, rows, listedAtMs, clock.nowMs());
  for (const { id, name, plannedCentsPerHour, priceCentsPerHour } of findings.drift) {
    await parts.tell(
      'price_changed',
      `price_changed:${id}:${priceCentsPerHour}`,
      `"${name}" (${id}) is billed at ${formatUsd(hourlyNano(priceCentsPerHour))} an hour; ${formatUsd(hourlyNano(plannedCentsPerHour))} was planned. What it costs is counted at the new price.`,
    );
  }
  return { rows, findings };
}

function compare(
  listed: readonly Instance[],
  rows: readonly InstanceRow[],
  listedAtMs: number,
  nowMs: number,
): Findings {
  const findings: Findings = { listedAtMs, adopted: [], unmanaged: [], drift: [], overdue: [] };
  for (const instance of listed.filter(({ status }) => !isEnding(status))) {
    const machine = { id: instance.id, name: nameOf(instance), instanceType: instance.type.name };
    const row = rowOf(instance, rows);
    if (!row) {
      findings.unmanaged.push(machine);
      continue;
    }
    const { planned_price_cents_per_hour: planned, lease_expires_at_ms: expiredAtMs } = row;
    const { priceCentsPerHour } = instance.type;
    if (isAdopted(row)) findings.adopted.push(machine);
    if (planned !== null && planned !== priceCentsPerHour)
      findings.drift.push({ ...machine, plannedCentsPerHour: planned, priceCentsPerHour });
    if (expiredAtMs !== null && expiredAtMs <= nowMs) findings.overdue.push({ ...machine, expiredAtMs });
  }
  return findings;
}

/** Told first, and then taken in: whoever is killed in between tells nobody twice, and nobody is not told. */
async function adoptOrphan(parts: ReconcileParts, instance: Instance, readEvents: ReadEvents): Promise<void> {
  const { instances, leases, clock, log, tell } = parts;
  const nowMs = clock.nowMs();
  const lease = leaseOfOrphan(instance.tags, leases, nowMs);
  const fate = lease.expiresAtMs <= nowMs ? 'It is terminated.' : `It gets a lease until ${inUtc(lease.expiresAtMs)}.`;
  await tell(
    'orphan_found',
    `orphan_found:${instance.id}`,
    `"${nameOf(instance)}" (${instance.id}, ${instance.type.name} in ${instance.region}) bears Tandem's tag and was in no ledger. ${fate}`,
  );
  log.warn({ instance: instance.id, lease }, 'a machine of ours that the ledger does not know');
  await instances.leases.adopt(await orphanOf(parts, instance, lease, readEvents), false);
}

/** A running machine as the ledger can take it in. */
export async function orphanOf(
  { clock, leases }: Pick<ReconcileParts, 'clock' | 'leases'>,
  instance: Instance,
  lease: LeaseTerms,
  readEvents: ReadEvents,
): Promise<Orphan> {
  const { id, tags, firstHealthyAtMs } = instance;
  const nowMs = clock.nowMs();
  const seenAtMs = firstHealthyAtMs ?? firstEventMs(await readEvents(), id);
  const startedAtMs = seenAtMs ?? launchedAt(tags, leases, nowMs) ?? nowMs;
  return {
    // The same in every process that finds it, so that one of them takes it in.
    intentId: intentIdOf(tags) ?? `adopted-${id}`,
    instanceId: id,
    name: nameOf(instance),
    instanceType: instance.type.name,
    region: instance.region,
    status: instance.status,
    priceCentsPerHour: instance.type.priceCentsPerHour,
    startedAtMs: Math.min(startedAtMs, nowMs),
    isActive: instance.status !== 'booting',
    lease,
  };
}

/**
 * Machines do not say when they were launched; the account's log does, to those who may read it. It is read when it is
 * first needed, and once for all of a list: while it is read, nothing else is kept. Empty when it cannot be.
 */
export function eventReader({ client, log }: Pick<ReconcileParts, 'client' | 'log'>, signal: AbortSignal): ReadEvents {
  let events: Promise<AuditEvent[]> | undefined;
  return async () => {
    events ??= client
      .listAuditEvents(
        { resource_type: 'cloud.instance' },
        AbortSignal.any([signal, AbortSignal.timeout(auditPatienceMs)]),
      )
      .catch((error: unknown) => {
        signal.throwIfAborted();
        log.debug({ error }, 'the audit events could not be read');
        return [];
      });
    return events;
  };
}

function firstEventMs(events: readonly AuditEvent[], id: string): number | null {
  const times = events
    .filter(({ resourceLrns }) => resourceLrns.some((lrn) => lrn.endsWith(`:${id}`)))
    .map(({ atMs }) => atMs)
    .filter(Number.isFinite);
  return times.length > 0 ? Math.min(...times) : null;
}

function nameOf(instance: Instance): string {
  return oneLine(instance.name ?? instance.hostname ?? instance.id);
}
