import type { FastifyPluginAsync } from 'fastify';
import type { Clock } from '../../clock.ts';
import { openAccount, type Revision } from './account.ts';
import { findEvents, playEvents } from './events.ts';
import { defaultFaults, type LambdaFaults, readPatch, turnKnobs } from './faults.ts';
import { type LoggedRequest, lambdaPlugin } from './plugin.ts';
import {
  addForeignInstance,
  type ForeignInstance,
  type InstanceTruth,
  type LambdaBill,
  tellTruth,
  writeBill,
} from './truth.ts';

export type { InstanceTruth } from './truth.ts';

export interface LambdaCloudOptions {
  clock: Clock;
  apiKey: string;
  /** Two shapes of the API went by the same version number; `late` by default. */
  revision?: Revision;
  /** Same seed, same ids and boot times. */
  seed?: number;
}

/** Lambda Cloud with one account in it, over real HTTP. It keeps everything in memory and never calls out. */
export interface LambdaCloud {
  /** To be mounted with the prefix `/api/v1`. */
  plugin: FastifyPluginAsync;
  /** The knobs as they stand; may be changed in place. */
  faults: LambdaFaults;
  /** Also `vanish` and `terminateByOther`. Throws a ZodError on what it does not know, and then changes nothing. */
  applyFaults(patch: unknown): LambdaFaults;
  resetFaults(): void;
  /** Every machine ever made, as it really is now. */
  instances(): readonly InstanceTruth[];
  /** What Lambda would charge up to now: whole minutes from active to terminated, at the price of the launch. */
  bill(): LambdaBill;
  /** The machine disappears from every list, as if it had never been. It is billed up to now. */
  vanish(id: string): void;
  /** Somebody else terminates the machine, in the console. */
  terminateByOther(id: string): void;
  addInstance(instance?: ForeignInstance): string;
  /** Every request in order of arrival, refused ones as well. */
  requestLog: readonly LoggedRequest[];
}

export function createLambdaCloud({ clock, apiKey, revision = 'late', seed = 1 }: LambdaCloudOptions): LambdaCloud {
  const account = openAccount(clock, revision, seed);
  const requestLog: LoggedRequest[] = [];
  const cloud: LambdaCloud = {
    plugin: lambdaPlugin(account, apiKey, requestLog),
    faults: account.faults,
    applyFaults: (patch) => {
      const { events, knobs } = readPatch(patch);
      const found = findEvents(account, events);
      turnKnobs(account.faults, knobs);
      playEvents(account, found);
      return account.faults;
    },
    resetFaults: () => {
      Object.assign(account.faults, defaultFaults());
    },
    instances: () => tellTruth(account),
    bill: () => writeBill(account),
    vanish: (id) => cloud.applyFaults({ vanish: [id] }),
    terminateByOther: (id) => cloud.applyFaults({ terminateByOther: [id] }),
    addInstance: (instance = {}) => addForeignInstance(account, instance),
    requestLog,
  };
  return cloud;
}
