import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import { formatUsd, hourlyNano } from '../money.ts';
import type { Queries } from '../usage/database.ts';
import { type DeploymentBook, type DeploymentRow, specOf } from '../usage/deployments.ts';
import { type HuntBook, type HuntRow, type HuntWish, wishOf } from '../usage/hunts.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import type { DeploymentLauncher } from './deployment-launch.ts';
import { type Fleet, type LaunchPlan, newIntentId } from './fleet.ts';
import { planLaunch } from './plan.ts';
import { windowMarginMs } from './schedule.ts';
import type { InstanceType } from './schema.ts';
import type { Tell } from './tell.ts';

/** Capacity is asked for about so often, for all hunts together; Lambda allows one request a second in all. */
const pollMs = 15_000;
const jitterMs = 10_000;
/** After a refusal that is not for want of capacity: money, quota, a key. */
const refusedRetryMs = 60_000;
/** Real time; an answer that takes longer is found by the next passes. */
const launchWaitMs = 5_000;
const hourMs = 3_600_000;

export interface HuntParts {
  book: HuntBook;
  deployments: DeploymentBook;
  launcher: DeploymentLauncher;
  instances: InstanceLedger;
  fleet: Fleet;
  tell: Tell;
  clock: Clock;
  log: Log;
  random?: () => number;
}

interface Find {
  type: InstanceType;
  region: string;
}

/** Looks for capacity until there is some, and then launches once. */
export class Hunts {
  readonly #parts: HuntParts;
  readonly #random: () => number;

  constructor(parts: HuntParts) {
    this.#parts = parts;
    this.#random = parts.random ?? Math.random;
  }

