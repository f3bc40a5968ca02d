import type { Account } from './account.ts';
import { recordMachineEvent } from './audit.ts';
import { defaultImageFamily, regionName } from './catalog.ts';
import { findImage, findType, startMachine } from './launch.ts';
import {
  activeAtMs,
  answersAt,
  billedMinutes,
  hasAddress,
  isForgotten,
  isTerminated,
  statusAt,
  type Tag,
  type Termination,
} from './machine.ts';

/** What really is, whatever the answers say: for tests and for the rest of the sandbox. */

export interface InstanceTruth {
  id: string;
  name: string | null;
  type: string;
  region: string;
  status: string;
  ip: string | null;
  tags: readonly Tag[];
  launchedAtMs: number;
  /** When it first became active; null while (or if) it did not. */
  activeAtMs: number | null;
  terminateRequestedAtMs: number | null;
  terminatedAtMs: number | null;
  /** Who ended it: a request, somebody else in the console, or nobody (it vanished). */
  terminatedBy: Termination['by'] | null;
  /** Whether the API still knows it. */
  isVisible: boolean;
  restartedAtMs: number | null;
  priceCentsPerHour: number;
  imageFamily: string;
  userData: string | null;
  cudaBroken: boolean;
  /** Whether programs that its cloud-init started answer. */
  isAnswering: boolean;
}

export interface LambdaBill {
  totalCents: number;
  /** Cents are exact, so they may have a fraction. */
  instances: { id: string; minutes: number; cents: number }[];
}

/** A machine that somebody else launched. Left out: a booting `gpu_1x_a10` in us-east-1, launched now. */
export interface ForeignInstance {
  name?: string;
  type?: string;
  region?: string;
  tags?: readonly Tag[];
  launchedAtMs?: number;
  priceCentsPerHour?: number;
  /** Active from its launch on, without a boot. */
  active?: boolean;
  /** A cloud-config. */
  userData?: string;
}

export function tellTruth({ clock, machines }: Account): InstanceTruth[] {
  const nowMs = clock.nowMs();
  return machines.map((machine) => ({
    id: machine.id,
    name: machine.name,
    type: machine.type.name,
    region: machine.region.name,
    status: statusAt(machine, nowMs),
    ip: hasAddress(machine, nowMs) ? machine.ip : null,
    tags: machine.tags,
    launchedAtMs: machine.launchedAtMs,
    activeAtMs: activeAtMs(machine, nowMs),
    terminateRequestedAtMs: machine.termination?.requestedAtMs ?? null,
    terminatedAtMs: isTerminated(machine, nowMs) ? (machine.termination?.doneAtMs ?? null) : null,
    terminatedBy: machine.termination?.by ?? null,
    isVisible: !isForgotten(machine, nowMs),
    restartedAtMs: machine.restartedAtMs,
    priceCentsPerHour: machine.priceCentsPerHour,
    imageFamily: machine.image.family,
    userData: machine.userData,
    cudaBroken: machine.cudaBroken,
    isAnswering: answersAt(machine, nowMs),
  }));
}

export function writeBill({ clock, machines }: Account): LambdaBill {
  const nowMs = clock.nowMs();
  const lines = machines.map((machine) => {
    const minutes = billedMinutes(machine, nowMs);
    return { id: machine.id, minutes, centMinutes: minutes * machine.priceCentsPerHour };
  });
  return {
    totalCents: lines.reduce((sum, { centMinutes }) => sum + centMinutes, 0) / 60,
    instances: lines.map(({ id, minutes, centMinutes }) => ({ id, minutes, cents: centMinutes / 60 })),
  };
}

export function addForeignInstance(account: Account, foreign: ForeignInstance): string {
  const type = findType(account, foreign.type ?? 'gpu_1x_a10');
  const region = regionName.parse(foreign.region ?? 'us-east-1');
  const { launchedAtMs, priceCentsPerHour } = foreign;
  const machine = startMachine(
    account,
    {
      type,
      region,
      name: foreign.name ?? null,
      hostname: null,
      image: findImage(account, region, type, { family: defaultImageFamily }),
      sshKeyNames: ['laptop'],
      mounts: [],
      rulesetIds: [],
      tags: foreign.tags ?? [],
      userData: foreign.userData ?? null,
    },
    {
      ...(launchedAtMs === undefined ? {} : { launchedAtMs }),
      ...(priceCentsPerHour === undefined ? {} : { priceCentsPerHour }),
      ...(foreign.active ? { bootMs: 0, bootOutcome: 'active' } : {}),
    },
  );
  recordMachineEvent(account, null, machine, 'launched');
  return machine.id;
}
