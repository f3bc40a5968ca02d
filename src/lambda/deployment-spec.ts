import { randomBytes } from 'node:crypto';
import type { FleetEntry } from '../config/schema.ts';
import type { DeploymentSpec } from '../usage/deployments.ts';
import { requireNetwork } from './serving/firewall.ts';
import { tierOfModel } from './serving/model-fit.ts';
import { checkWish, type ServeWish } from './serving/spec.ts';

export interface DeploymentTerms
  extends Pick<
    DeploymentSpec,
    'types' | 'regions' | 'maxPriceCentsPerHour' | 'sshKeyName' | 'imageFamily' | 'filesystem' | 'leaseMs' | 'idleMs'
  > {
  fleet?: string;
}

/** What is to be served, and on what terms. Throws `invalid_input` for what cannot be served. */
export function specFor(wish: ServeWish, terms: DeploymentTerms): DeploymentSpec {
  checkWish(wish);
  if (wish.endpoint === 'direct') requireNetwork(wish.allowCidr);
  return { ...wish, alias: aliasOf(wish.model), tier: tierOfModel(wish.model), fleet: null, ...terms };
}

/** Of one line of the schedule; the lease is drawn to the window when a machine is launched. */
export function specOfEntry(entry: FleetEntry, leaseMs: number): DeploymentSpec {
  const { model, engine, maxContext, hfTokenEnv, endpoint, allowCidr, types, regions, filesystem, idleMs, name } =
    entry;
  return specFor(
    { model, engine, maxContext, hfTokenEnv, extraArgs: [], endpoint, allowCidr },
    {
      ...{ types, regions, maxPriceCentsPerHour: entry.maxCentsPerHour, sshKeyName: null, imageFamily: null },
      ...{ filesystem, leaseMs, idleMs, fleet: name },
    },
  );
}

/** `openai/gpt-oss-120b` -> `gpt-oss-120b`: what it is called in requests. */
export function aliasOf(model: string): string {
  return model.slice(model.lastIndexOf('/') + 1);
}

export function newDeploymentId(): string {
  return `d-${randomBytes(4).toString('hex')}`;
}

export function newHuntId(): string {
  return `hunt-${randomBytes(4).toString('hex')}`;
}
