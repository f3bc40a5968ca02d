import { randomBytes } from 'node:crypto';
import { abortReason } from '../cancellation.ts';
import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Queries } from '../usage/database.ts';
import type { InstanceRow } from '../usage/instance-cost.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import type { EndReason } from '../usage/tables.ts';
import type { LambdaClient, LaunchRequest } from './client.ts';
import { isRefusal } from './errors.ts';
import { type FleetInstance, isOpen, join, rowOf, unconfirmedInstance } from './fleet-instance.ts';
import { type LeaseRules, tagsOf } from './lease.ts';
import { type Findings, reconcile } from './reconcile.ts';
import { planRenewal, type RenewalPlan, renew } from './renewal.ts';
import type { Instance, InstanceType } from './schema.ts';
import { type Tell, tellOnce } from './tell.ts';
import { type EndStatus, terminateSurely } from './terminate.ts';

const adoptPollMs = 5_000;

/** A priced proposal, complete: launching it needs no further choice. */
export interface LaunchPlan {
  instanceType: string;
  gpuDescription: string;
  region: string;
  priceCentsPerHour: number;
  name: string;
  sshKeyName: string;
  imageFamily: string;
  filesystemNames: readonly string[];
  userData: string | undefined;
  /** How long it may live, and how long renewals may make that: both from the launch request on. */
  leaseMs: number;
  capMs: number;
  /** What it is to serve; null: nothing that Tandem knows of. */
  deploymentId: string | null;
  firewallRulesetIds?: readonly string[];
}

export interface LaunchOptions {
  /** Where it has to be known before, such as for keys; else a new one. */
  intentId?: string;
  /** Runs in the transaction that writes the intent: what it throws keeps the launch from happening. */
  also?: ((queries: Queries) => Promise<void>) | undefined;
}

export function newIntentId(): string {
  return randomBytes(8).toString('hex');
}

export interface LaunchResult {
  status: 'launching' | 'unconfirmed';
  instanceId: string | null;
  /** The launch answer was lost and the machine was found by its tag. */
  adopted: boolean;
}

export interface TerminateResult {
  instance: FleetInstance;
  status: EndStatus | 'still_running';
}

export interface FleetParts {
  client: LambdaClient | null;
  instances: InstanceLedger;
  leases: LeaseRules;
  clock: Clock;
  log: Log;
  /** Writes down what people are to be told. */
  tell?: Tell;
  /** Called once a row wants keeping, and before its machine is asked for: this process may be killed right after. */
  callKeeper?: () => Promise<void>;
}

/** The machines of the account: listed, launched once each, and terminated for sure. */
export class Fleet {
  readonly #parts: FleetParts;
  readonly #closing = new AbortController();
  readonly #launches = new Set<Promise<unknown>>();
  readonly #tell: Tell;
  #findings: Findings | null = null;

  constructor(parts: FleetParts) {
    this.#parts = parts;
    this.#tell = tellOnce(parts.tell ?? (async () => undefined), parts.log);
  }

