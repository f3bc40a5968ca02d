import * as z from 'zod';
import { type Account, livingMachines, priceCentsPerHour, regionsWithCapacity } from './account.ts';
import { defaultImageFamily, type Image, type InstanceType, type Region, regionName } from './catalog.ts';
import { defaultMountPoint, type Filesystem } from './filesystems.ts';
import { fractionOf } from './ids.ts';
import { type Machine, type Mount, type Tag, usualBootMs } from './machine.ts';
import { Refusal } from './refusal.ts';
import { readInput } from './route.ts';

/** "1 MB" in the documentation; the smaller reading of it, so that what passes here passes there. */
const maxUserDataBytes = 1_000_000;

export const instanceName = z.string().max(64);

const tag = z.object({
  key: z
    .string()
    .max(55)
    .regex(/^[a-z][a-z0-9-:]+$/),
  value: z.string().max(128),
});
const tagKeptFree = tag.refine(({ key }) => !key.startsWith('lambda-ai-'), {
  path: ['key'],
  message: 'Keys that start with "lambda-ai-" are reserved',
});

export function tagList({ revision }: Account): z.ZodType<Tag[]> {
  return z.array(revision === 'late' ? tagKeptFree : tag);
}

const launchFields = {
  region_name: regionName,
  instance_type_name: z.string(),
  ssh_key_names: z.tuple([z.string()], 'Exactly one SSH key must be specified'),
  file_system_names: z.array(z.string()).default([]),
  file_system_mounts: z
    .array(
      z.object({
        mount_point: z
          .string()
          .max(256)
          .regex(/^(\/home|\/lambda\/nfs|\/data)[/a-zA-Z0-9-]*$/),
        file_system_id: z.string(),
      }),
    )
    .default([]),
  hostname: z
    .string()
    .regex(/^[a-z0-9][0-9a-z-]{0,62}$/)
    .optional(),
  name: instanceName.optional(),
  image: z.union([z.object({ id: z.string() }), z.object({ family: z.string() })]).optional(),
  user_data: z
    .string()
    .refine((text) => Buffer.byteLength(text) <= maxUserDataBytes, 'Cannot exceed 1 MB')
    .optional(),
  firewall_rulesets: z.array(z.object({ id: z.string() })).default([]),
  // Gone from the document, still in its examples.
  quantity: z.int().min(1).max(1, 'Input should be less than or equal to 1').optional(),
};

/** POST /instance-operations/launch, up to the machine that it makes. */
export function launchMachine(account: Account, body: unknown): Machine {
  const schema = z.object({ ...launchFields, tags: tagList(account).default([]) });
  const request = readInput(schema, body);
  const type = findType(account, request.instance_type_name);
  const region = request.region_name;
  const [sshKeyName] = request.ssh_key_names;
  if (!account.sshKeys.some(({ name }) => name === sshKeyName)) throw noSuch('SSH key', sshKeyName);
  const order: MachineOrder = {
    type,
    region,
    name: request.name ?? null,
    hostname: request.hostname ?? null,
    image: findImage(account, region, type, request.image ?? { family: defaultImageFamily }),
    sshKeyNames: request.ssh_key_names,
    mounts: findMounts(account, region, request.file_system_names, request.file_system_mounts),
    rulesetIds: request.firewall_rulesets.map(({ id }) => checkRuleset(account, region, id)),
    tags: request.tags,
    userData: request.user_data ?? null,
  };
  checkRoom(account, type, region);
  return startMachine(account, order);
}

type MachineOrder = Pick<
  Machine,
  'type' | 'region' | 'name' | 'hostname' | 'image' | 'sshKeyNames' | 'mounts' | 'rulesetIds' | 'tags' | 'userData'
>;

