import type { Clock } from '../clock.ts';
import type { FleetEntry } from '../config/schema.ts';
import { type DeploymentBook, type DeploymentRow, specOf } from '../usage/deployments.ts';
import { type HuntBook, type HuntRow, wishOf } from '../usage/hunts.ts';
import type { KeeperLock, KeeperRow } from '../usage/keeper-lock.ts';
import type { NoticeBook, NoticeRow } from '../usage/notice-book.ts';
import type { Fleet } from './fleet.ts';
import type { FleetInstance } from './fleet-instance.ts';
import type { Findings } from './reconcile.ts';
import { nextChange, slotsWanted } from './schedule.ts';
import type { ScheduleKeeper } from './schedule-keeper.ts';

/** What ended so recently is still shown. */
const shownForMs = 24 * 60 * 60_000;
const noticesShown = 5;

export interface FleetStatusParts {
  entries: readonly FleetEntry[];
  fleet: Fleet;
  deployments: DeploymentBook;
  hunts: HuntBook;
  lock: KeeperLock;
  notices: Pick<NoticeBook, 'last'>;
  schedules: Pick<ScheduleKeeper, 'leadMs'>;
  clock: Clock;
}

export interface DeploymentStatus {
  row: DeploymentRow;
  model: string;
  engine: string;
  types: readonly string[];
  instance: FleetInstance | null;
}

export interface EntryStatus {
  name: string;
  model: string;
  /** How many machines it has in a window. */
  machines: number;
  /** How many machines the schedule wants now, and how many of them are ready. */
  wanted: number;
  ready: number;
  nextChange: { atMs: number; what: 'opens' | 'closes' } | null;
  /** When the machines of the next window will be asked for; null: they have been. */
  launchesAtMs: number | null;
}

export interface FleetStatus {
  entries: EntryStatus[];
  deployments: DeploymentStatus[];
  hunts: { row: HuntRow; types: readonly string[] }[];
  instances: FleetInstance[];
  /** Null: the account could not be read, and why. */
  findings: Findings | null;
  problem: string | null;
  keeper: { row: KeeperRow; beatAgeMs: number; isAlive: boolean } | null;
  notices: NoticeRow[];
}

/** What the fleet should be, and what it is; compares the account with the ledger on the way. */
export async function readFleetStatus(parts: FleetStatusParts, signal: AbortSignal): Promise<FleetStatus> {
  const { entries, fleet, deployments, hunts, lock, notices, schedules, clock } = parts;
  let problem: string | null = null;
  const instances = await fleet.list(signal).catch((error: unknown) => {
    signal.throwIfAborted();
    problem = error instanceof Error ? error.message : String(error);
    return [];
  });
  const nowMs = clock.nowMs();
  const [live, ended, hunting, finished, row, told] = await Promise.all([
    deployments.live(),
    deployments.endedSince(nowMs - shownForMs),
    hunts.live(),
    hunts.endedSince(nowMs - shownForMs),
    lock.state(),
    notices.last(noticesShown),
  ]);
  const leadsMs = await Promise.all(entries.map((entry) => schedules.leadMs(entry)));
  return {
    entries: entries.map((entry, index) => ({
      name: entry.name,
      model: entry.model,
      machines: entry.count,
      wanted: slotsWanted(entry, nowMs, 0).length,
      ready: live.filter((deployment) => deployment.state === 'ready' && specOf(deployment).fleet === entry.name)
        .length,
      ...changeOf(entry, nowMs, leadsMs[index] ?? 0),
    })),
    deployments: [...live, ...ended].map((deployment) => {
      const { model, engine, types } = specOf(deployment);
      const instance = instances.find(({ intentId }) => intentId !== null && intentId === deployment.intent_id) ?? null;
      return { row: deployment, model, engine, types, instance };
    }),
    hunts: [...hunting, ...finished].map((hunt) => ({ row: hunt, types: wishOf(hunt).types })),
    instances,
    findings: problem === null ? fleet.findings : null,
    problem,
    keeper: row && {
      row,
      beatAgeMs: nowMs - row.beat_at_ms,
      isAlive: await lock.isKept(),
    },
    notices: told,
  };
}

function changeOf(entry: FleetEntry, nowMs: number, leadMs: number): Pick<EntryStatus, 'nextChange' | 'launchesAtMs'> {
  const change = nextChange(entry, nowMs);
  const launchesAtMs = change?.what === 'opens' ? change.atMs - leadMs : null;
  return { nextChange: change, launchesAtMs: launchesAtMs !== null && launchesAtMs > nowMs ? launchesAtMs : null };
}
