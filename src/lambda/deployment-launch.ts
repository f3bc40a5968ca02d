import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Queries } from '../usage/database.ts';
import { type DeploymentBook, type DeploymentRow, type DeploymentSpec, specOf } from '../usage/deployments.ts';
import { type Fleet, type LaunchPlan, type LaunchResult, newIntentId } from './fleet.ts';
import type { InstanceType } from './schema.ts';
import { createAccess, removeAccess, removeAllAccess } from './serving/access.ts';
import { cloudInit } from './serving/cloud-init.ts';
import { openToNetwork, requireNetwork } from './serving/firewall.ts';
import type { Reach } from './serving/reach.ts';

export interface DeploymentLaunchParts {
  book: DeploymentBook;
  fleet: Fleet;
  reach: Pick<Reach, 'check'>;
  /** The state folder: keys of machines are kept below it. */
  home: string;
  /** The value of an environment variable that a spec names; undefined when it is not set. */
  environment(name: string): string | undefined;
  clock: Clock;
}

/** A launch whose machine serves a model when it boots. */
export class DeploymentLauncher {
  readonly #parts: DeploymentLaunchParts;

  constructor(parts: DeploymentLaunchParts) {
    this.#parts = parts;
  }

  /** A new deployment with its first machine: one row each, in one transaction, before anything is sent. */
  async first(
    wanted: { id: string; name: string; spec: DeploymentSpec; type: InstanceType },
    plan: LaunchPlan,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<LaunchResult> {
    const { book, clock } = this.#parts;
    const { id, name, spec } = wanted;
    try {
      return await this.#launch(
        { id, name, spec, type: wanted.type },
        plan,
        waitMs,
        signal,
        async (queries, intentId) => book.open({ id, name, spec, intentId, nowMs: clock.nowMs() }, queries),
      );
    } catch (error) {
      // A keeper may take the row further meanwhile: what was refused to the caller must not be launched after all.
      const find = async () => (await book.live()).find((live) => live.id === id);
      for (let row = await find(); row; row = await find())
        if (await book.move(row, 'ended', clock.nowMs(), { reason: 'no_capacity' })) break;
      // Should its machine turn up after all, it is one too many.
      await this.forget({ id }, null);
      throw error;
    }
  }

  /** The machine that a hunt found, for a deployment that waits for it. `claim` runs in the intent's transaction. */
  async next(
    row: DeploymentRow,
    type: InstanceType,
    plan: LaunchPlan,
    claim: (queries: Queries, intentId: string) => Promise<void>,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<LaunchResult> {
    const { book, clock } = this.#parts;
    const spec = specOf(row);
    return this.#launch({ id: row.id, name: row.name, spec, type }, plan, waitMs, signal, async (queries, intentId) => {
      await claim(queries, intentId);
      const changes = { intent_id: intentId, machines: row.machines + 1 };
      if (!(await book.move(row, 'booting', clock.nowMs(), changes, queries)))
        throw new AppError('conflict', `The deployment "${row.name}" no longer waits for a machine.`);
    });
  }

  /** Throws what would keep a launch from serving, before anybody is asked for a yes. */
  async check(spec: DeploymentSpec): Promise<void> {
    await this.#parts.reach.check(spec.endpoint);
    if (spec.hfTokenEnv !== null && !this.#parts.environment(spec.hfTokenEnv)) {
      throw new AppError(
        'not_configured',
        `There is no environment variable ${spec.hfTokenEnv} that may go onto a machine.`,
        {
          next: 'Set it where Tandem runs; its name begins with HF_ or HUGGING_FACE_, or stands in tandem.yaml under fleet. Models that need no token need none.',
        },
      );
    }
  }

  /** The keys of one machine, or of all that a deployment had. */
  async forget(row: Pick<DeploymentRow, 'id'>, intentId: string | null): Promise<void> {
    if (intentId !== null) await removeAccess(this.#parts.home, row.id, intentId);
    else await removeAllAccess(this.#parts.home, row.id);
  }

  /** What lets the network of a direct endpoint in. */
  async #openings(
    name: string,
    { endpoint, allowCidr }: DeploymentSpec,
    { region }: LaunchPlan,
    signal: AbortSignal,
  ): Promise<Pick<LaunchPlan, 'firewallRulesetIds'>> {
    if (endpoint === 'tunnel') return {};
    const network = requireNetwork(allowCidr);
    return { firewallRulesetIds: [await openToNetwork(this.#parts.fleet.client, { name, region, network }, signal)] };
  }

  async #launch(
    { id, name, spec, type }: { id: string; name: string; spec: DeploymentSpec; type: InstanceType },
    plan: LaunchPlan,
    waitMs: number,
    signal: AbortSignal,
    also: (queries: Queries, intentId: string) => Promise<void>,
  ): Promise<LaunchResult> {
    const { book, fleet, home } = this.#parts;
    await this.check(spec);
    const intentId = newIntentId();
    const access = await createAccess(home, id, intentId, spec.endpoint);
    const userData = cloudInit({
      wish: spec,
      alias: spec.alias,
      gpus: type.gpus,
      architecture: type.architecture,
      access,
      hfToken: spec.hfTokenEnv === null ? null : (this.#parts.environment(spec.hfTokenEnv) ?? null),
      weightsMount: plan.filesystemNames[0] === undefined ? null : `/lambda/nfs/${plan.filesystemNames[0]}`,
    });
    try {
      const order = { ...plan, name, userData, deploymentId: id, ...(await this.#openings(name, spec, plan, signal)) };
      const result = await fleet.launch(order, waitMs, signal, {
        intentId,
        also: (queries) => also(queries, intentId),
      });
      await book.onChange();
      return result;
    } catch (error) {
      // Where nobody can tell, the machine may turn up yet, and will want its keys.
      const isUnclear = error instanceof AppError && ['cancelled', 'upstream_unavailable'].includes(error.code);
      if (!isUnclear) await removeAccess(home, id, intentId);
      throw error;
    }
  }
}