  /** One pass over all hunts that are due. */
  async step(signal: AbortSignal): Promise<void> {
    const { book, clock, fleet, log } = this.#parts;
    const rows = await book.live();
    for (const row of rows.filter(({ state }) => state === 'launching')) await this.#follow(row);
    const nowMs = clock.nowMs();
    const hunting = rows.filter(({ state }) => state === 'hunting');
    for (const row of hunting.filter(({ until_ms: untilMs }) => nowMs >= untilMs)) await this.#giveUp(row);
    const due = hunting.filter((row) => nowMs < row.until_ms && isDue(row.next_try_at_ms, nowMs));
    if (due.length === 0) return;
    const types = await fleet.types(signal);
    for (const row of due) {
      signal.throwIfAborted();
      await this.#try(row, types, signal).catch((error: unknown) => {
        if (!signal.aborted) log.warn({ error, hunt: row.id }, 'a hunt failed');
      });
    }
  }

  /** A launch under way: what became of it is in the row of its machine. */
  async #follow(row: HuntRow): Promise<void> {
    const { book, instances, clock, tell } = this.#parts;
    const machine = (await instances.known()).find(({ intent_id: id }) => id === row.intent_id);
    if (machine?.launched_at_ms != null) {
      const what = `${machine.instance_type} in ${machine.region} as "${machine.name}"`;
      // First, so that it is told also by whoever comes after a process that was killed here.
      await tell('capacity_found', `capacity_found:${row.id}:${row.intent_id}`, `Found and launched ${what}.`);
      await book.move(row, { state: 'launched', ended_at_ms: clock.nowMs(), problem: null });
      return;
    }
    if (machine && machine.status !== 'not_launched') return;
    await book.move(row, { state: 'hunting', intent_id: null, ...this.#later(pollMs) });
  }

  async #giveUp(row: HuntRow): Promise<void> {
    const { book, tell, clock } = this.#parts;
    const deployment = await this.#deploymentOf(row);
    if (!(await book.move(row, { state: 'gave_up', ended_at_ms: clock.nowMs() }))) return;
    const { types } = wishOf(row);
    const why = row.problem ? ` Last: ${row.problem}` : '';
    const text = `No machine was found for ${deployment ? `"${deployment.name}"` : row.id} (${types.join(', ')}); the time for it is over.${why}`;
    await tell('capacity_given_up', `capacity_given_up:${row.id}`, text);
  }

  async #try(row: HuntRow, types: readonly InstanceType[], signal: AbortSignal): Promise<void> {
    const { book } = this.#parts;
    const wish = await this.#nearFilesystems(row, wishOf(row), signal);
    const found = findCapacity(wish, types);
    if (typeof found === 'string') {
      await book.move(row, { problem: found, ...this.#later(pollMs) });
      return;
    }
    try {
      await this.#launch(row, wish, found, signal);
    } catch (error) {
      if (signal.aborted || !(error instanceof AppError)) throw error;
      await this.#again(row, error);
    }
  }

  /** After a failure: unless somebody else has taken it further, or the fate of its launch is open. */
  async #again(read: HuntRow, { code, text: problem }: AppError): Promise<void> {
    const { book, instances } = this.#parts;
    const [row, machines] = await Promise.all([this.#find(read), instances.known()]);
    const machine = machines.find(({ intent_id: intentId }) => intentId === row?.intent_id);
    if (!row || (row.state === 'launching' && machine?.status !== 'not_launched')) return;
    const waitMs = code === 'capacity_unavailable' ? pollMs : refusedRetryMs;
    await book.move(row, { state: 'hunting', intent_id: null, tries: row.tries + 1, problem, ...this.#later(waitMs) });
  }

  /** Machines mount only filesystems of their own region, so nothing is looked for elsewhere. */
  async #nearFilesystems(row: HuntRow, wish: HuntWish, signal: AbortSignal): Promise<HuntWish> {
    const { fleet } = this.#parts;
    const deployment = await this.#deploymentOf(row);
    const names = deployment ? filesystemsOf(specOf(deployment)) : wish.filesystems;
    if (names.length === 0) return wish;
    const known = await fleet.client.listFilesystems(signal);
    const homes = known.filter(({ name }) => names.includes(name)).map(({ region }) => region);
    // One that does not exist is named when the launch is planned.
    if (homes.length === 0) return wish;
    return {
      ...wish,
      regions: wish.regions === null ? homes : wish.regions.filter((region) => homes.includes(region)),
    };
  }

  async #launch(row: HuntRow, wish: HuntWish, { type, region }: Find, signal: AbortSignal): Promise<void> {
    const { book, launcher, fleet } = this.#parts;
    const deployment = await this.#deploymentOf(row);
    // Its last launch was refused, and it is about to wait again.
    if (deployment?.state === 'booting') return;
    if (row.deployment_id !== null && deployment?.state !== 'waiting') {
      await book.move(row, { state: 'cancelled', ended_at_ms: this.#parts.clock.nowMs() });
      return;
    }
    const spec = deployment && specOf(deployment);
    const plan: LaunchPlan = await planLaunch(
      fleet,
      {
        instanceType: type.name,
        region,
        // Read again: it may have risen since capacity was seen.
        maxHourlyUsd: wish.maxPriceCentsPerHour === null ? undefined : wish.maxPriceCentsPerHour / 100,
        name: deployment?.name ?? wish.name ?? undefined,
        sshKey: (spec?.sshKeyName ?? wish.sshKeyName) || undefined,
        imageFamily: (spec?.imageFamily ?? wish.imageFamily) || undefined,
        filesystems: spec ? filesystemsOf(spec) : wish.filesystems,
        userData: wish.userData ?? undefined,
        leaseHours: spec ? this.#leaseOf(deployment, spec.leaseMs) / hourMs : (wish.leaseHours ?? undefined),
      },
      signal,
    );
    if (deployment) {
      await launcher.next(
        deployment,
        type,
        plan,
        (queries, intentId) => book.claim(row, intentId, queries),
        launchWaitMs,
        signal,
      );
    } else {
      const intentId = newIntentId();
      const also = (queries: Queries) => book.claim(row, intentId, queries);
      await fleet.launch(plan, launchWaitMs, signal, { intentId, also });
    }
    const now = await this.#find(row);
    if (now?.state === 'launching') await this.#follow(now);
  }

  /** As it is now, unless it has ended. */
  async #find({ id }: HuntRow): Promise<HuntRow | undefined> {
    return (await this.#parts.book.live()).find((row) => row.id === id);
  }

  /** Undefined for a machine of its own, and where the deployment has ended. */
  async #deploymentOf({ deployment_id: id }: HuntRow): Promise<DeploymentRow | undefined> {
    return (await this.#parts.deployments.live()).find((row) => row.id === id);
  }

  /** A window says when it ends; what is left of it is the lease. */
  #leaseOf({ until_ms: untilMs }: { until_ms: number | null }, leaseMs: number): number {
    if (untilMs === null) return leaseMs;
    return Math.min(this.#parts.fleet.leases.capMs, Math.max(1, untilMs + windowMarginMs - this.#parts.clock.nowMs()));
  }

  #later(ms: number): Pick<HuntRow, 'next_try_at_ms'> {
    return { next_try_at_ms: this.#parts.clock.nowMs() + ms + Math.round(this.#random() * jitterMs) };
  }
}

function filesystemsOf({ filesystem }: { filesystem: string | null }): readonly string[] {
  return filesystem === null ? [] : [filesystem];
}

/** A clock that was put back is no reason to wait for what it said before. */
function isDue(nextTryAtMs: number, nowMs: number): boolean {
  return nowMs >= nextTryAtMs || nextTryAtMs - nowMs > refusedRetryMs + jitterMs;
}

/** The first of the wanted types that has capacity in a wanted region within the price; else why there is none. */
function findCapacity(wish: HuntWish, types: readonly InstanceType[]): Find | string {
  const problems: string[] = [];
  for (const name of wish.types) {
    const type = types.find((known) => known.name === name);
    if (!type) {
      problems.push(`${name} is not offered`);
      continue;
    }
    if (wish.maxPriceCentsPerHour !== null && type.priceCentsPerHour > wish.maxPriceCentsPerHour) {
      problems.push(
        `${name} costs ${formatUsd(hourlyNano(type.priceCentsPerHour))} an hour, above the limit of ${formatUsd(hourlyNano(wish.maxPriceCentsPerHour))}`,
      );
      continue;
    }
    const { regions } = wish;
    const region = (regions ?? type.regionsWithCapacity).find((wanted) => type.regionsWithCapacity.includes(wanted));
    if (region !== undefined) return { type, region };
    problems.push(`${name} has no capacity${regions ? ` in ${regions.join(', ')}` : ''}`);
  }
  return `${problems.join('; ')}.`;
}
