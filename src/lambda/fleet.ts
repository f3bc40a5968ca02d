import { randomBytes } from 'node:crypto';
import { abortReason } from '../cancellation.ts';
import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { InstanceRow } from '../usage/instance-cost.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import type { LambdaClient } from './client.ts';
import { type FleetInstance, intentTag, isOpen, join, rowOf, unconfirmedInstance } from './fleet-instance.ts';
import type { Instance, InstanceType } from './schema.ts';

const managedTag = { key: 'managed-by', value: 'tandem' };

/** Until a launch whose answer was lost counts as not made. Reports speak of up to three minutes. */
const adoptWithinMs = 5 * 60_000;
const adoptPollMs = 5_000;
const watchPollMs = 10_000;
const quietWatchPollMs = 60_000;
/** Terminations show in the list within seconds. */
const terminateCheckMs = 12_000;
const terminatePollMs = 2_000;
const terminateTries = 2;

const gone = ['terminating', 'terminated', 'preempted'];

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
}

export interface LaunchResult {
  status: 'launching' | 'unconfirmed';
  instanceId: string | null;
  /** The launch answer was lost and the machine was found by its tag. */
  adopted: boolean;
}

type EndStatus = 'terminating' | 'terminated';

export interface TerminateResult {
  instance: FleetInstance;
  status: EndStatus | 'still_running';
}

export interface FleetParts {
  client: LambdaClient | null;
  instances: InstanceLedger;
  clock: Clock;
  log: Log;
}

/** The machines of the account: listed, launched once each, terminated for sure, and watched while they live. */
export class Fleet {
  readonly #parts: FleetParts;
  readonly #closing = new AbortController();
  readonly #launches = new Set<Promise<unknown>>();
  #watching: Promise<void> | undefined;

