import type { Image, InstanceType, Region } from './catalog.ts';

/** One rented machine. Nothing in it ever ticks: what it is at a moment follows from the times stamped on it. */
export interface Machine {
  readonly id: string;
  name: string | null;
  readonly hostname: string | null;
  readonly type: InstanceType;
  readonly region: Region;
  readonly image: Image;
  readonly priceCentsPerHour: number;
  readonly sshKeyNames: readonly string[];
  readonly mounts: readonly Mount[];
  readonly rulesetIds: readonly string[];
  tags: readonly Tag[];
  readonly userData: string | null;
  readonly ip: string;
  readonly privateIp: string;
  readonly jupyterToken: string;
  readonly cudaBroken: boolean;
  readonly serving: ServingFate;
  readonly launchedAtMs: number;
  /** Infinity for a machine that is stuck. */
  readonly bootMs: number;
  readonly bootOutcome: 'active' | 'unhealthy';
  restartedAtMs: number | null;
  termination: Termination | null;
}

/** How the programs fare that its cloud-init starts. */
export interface ServingFate {
  /** From active until they answer. */
  readonly lagMs: number;
  /** They never answer. */
  readonly dead: boolean;
  /** They stop for good this long after they first answered; null: they do not. */
  readonly diesAfterMs: number | null;
}

export interface Termination {
  readonly requestedAtMs: number;
  readonly doneAtMs: number;
  /** From then on the API does not know the machine. */
  readonly visibleUntilMs: number;
  readonly by: 'api' | 'colleague' | 'nobody';
}

export interface Tag {
  key: string;
  value: string;
}

export interface Mount {
  filesystemId: string;
  filesystemName: string;
  mountPoint: string;
}

type MachineStatus = 'booting' | 'active' | 'unhealthy' | 'terminating' | 'terminated';

const minuteMs = 60_000;
const restartMs = minuteMs;
/** A terminated machine stays in the list for a while before the API forgets it. */
const terminatedVisibleMs = 2 * minuteMs;
const ipShareOfBoot = 0.7;

/** About four minutes for one GPU, twelve for eight; `fraction` in [0, 1) spreads it by a tenth either way. */
export function usualBootMs(gpus: number, fraction: number): number {
  const minutes = gpus <= 1 ? 4 : 4 + gpus;
  return Math.round(minutes * minuteMs * (0.9 + 0.2 * fraction));
}

export function statusAt(machine: Machine, nowMs: number): MachineStatus {
  if (machine.termination) return nowMs < machine.termination.doneAtMs ? 'terminating' : 'terminated';
  return nowMs < upAtMs(machine) ? 'booting' : machine.bootOutcome;
}

export function isForgotten({ termination }: Machine, nowMs: number): boolean {
  return termination !== null && nowMs >= termination.visibleUntilMs;
}

export function terminationAt(requestedAtMs: number, durationMs: number, by: 'api' | 'colleague'): Termination {
  const doneAtMs = requestedAtMs + durationMs;
  return { requestedAtMs, doneAtMs, visibleUntilMs: doneAtMs + terminatedVisibleMs, by };
}

/** The end of a machine that is gone at once, without a trace; one that was ending already keeps what was. */
export function vanishingAt({ termination }: Machine, nowMs: number): Termination {
  if (!termination) return { requestedAtMs: nowMs, doneAtMs: nowMs, visibleUntilMs: nowMs, by: 'nobody' };
  return {
    ...termination,
    doneAtMs: Math.min(termination.doneAtMs, nowMs),
    visibleUntilMs: Math.min(termination.visibleUntilMs, nowMs),
  };
}

/** Whether programs that its cloud-init started answer. A restart stops them, and they come back after it. */
export function answersAt(machine: Machine, nowMs: number): boolean {
  if (machine.serving.dead || machine.cudaBroken || statusAt(machine, nowMs) !== 'active') return false;
  const { lagMs, diesAfterMs } = machine.serving;
  const diesAtMs = bootDoneAtMs(machine) + lagMs + (diesAfterMs ?? Number.POSITIVE_INFINITY);
  return nowMs >= upAtMs(machine) + lagMs && nowMs < diesAtMs;
}

export function isTerminated(machine: Machine, nowMs: number): boolean {
  return statusAt(machine, nowMs) === 'terminated';
}

/** The address is known late in the boot, and stays through a restart. */
export function hasAddress(machine: Machine, nowMs: number): boolean {
  const knownAtMs = machine.launchedAtMs + machine.bootMs * ipShareOfBoot;
  return Math.min(nowMs, machine.termination?.requestedAtMs ?? nowMs) >= knownAtMs;
}

/** When the machine first became active, null while (or if) it did not. */
export function activeAtMs(machine: Machine, nowMs: number): number | null {
  const doneAtMs = bootDoneAtMs(machine);
  const aliveUntilMs = Math.min(nowMs, machine.termination?.requestedAtMs ?? nowMs);
  return machine.bootOutcome === 'active' && doneAtMs <= aliveUntilMs ? doneAtMs : null;
}

/**
 * Whole minutes from active until terminated, so that the boot is free. Deliberately not shared with the product's
 * ledger, which is tested against it.
 */
export function billedMinutes(machine: Machine, nowMs: number): number {
  const fromMs = activeAtMs(machine, nowMs);
  if (fromMs === null) return 0;
  return Math.ceil((Math.min(nowMs, machine.termination?.doneAtMs ?? nowMs) - fromMs) / minuteMs);
}

function upAtMs(machine: Machine): number {
  const restartDoneAtMs = machine.restartedAtMs === null ? 0 : machine.restartedAtMs + restartMs;
  return Math.max(bootDoneAtMs(machine), restartDoneAtMs);
}

function bootDoneAtMs(machine: Machine): number {
  return machine.launchedAtMs + machine.bootMs;
}