/** Stamps price and boot on a new machine. `overrides` are for machines that do not come from the API. */
export function startMachine(
  account: Account,
  order: MachineOrder,
  overrides: Partial<Pick<Machine, 'launchedAtMs' | 'bootMs' | 'bootOutcome' | 'priceCentsPerHour'>> = {},
): Machine {
  const { faults, ids, machines, clock } = account;
  const id = ids.hex('instance');
  const { outcome, durationMs } = faults.boot;
  const place = machines.length % 250;
  const machine: Machine = {
    ...order,
    id,
    priceCentsPerHour: priceCentsPerHour(account, order.type),
    // 198.51.100.0/24 is reserved for documentation: nothing answers there.
    ip: `198.51.100.${place + 2}`,
    privateIp: `10.19.60.${place + 2}`,
    jupyterToken: ids.hex('jupyter-token'),
    cudaBroken: faults.cudaBroken,
    serving: { ...faults.serving },
    launchedAtMs: clock.nowMs(),
    bootMs:
      outcome === 'stuck'
        ? Number.POSITIVE_INFINITY
        : (durationMs ?? usualBootMs(order.type.specs.gpus, fractionOf(id))),
    bootOutcome: outcome === 'unhealthy' ? 'unhealthy' : 'active',
    restartedAtMs: null,
    termination: null,
    ...overrides,
  };
  machines.push(machine);
  return machine;
}

export function findType({ instanceTypes }: Account, name: string): InstanceType {
  const found = instanceTypes.get(name);
  if (!found) throw noSuch('instance type', name);
  return found;
}

export function findImage(
  { images }: Account,
  region: Region,
  type: InstanceType,
  wanted: { id: string } | { family: string },
): Image {
  const here = images.filter((image) => image.region.name === region.name);
  if ('family' in wanted) {
    const fitting = here.find(
      ({ family, architecture }) => family === wanted.family && architecture === type.architecture,
    );
    if (!fitting) throw noSuch('image family', wanted.family);
    return fitting;
  }
  const named = here.find(({ id }) => id === wanted.id);
  if (!named) throw noSuch('image', wanted.id);
  if (named.architecture === type.architecture) return named;
  throw new Refusal('global/invalid-parameters', {
    message: `image: Made for ${named.architecture}, not ${type.architecture}`,
  });
}

/** Filesystems by name go to their default place, unless they are mounted by id as well. */
function findMounts(
  { filesystems }: Account,
  region: Region,
  names: readonly string[],
  mounts: readonly { mount_point: string; file_system_id: string }[],
): Mount[] {
  const find = (wanted: string, matches: (filesystem: Filesystem) => boolean): Filesystem => {
    const found = filesystems.find(matches);
    if (!found) throw noSuch('filesystem', wanted);
    if (found.region.name === region.name) return found;
    throw new Refusal('instance-operations/launch/file-system-in-wrong-region');
  };
  const mountById = new Map<string, Mount>();
  for (const wanted of names) {
    const { id, name } = find(wanted, (filesystem) => filesystem.name === wanted);
    mountById.set(id, { filesystemId: id, filesystemName: name, mountPoint: defaultMountPoint(name) });
  }
  for (const { file_system_id, mount_point } of mounts) {
    const { id, name } = find(file_system_id, (filesystem) => filesystem.id === file_system_id);
    mountById.set(id, { filesystemId: id, filesystemName: name, mountPoint: mount_point });
  }
  return [...mountById.values()];
}

function checkRuleset({ rulesets }: Account, region: Region, id: string): string {
  const found = rulesets.find((ruleset) => ruleset.id === id);
  if (!found) throw noSuch('firewall ruleset', id);
  if (found.region.name === region.name) return id;
  throw new Refusal('global/invalid-parameters', { message: 'firewall_rulesets: In another region than the instance' });
}

function checkRoom(account: Account, type: InstanceType, region: Region): void {
  const { faults } = account;
  if (faults.quotaInstances !== null && livingMachines(account).length >= faults.quotaInstances) {
    throw new Refusal('global/quota-exceeded');
  }
  const isListed = regionsWithCapacity(account, type.name).includes(region.name);
  if (isListed && faults.refuseLaunches === 0) return;
  if (isListed) faults.refuseLaunches -= 1;
  throw new Refusal('instance-operations/launch/insufficient-capacity');
}

/** At launch a thing that does not exist is a 400; everywhere else it is a 404. */
function noSuch(kind: string, wanted: string): Refusal {
  return new Refusal('global/object-does-not-exist', { status: 400, message: `No ${kind} "${wanted}" was found.` });
}