  constructor(parts: FleetParts) {
    this.#parts = parts;
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

  types(signal: AbortSignal): Promise<InstanceType[]> {
    return this.client.listInstanceTypes(signal);
  }

  /** Every machine of the account, and every launch whose answer is still open. Brings the ledger up to date. */
  async list(signal: AbortSignal): Promise<FleetInstance[]> {
    const { clock, log } = this.#parts;
    const listedAtMs = clock.nowMs();
    const listed = await this.client.listInstances(signal);
    // What runs must be seen, and can be ended, also when it cannot be recorded.
    const rows = await this.#reconcile(listed, listedAtMs).catch((error: unknown) => {
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
  async launch(plan: LaunchPlan, waitMs: number, signal: AbortSignal): Promise<LaunchResult> {
    if (signal.aborted) throw abortReason(signal);
    const { client } = this;
    const intentId = randomBytes(8).toString('hex');
    await this.#parts.instances.openIntent({ intentId, ...plan });
    const outcome = this.#send(client, intentId, plan);
    this.#launches.add(outcome);
    outcome
      .catch((error: unknown) => this.#parts.log.warn({ error, intent: intentId }, 'a launch failed'))
      .finally(() => this.#launches.delete(outcome));
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<LaunchResult>((resolve) => {
      const end = () => resolve({ status: 'unconfirmed', instanceId: null, adopted: false });
      timer = setTimeout(end, waitMs);
      signal.addEventListener('abort', end, { once: true });
      if (signal.aborted) end();
    });
    return Promise.race([outcome, patience]).finally(() => clearTimeout(timer));
  }

  async #send(client: LambdaClient, intentId: string, plan: LaunchPlan): Promise<LaunchResult> {
    const { instances, log } = this.#parts;
    const signal = this.#closing.signal;
    const request = { ...plan, tags: [managedTag, { key: intentTag, value: intentId }] };
    try {
      const instanceId = await client.launch(request, signal);
      // It runs, whatever becomes of its row: one that stays an intent is adopted by the next list.
      await this.#record(instances.launched(intentId, instanceId));
      this.watch();
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
      if (ours) {
        this.watch();
        return { status: 'launching', instanceId: ours.id, adopted: true };
      }
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
  async terminate(targets: readonly FleetInstance[], signal: AbortSignal): Promise<TerminateResult[]> {
    const { instances, log } = this.#parts;
    let waiting = targets.flatMap(({ id }) => id ?? []);
    await this.#record(instances.terminateRequested(waiting));
    const statuses = new Map<string, EndStatus>();
    for (let tried = 1; tried <= terminateTries && waiting.length > 0; tried += 1) {
      let answered: string[] = [];
      try {
        answered = (await this.client.terminate(waiting, signal))
          .filter(({ status }) => gone.includes(status))
          .map(({ id }) => id);
        const missing = waiting.filter((id) => !answered.includes(id));
        if (missing.length > 0) log.warn({ missing }, 'Lambda Cloud did not confirm the termination of all instances');
      } catch (error) {
        if (isRefusal(error)) {
          await this.#record(instances.terminateFailed(waiting));
          throw error;
        }
        log.warn({ error }, 'the answer to a termination was lost; checking');
      }
      for (const [id, status] of await this.#gone(waiting, answered, signal)) statuses.set(id, status);
      waiting = waiting.filter((id) => !statuses.has(id));
    }
    if (waiting.length > 0) await this.#record(instances.terminateFailed(waiting));
    this.watch();
    return targets.map((instance) => ({ instance, status: statuses.get(instance.id ?? '') ?? 'still_running' }));
  }

  /**
   * Which of these the list shows as ending, or no longer shows; waits a little for those that it still shows
   * running. Where the list cannot be read, the answer to the termination has to do.
   */
  async #gone(
    ids: readonly string[],
    answered: readonly string[],
    signal: AbortSignal,
  ): Promise<Map<string, EndStatus>> {
    const { clock, log } = this.#parts;
    const untilMs = clock.nowMs() + terminateCheckMs;
    const statuses = new Map<string, EndStatus>();
    for (;;) {
      const listed = await this.list(signal).catch((error: unknown) => {
        signal.throwIfAborted();
        log.warn({ error }, 'the list of instances could not be read after a termination');
        return null;
      });
      if (listed === null) {
        for (const id of answered) if (!statuses.has(id)) statuses.set(id, 'terminating');
        return statuses;
      }
      for (const id of ids) {
        const status = listed.find((instance) => instance.id === id)?.status;
        if (status === undefined || gone.includes(status))
          statuses.set(id, status === 'terminating' ? 'terminating' : 'terminated');
      }
      if (statuses.size === ids.length || clock.nowMs() >= untilMs) return statuses;
      await clock.sleep(terminatePollMs, signal);
    }
  }

  /** Follows live machines in the background, so that `active` and gone are seen when they happen. */
  watch(): void {
    if (!this.#parts.client || this.#closing.signal.aborted) return;
    this.#watching ??= this.#follow().finally(() => {
      this.#watching = undefined;
    });
  }

  async #follow(): Promise<void> {
    const { instances, clock, log } = this.#parts;
    const signal = this.#closing.signal;
    try {
      for (let live = await instances.live(); live.length > 0; live = await instances.live()) {
        await this.list(signal).catch((error: unknown) =>
          log.warn({ error }, 'the list of instances could not be read'),
        );
        const moving = live.some((row) => row.status !== 'active');
        await clock.sleep(moving ? watchPollMs : quietWatchPollMs, signal);
      }
    } catch (error) {
      if (!signal.aborted) log.error({ error }, 'the watch over the instances ended');
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new AppError('cancelled', 'Tandem is closing.'));
    await Promise.allSettled([...this.#launches, this.#watching]);
  }

  /**
   * The account against the ledger: adopts by tag, notes what is seen, gives up launches that never showed. Returns
   * the rows that are left.
   */
  async #reconcile(listed: readonly Instance[], listedAtMs: number): Promise<InstanceRow[]> {
    const { instances, log } = this.#parts;
    const before = await instances.known();
    const sightings = listed.flatMap((instance) => {
      const row = rowOf(instance, before);
      if (!row) return [];
      const { id: instanceId, status, firstHealthyAtMs } = instance;
      return [
        {
          intentId: row.intent_id,
          instanceId,
          status,
          firstHealthyAtMs,
          priceCentsPerHour: instance.type.priceCentsPerHour,
        },
      ];
    });
    const rows = await instances.observe(sightings, listedAtMs);
    const lost = rows.filter((row) => isOpen(row) && listedAtMs - row.requested_at_ms >= adoptWithinMs);
    for (const { intent_id: intent, name } of lost) {
      log.warn({ intent, name }, 'a launch without answer never showed up; it counts as not launched');
      await instances.notLaunched(intent);
    }
    return rows.filter((row) => !lost.includes(row));
  }
}

/**
 * A clear no: nothing was changed. Everything else (time-outs, 5xx, 429, unreadable answers, bugs of ours) may have
 * been carried out, and so may what Lambda calls an internal error or its provider's, whatever the status.
 */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof AppError) || error.code === 'upstream_unavailable') return false;
  const { httpStatus = 0 } = error;
  return httpStatus >= 300 && httpStatus < 500 && httpStatus !== 408 && httpStatus !== 429;
}
