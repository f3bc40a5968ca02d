import * as z from 'zod';
import { type Account, livingMachines } from './account.ts';
import { recordEvent } from './audit.ts';
import { type Region, regionName } from './catalog.ts';
import { Refusal } from './refusal.ts';
import { type Route, readInput } from './route.ts';

export interface Filesystem {
  id: string;
  name: string;
  region: Region;
  createdAtMs: number;
}

const maxFilesystems = 24;

const newFilesystem = z.object({
  name: z
    .string()
    .max(60)
    .regex(/^[a-zA-Z]+[0-9a-zA-Z-]*$/),
  region: regionName,
});

export function defaultMountPoint(filesystemName: string): string {
  return `/lambda/nfs/${filesystemName}`;
}

/** The paths are Lambda's own: `file-systems` to list, `filesystems` to change, and 405 the other way round. */
export function filesystemRoutes(account: Account): Route[] {
  const { filesystems, ids, clock } = account;

  const isInUse = (id: string): boolean =>
    livingMachines(account).some(({ mounts }) => mounts.some(({ filesystemId }) => filesystemId === id));

  const render = ({ id, name, region, createdAtMs }: Filesystem): object => ({
    id,
    name,
    mount_point: defaultMountPoint(name),
    created: new Date(createdAtMs).toISOString(),
    created_by: { id: account.owner.userId, email: 'owner@sandbox.invalid', status: 'active' },
    is_in_use: isInUse(id),
    region,
    bytes_used: 0,
  });

  return [
    { method: 'GET', path: '/file-systems', handle: () => ({ data: filesystems.map(render) }) },
    { method: 'POST', path: '/file-systems', handle: refuseMethod },
    { method: 'GET', path: '/filesystems', handle: refuseMethod },
    {
      method: 'POST',
      path: '/filesystems',
      handle: ({ body, client }) => {
        const { name, region } = readInput(newFilesystem, body);
        if (filesystems.some((filesystem) => filesystem.name === name)) {
          throw new Refusal('global/duplicate', { message: `A filesystem named "${name}" exists already.` });
        }
        if (filesystems.length >= maxFilesystems) throw new Refusal('global/quota-exceeded');
        const filesystem = { id: ids.hex('filesystem'), name, region, createdAtMs: clock.nowMs() };
        filesystems.push(filesystem);
        recordEvent(account, client, { resource: 'filesystem', action: 'created', resourceId: filesystem.id });
        return { data: render(filesystem) };
      },
    },
    {
      method: 'DELETE',
      path: '/filesystems/:id',
      handle: ({ id, client }) => {
        const index = filesystems.findIndex((filesystem) => filesystem.id === id);
        if (index < 0) throw new Refusal('global/object-does-not-exist', { message: 'Filesystem was not found.' });
        if (isInUse(id)) throw new Refusal('filesystems/filesystem-in-use');
        filesystems.splice(index, 1);
        recordEvent(account, client, { resource: 'filesystem', action: 'deleted', resourceId: id });
        return { data: { deleted_ids: [id] } };
      },
    },
  ];
}

/** Nobody wrote down what the body of a 405 looks like, so it is one that no client can parse by luck. */
function refuseMethod(): never {
  throw new Refusal('global/not-found', { status: 405, body: 'html', message: 'Method not allowed.' });
}
