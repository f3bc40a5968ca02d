import { randomBytes } from 'node:crypto';
import { AppError } from '../errors.ts';
import { formatUsd, hourlyNano, usdToNano } from '../money.ts';
import type { Fleet, LaunchPlan } from './fleet.ts';
import { leaseAsked } from './lease.ts';
import type { InstanceType } from './schema.ts';
import { isEnding } from './terminate.ts';

/** Without a family Lambda still gives an image whose driver is too old for current CUDA containers. */
const defaultImageFamily = 'lambda-stack-24-04';
const longestUserDataBytes = 1_000_000;
const highestLimitUsd = 10_000;

/** What a person or agent asks for. */
export interface LaunchWish {
  instanceType: string;
  region?: string | undefined;
  name?: string | undefined;
  sshKey?: string | undefined;
  imageFamily?: string | undefined;
  filesystems?: readonly string[] | undefined;
  userData?: string | undefined;
  maxHourlyUsd?: number | undefined;
  /** Left out: the usual lease. */
  leaseHours?: number | undefined;
}

/** Checks a wish against the account as it is now and fills in what it leaves open. Throws what is wrong with it. */
export async function planLaunch(fleet: Fleet, wish: LaunchWish, signal: AbortSignal): Promise<LaunchPlan> {
  checkUserData(wish);
  const lease = leaseAsked(wish.leaseHours, fleet.leases);
  const types = await fleet.types(signal);
  const type = requireType(types, wish);
  const filesystems = await requireFilesystems(fleet, wish.filesystems ?? [], signal);
  // Filesystems live in a region and machines cannot mount them from another.
  const region = requireRegion(types, type, wish.region ?? filesystems[0]?.region);
  const elsewhere = filesystems.find((filesystem) => filesystem.region !== region);
  if (elsewhere) {
    throw new AppError(
      'invalid_input',
      `Filesystem "${elsewhere.name}" is in ${elsewhere.region}, the launch would be in ${region}.`,
      {
        next: filesystems.every((filesystem) => filesystem.region === elsewhere.region)
          ? `Give region: ${elsewhere.region}.`
          : 'A machine can mount only filesystems of its own region: leave out the others.',
      },
    );
  }
  const sshKeyName = await requireSshKey(fleet, wish.sshKey, signal);
  const name = await requireFreeName(fleet, wish.name ?? defaultName(type), signal);
  return {
    instanceType: type.name,
    gpuDescription: type.gpuDescription,
    region,
    priceCentsPerHour: type.priceCentsPerHour,
    name,
    sshKeyName,
    imageFamily: wish.imageFamily ?? defaultImageFamily,
    filesystemNames: filesystems.map((filesystem) => filesystem.name),
    userData: wish.userData,
    ...lease,
    deploymentId: null,
  };
}

/** A wish for whichever of several types has capacity first. */
export type HuntOrder = Omit<LaunchWish, 'instanceType' | 'region'> & {
  types: readonly string[];
  regions?: readonly string[] | undefined;
};

export interface HuntPlan
  extends Pick<LaunchPlan, 'sshKeyName' | 'imageFamily' | 'filesystemNames' | 'leaseMs' | 'capMs'> {
  types: readonly InstanceType[];
  /** Null: any. */
  regions: readonly string[] | null;
  name: string;
  /** Of the dearest of the types, within the limit. */
  priceCentsPerHour: number;
  maxPriceCentsPerHour: number | null;
  userData: string | undefined;
}

/** As `planLaunch`, without capacity. A type above the limit is refused; prices may rise, and are checked again. */
export async function planHunt(fleet: Fleet, order: HuntOrder, signal: AbortSignal): Promise<HuntPlan> {
  checkUserData(order);
  checkLimit(order);
  const lease = leaseAsked(order.leaseHours, fleet.leases);
  const known = await fleet.types(signal);
  const types = order.types.map((instanceType) => requireType(known, { ...order, instanceType }));
  const [cheapest] = types;
  if (!cheapest) throw new AppError('invalid_input', 'No instance type is named.', { next: 'Give types.' });
  const filesystems = await requireFilesystems(fleet, order.filesystems ?? [], signal);
  const homes = [...new Set(filesystems.map(({ region }) => region))];
  if (homes.length > 1 || (homes[0] !== undefined && order.regions && !order.regions.includes(homes[0]))) {
    throw new AppError(
      'invalid_input',
      `The filesystems are in ${homes.join(' and ')}, where no machine is looked for.`,
      {
        next: 'A machine can mount only filesystems of its own region.',
      },
    );
  }
  return {
    types,
    regions: homes[0] === undefined ? (order.regions ?? null) : homes,
    name: await requireFreeName(fleet, order.name ?? defaultName(cheapest), signal),
    priceCentsPerHour: Math.max(...types.map((type) => type.priceCentsPerHour)),
    maxPriceCentsPerHour: order.maxHourlyUsd === undefined ? null : Math.floor(order.maxHourlyUsd * 100),
    sshKeyName: await requireSshKey(fleet, order.sshKey, signal),
    imageFamily: order.imageFamily ?? defaultImageFamily,
    filesystemNames: filesystems.map((filesystem) => filesystem.name),
    userData: order.userData,
    ...lease,
  };
}

/** Checks, right before the launch, that the name is still free. Returns the price now. */
export async function recheck(fleet: Fleet, plan: LaunchPlan, signal: AbortSignal): Promise<number> {
  const types = await fleet.types(signal);
  await requireFreeName(fleet, plan.name, signal);
  return requireType(types, { instanceType: plan.instanceType }).priceCentsPerHour;
}

