import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { InstanceRow } from '../usage/instance-cost.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import type { KeeperCommand, KeeperLock } from '../usage/keeper-lock.ts';
import type { Deployments } from './deployments.ts';
import type { Fleet } from './fleet.ts';
import type { FleetInstance } from './fleet-instance.ts';
import type { Hunts } from './hunts.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { ScheduleKeeper } from './schedule-keeper.ts';

/** How long a process that stands by waits for the one that it called for. */
const standByMs = 45_000;
/** Between two passes. */
const passMs = 5_000;
/** The account's list is read so often while something changes, and else. Lambda allows about a request a second. */
const movingListMs = 10_000;
const quietListMs = 60_000;
/** And so often when nothing is known to run, to find what nobody recorded. */
const emptyListMs = 10 * 60_000;

export interface KeeperParts {
  /** What this process is: it stands in the row of the lock. */
  command: KeeperCommand;
  lock: KeeperLock;
  /**
   * For a process that may end at any time: calls for one that keeps, and keeps itself only when none has come.
   * Null: it keeps whenever nobody else does.
   */
  callKeeper: (() => Promise<void>) | null;
  fleet: Fleet;
  instances: InstanceLedger;
  leases: LeaseKeeper;
  schedules: ScheduleKeeper;
  deployments: Deployments;
  hunts: Hunts;
  /** Whether there are machines, deployments, hunts or notices that have not ended. */
  hasOpenWork(): Promise<boolean>;
  /** Budget and error rate. */
  checkAlerts(): Promise<void>;
  /** Sends what is to be told; nobody waits for it. */
  sendNotices(): void;
  clock: Clock;
  log: Log;
}

/**
 * Keeps what is wanted and what is there the same: leases, schedules, deployments, hunts. One pass after the other, by
 * one process at a time; a pass that is cut off anywhere is finished by the next, whoever makes it.
 */
export class Keeper {
  readonly #parts: KeeperParts;
  #listed: readonly FleetInstance[] = [];
  #listedAtMs = Number.NEGATIVE_INFINITY;
  #keptAtMs = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | undefined;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
  }

  /** Passes until aborted, whenever this process is the one that keeps. Never rejects. */
  run(signal: AbortSignal): Promise<void> {
    this.#running ??= this.#loop(signal).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #loop(signal: AbortSignal): Promise<void> {
    const { lock, callKeeper, clock, log } = this.#parts;
    while (!signal.aborted) {
      try {
        if (!(await this.hasWork())) await this.#rest(signal);
        else if (await this.#isMine()) await this.#beating(() => this.pass(signal));
      } catch (error) {
        if (!signal.aborted) log.warn({ error }, 'a pass over the fleet failed; the next one follows');
      }
      await clock.sleep(passMs, signal).catch(() => undefined);
    }
    await this.#parts.deployments.close();
    await lock.release().catch(() => undefined);
    // What it leaves behind somebody has to keep.
    if (callKeeper && (await this.hasWork().catch(() => true))) await callKeeper();
  }

  /**
   * With nothing to keep, as far as the ledger knows: gives its place back, so that nobody takes it for dead, and looks
   * for machines of ours that the ledger does not know, by their tags.
   */
  async #rest(signal: AbortSignal): Promise<void> {
    const { fleet, lock, command, clock } = this.#parts;
    // `tandem watch` lingers, and gives it back itself.
    if (command !== 'watch' && (await lock.isMine())) await lock.release();
    const nowMs = clock.nowMs();
    if (!fleet.isConfigured || Math.abs(nowMs - this.#listedAtMs) < emptyListMs) return;
    // Also when it fails: a key that does not work is not tried every few seconds.
    this.#listedAtMs = nowMs;
    this.#listed = await fleet.list(signal);
  }

  /** Whether this process keeps now. */
  async #isMine(): Promise<boolean> {
    const { lock, command, callKeeper, clock, log } = this.#parts;
    const nowMs = clock.nowMs();
    if (callKeeper && !(await lock.isMine())) {
      if (await lock.isKept()) {
        this.#keptAtMs = nowMs;
        return false;
      }
      if (this.#keptAtMs === Number.NEGATIVE_INFINITY) this.#keptAtMs = nowMs;
      await callKeeper();
      if (Math.abs(nowMs - this.#keptAtMs) < standByMs) return false;
    }
    return lock.take(command).catch(async (error: unknown) => {
      log.warn({ error }, 'the ledger could not be written; keeping all the same, unless somebody else does');
      return (await lock.isMine()) || !(await lock.isKept());
    });
  }

  /** A pass may take longer than others wait for a beat. */
  async #beating(work: () => Promise<void>): Promise<void> {
    const stop = new AbortController();
    const beats = this.#parts.lock.beat(this.#parts.command, stop.signal);
    try {
      await work();
    } finally {
      stop.abort();
      await beats;
    }
  }

  /** Whether there is anything to keep. */
  async hasWork(): Promise<boolean> {
    const { fleet, schedules, hasOpenWork } = this.#parts;
    return fleet.isConfigured && (schedules.hasEntries || (await hasOpenWork()));
  }

  /** Everything once, in this order. What fails is logged, and does not keep the rest from happening. */
  async pass(signal: AbortSignal): Promise<void> {
    const { leases, schedules, deployments, hunts } = this.#parts;
    await this.#try('list', () => this.#list(signal), signal);
    await this.#try('leases', () => leases.enforce(signal), signal);
    await this.#try('schedules', () => schedules.step(), signal);
    await this.#try('deployments', () => deployments.step(this.#listed, signal), signal);
    await this.#try('hunts', () => hunts.step(signal), signal);
    await this.#try('alerts', () => this.#parts.checkAlerts(), signal);
    this.#parts.sendNotices();
  }

  /** Brings the ledger up to date, when it is time for that. */
  async #list(signal: AbortSignal): Promise<void> {
    const { fleet, instances, lock, clock } = this.#parts;
    const live = await instances.live();
    const isMoving = live.some(
      (row) => row.status !== 'active' || row.terminate_requested_at_ms !== null || !this.#hasListed(row),
    );
    const dueMs = isMoving ? movingListMs : live.length > 0 ? quietListMs : emptyListMs;
    const nowMs = clock.nowMs();
    // A clock that was put back is no reason not to look.
    if (Math.abs(nowMs - this.#listedAtMs) < dueMs) return;
    this.#listed = await fleet.list(signal);
    this.#listedAtMs = nowMs;
    await lock.listed();
  }

  /** Not when somebody else has looked since: then the row knows more than the last list here. */
  #hasListed(row: InstanceRow): boolean {
    return this.#listed.some((listed) => listed.intentId === row.intent_id && listed.status === row.status);
  }

  async #try(what: string, work: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    try {
      await work();
    } catch (error) {
      if (signal.aborted) throw error;
      this.#parts.log.warn({ error, what }, 'a part of the pass over the fleet failed');
    }
  }
}