  get client(): LambdaClient {
    if (this.#parts.client) return this.#parts.client;
    throw new AppError('not_configured', 'No Lambda Cloud key is configured.', {
      next: 'Set LAMBDA_API_KEY (or LAMBDA_API_KEY_FILE, or LAMBDA_API_KEY_COMMAND); `tandem --sandbox` works without one.',
    });
  }

  get isConfigured(): boolean {
    return this.#parts.client !== null;
  }

  get leases(): LeaseRules {
    return this.#parts.leases;
  }

  /** How the account and the ledger differed when they were last compared by this process; null: not yet. */
  get findings(): Findings | null {
    return this.#findings;
  }

  types(signal: AbortSignal): Promise<InstanceType[]> {
    return this.client.listInstanceTypes(signal);
  }

  /** Every machine of the account, and every launch whose answer is still open. Brings the ledger up to date. */
  async list(signal: AbortSignal): Promise<FleetInstance[]> {
    const { clock, log } = this.#parts;
    const listedAtMs = clock.nowMs();
    const listed = await this.client.listInstances(signal);
    // What runs must be seen, and can be ended, also when it cannot be recorded.
    const rows = await this.#reconcile(listed, listedAtMs, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      log.error({ error }, 'the ledger could not be brought up to date; showing what the cloud says');
      return [];
    });
    const seen = listed.map((instance) => join(instance, rowOf(instance, rows), clock.nowMs()));
    return [...seen, ...rows.filter(isOpen).map((row) => unconfirmedInstance(row, clock.nowMs()))];
  }

  /**
   * Launches what the plan says, exactly once: the intent is written first, the machine carries its id in a tag, and
   * when the answer is lost the machine is looked for, never launched again. Waits for the outcome for `waitMs` (real
   * time) and until `signal` is aborted; after that the work goes on in the background.
   */
  async launch(
    plan: LaunchPlan,
    waitMs: number,
    signal: AbortSignal,
    { intentId = newIntentId(), also }: LaunchOptions = {},
  ): Promise<LaunchResult> {
    if (signal.aborted) throw abortReason(signal);
    const { client } = this;
    const { capAtMs } = await this.#parts.instances.openIntent({ intentId, ...plan }, also);
    await this.#parts.callKeeper?.();
    const tags = tagsOf({ intentId, deploymentId: plan.deploymentId, capAtMs });
    const outcome = this.#send(client, intentId, { ...plan, tags });
    this.#launches.add(outcome);
    outcome
      .catch((error: unknown) => this.#parts.log.warn({ error, intent: intentId }, 'a launch failed'))
      .finally(() => this.#launches.delete(outcome));
    let end = () => {};
    const patience = new Promise<LaunchResult>((resolve) => {
      end = () => resolve({ status: 'unconfirmed', instanceId: null, adopted: false });
    });
    const timer = setTimeout(end, waitMs);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    return Promise.race([outcome, patience]).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
    });
  }

  async #send(client: LambdaClient, intentId: string, request: LaunchRequest): Promise<LaunchResult> {
    const { instances, log } = this.#parts;
    const signal = this.#closing.signal;
    try {
      const instanceId = await client.launch(request, signal);
      // It runs, whatever becomes of its row: one that stays an intent is adopted by the next list.
      await this.#record(instances.launched(intentId, instanceId));
      return { status: 'launching', instanceId, adopted: false };
    } catch (error) {
      if (isRefusal(error)) {
        await this.#record(instances.notLaunched(intentId));
        throw error;
      }
      log.warn({ intent: intentId, error }, 'the answer to a launch was lost; looking for the machine');
      await this.#record(instances.unconfirmed(intentId));
      return this.#adopt(intentId, signal);
    }
  }

  /** Looks for the machine of an unanswered launch until a list shows it, or has given it up. */
  async #adopt(intentId: string, signal: AbortSignal): Promise<LaunchResult> {
    const { clock, log } = this.#parts;
    for (;;) {
      const listed = await this.list(signal).catch((error: unknown) => {
        signal.throwIfAborted();
        log.debug({ error }, 'the list of instances could not be read; trying again');
        return null;
      });
      const ours = listed?.find((instance) => instance.id !== null && instance.intentId === intentId);
      if (ours) return { status: 'launching', instanceId: ours.id, adopted: true };
      if (listed && (await this.#isGivenUp(intentId))) {
        throw new AppError(
          'upstream_unavailable',
          'The launch was not answered and no machine turned up within five minutes.',
          { next: 'It counts as not launched; if it turns up later, list_gpu_instances will show it as ours.' },
        );
      }
      await clock.sleep(adoptPollMs, signal);
    }
  }

  async #isGivenUp(intentId: string): Promise<boolean> {
    const rows = await this.#parts.instances.known().catch(() => []);
    return rows.some((row) => row.intent_id === intentId && row.status === 'not_launched');
  }

  /** A ledger that cannot be written must not keep a machine running, nor hide one: said in the log, and on. */
  async #record(work: Promise<void>): Promise<void> {
    await work.catch((error: unknown) => this.#parts.log.error({ error }, 'the ledger could not be written'));
  }

  /** The machines meant by ids or names. Throws `not_found` with what there is when one is unknown. */
  async find(idsOrNames: readonly string[], signal: AbortSignal): Promise<FleetInstance[]> {
    const all = (await this.list(signal)).filter(
      (instance) => instance.id !== null && instance.status !== 'terminated',
    );
    const found = idsOrNames.map((wanted) => {
      const matches = all.filter((instance) => instance.id === wanted || instance.name === wanted);
      if (matches.length > 1) {
        throw new AppError('invalid_input', `${matches.length} instances are called "${wanted}".`, {
          next: `Use an id: ${matches.map(({ id }) => id).join(', ')}.`,
        });
      }
      const [match] = matches;
      if (match) return match;
      const known = all.map(({ id, name }) => `${name} (${id})`).join(', ');
      throw new AppError('not_found', `There is no instance "${wanted}".`, {
        next: known ? `There are: ${known}.` : 'The account has no instances.',
      });
    });
    return [...new Map(found.map((instance) => [instance.id, instance])).values()];
  }

  /**
   * Terminates and makes sure: an id that is missing from the answer, or still running in the list, is asked for once
   * more and then reported as `still_running`.
   */
  async terminate(
    targets: readonly FleetInstance[],
    signal: AbortSignal,
    reason: EndReason = 'asked',
  ): Promise<TerminateResult[]> {
    const { client } = this;
    const { instances, clock, log } = this.#parts;
    const ids = targets.flatMap(({ id }) => id ?? []);
    await this.#record(instances.terminateRequested(ids, reason));
    const list = (within: AbortSignal) => this.list(within);
    const onAskAgain = (again: readonly string[]) => this.#record(instances.terminateAskedAgain(again));
    const parts = { client, list, onAskAgain, clock, log };
    const statuses = await terminateSurely(parts, ids, signal).catch(async (error: unknown) => {
      if (isRefusal(error)) await this.#record(instances.terminateFailed(ids));
      throw error;
    });
    const running = ids.filter((id) => !statuses.has(id));
    if (running.length > 0) await this.#record(instances.terminateFailed(running));
    return targets.map((instance) => ({ instance, status: statuses.get(instance.id ?? '') ?? 'still_running' }));
  }

  /** What a launch would cost until its lease ends. Throws `budget_exhausted` when that does not fit now. */
  quote(plan: Pick<LaunchPlan, 'instanceType' | 'priceCentsPerHour' | 'leaseMs' | 'capMs'>): Promise<number> {
    return this.#parts.instances.leases.quote(plan);
  }

  /** A lease for a machine that ends `hours` from now. See `planRenewal`. */
  async planRenewal(target: FleetInstance, hours: number, signal: AbortSignal): Promise<RenewalPlan> {
    return planRenewal({ ...this.#parts, client: this.client }, target, hours, signal);
  }

  /** Throws `conflict` when the lease has ended since, or was changed. */
  async renew(plan: RenewalPlan): Promise<void> {
    await renew(this.#parts.instances.leases, plan);
    await this.#parts.callKeeper?.();
  }

  async close(): Promise<void> {
    this.#closing.abort(new AppError('cancelled', 'Tandem is closing.'));
    await Promise.allSettled([...this.#launches]);
  }

  async #reconcile(listed: readonly Instance[], listedAtMs: number, signal: AbortSignal): Promise<InstanceRow[]> {
    const parts = { ...this.#parts, client: this.client, tell: this.#tell };
    const { rows, findings } = await reconcile(parts, listed, listedAtMs, signal);
    this.#findings = findings;
    return rows;
  }
}