function checkUserData({ userData }: Pick<LaunchWish, 'userData'>): void {
  if (userData === undefined || Buffer.byteLength(userData) <= longestUserDataBytes) return;
  throw new AppError('invalid_input', `user_data is larger than ${longestUserDataBytes} bytes.`, {
    next: 'Let it download what is large.',
  });
}

/** A hunt is held to its limit, and shows what that can cost. */
function checkLimit({ maxHourlyUsd = 0 }: Pick<LaunchWish, 'maxHourlyUsd'>): void {
  if (maxHourlyUsd <= highestLimitUsd) return;
  throw new AppError('invalid_input', `A limit of $${maxHourlyUsd} an hour is none.`, {
    next: `Give at most $${highestLimitUsd}.`,
  });
}

function requireType(types: InstanceType[], wish: LaunchWish): InstanceType {
  const type = types.find(({ name }) => name === wish.instanceType);
  if (!type) {
    const names = types
      .toSorted((one, other) => other.regionsWithCapacity.length - one.regionsWithCapacity.length)
      .map(({ name }) => name);
    throw new AppError('not_found', `There is no instance type "${wish.instanceType}".`, {
      next: `Valid: ${names.join(', ')}.`,
    });
  }
  const hourlyNanoUsd = hourlyNano(type.priceCentsPerHour);
  if (wish.maxHourlyUsd !== undefined && hourlyNanoUsd > usdToNano(wish.maxHourlyUsd)) {
    throw new AppError(
      'price_above_limit',
      `${type.name} costs ${formatUsd(hourlyNanoUsd)} an hour, above your limit of ${formatUsd(usdToNano(wish.maxHourlyUsd))}. Nothing was launched.`,
      { next: alternatives(types, type, usdToNano(wish.maxHourlyUsd)) },
    );
  }
  return type;
}

const orWait = 'Or give wait_for_capacity: it is launched as soon as there is one.';

function requireRegion(types: InstanceType[], type: InstanceType, wanted: string | undefined): string {
  const available = type.regionsWithCapacity;
  const [first] = available;
  if (first === undefined) {
    throw new AppError('capacity_unavailable', `${type.name} has no capacity in any region now.`, {
      next: `${alternatives(types, type, Number.POSITIVE_INFINITY)} ${orWait}`,
    });
  }
  if (wanted === undefined || available.includes(wanted)) return wanted ?? first;
  throw new AppError('capacity_unavailable', `${type.name} has no capacity in "${wanted}" now.`, {
    next: `Regions that have it: ${available.join(', ')}. ${orWait}`,
  });
}

function alternatives(types: InstanceType[], type: InstanceType, limitNanoUsd: number): string {
  const others = types
    .filter((other) => other.name !== type.name && other.gpus > 0 && other.regionsWithCapacity.length > 0)
    .filter((other) => hourlyNano(other.priceCentsPerHour) <= limitNanoUsd)
    .toSorted(
      (one, other) =>
        Math.abs(one.priceCentsPerHour - type.priceCentsPerHour) -
        Math.abs(other.priceCentsPerHour - type.priceCentsPerHour),
    )
    .slice(0, 4)
    .map((other) => `${other.name} (${formatUsd(hourlyNano(other.priceCentsPerHour))}/h)`);
  if (others.length > 0) return `With capacity now: ${others.join(', ')}.`;
  return `No other type ${limitNanoUsd < Number.POSITIVE_INFINITY ? 'within the limit ' : ''}has capacity now; try again later.`;
}

async function requireSshKey(fleet: Fleet, wanted: string | undefined, signal: AbortSignal): Promise<string> {
  const names = (await fleet.client.listSshKeys(signal)).map(({ name }) => name);
  const [only, ...more] = names;
  if (only === undefined) {
    throw new AppError('not_found', 'The account has no SSH key, and a launch needs one.', {
      next: "Add one in Lambda's console under SSH keys.",
    });
  }
  if (wanted === undefined && more.length === 0) return only;
  if (wanted !== undefined && names.includes(wanted)) return wanted;
  throw new AppError(
    'invalid_input',
    wanted === undefined ? 'The account has several SSH keys.' : `There is no SSH key "${wanted}".`,
    {
      next: `Give ssh_key, one of: ${names.join(', ')}.`,
    },
  );
}

async function requireFilesystems(
  fleet: Fleet,
  wanted: readonly string[],
  signal: AbortSignal,
): Promise<{ name: string; region: string }[]> {
  if (wanted.length === 0) return [];
  const known = await fleet.client.listFilesystems(signal);
  return wanted.map((name) => {
    const filesystem = known.find((other) => other.name === name);
    if (filesystem) return filesystem;
    const names = known.map((other) => `${other.name} (${other.region})`).join(', ');
    throw new AppError('not_found', `There is no filesystem "${name}".`, {
      next: names ? `There are: ${names}.` : 'The account has none.',
    });
  });
}

async function requireFreeName(fleet: Fleet, name: string, signal: AbortSignal): Promise<string> {
  const taken = (await fleet.list(signal)).find((instance) => instance.name === name && !isEnding(instance.status));
  if (!taken) return name;
  throw new AppError('duplicate_name', `There is already an instance "${name}" (${taken.status}).`, {
    next: 'Give another name, or leave it out.',
  });
}

/** `tandem-h100-sxm5-3fa2`: says what it is, and is unique enough to be found by. */
function defaultName(type: InstanceType): string {
  const short = type.name.replace(/^gpu_/, '').replace(/^1x_/, '').replaceAll('_', '-');
  return `tandem-${short}-${randomBytes(2).toString('hex')}`;
}
