import * as z from 'zod';
import type { Account } from './account.ts';
import { recordEvent } from './audit.ts';
import { Refusal } from './refusal.ts';
import { type Route, readInput } from './route.ts';

export interface SshKey {
  id: string;
  name: string;
  public_key: string;
}

const newKey = z.object({
  name: z.string().min(1).max(64),
  public_key: z.string().min(1).max(4096).optional(),
});

export function sshKeyRoutes(account: Account): Route[] {
  const { sshKeys, ids } = account;
  return [
    { method: 'GET', path: '/ssh-keys', handle: () => ({ data: sshKeys }) },
    {
      method: 'POST',
      path: '/ssh-keys',
      handle: ({ body, client }) => {
        const { name, public_key } = readInput(newKey, body);
        if (sshKeys.some((key) => key.name === name)) {
          throw new Refusal('global/duplicate', { message: `An SSH key named "${name}" exists already: duplicate.` });
        }
        const id = ids.hex('ssh-key');
        const key = { id, name, public_key: public_key ?? `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${id} ${name}` };
        sshKeys.push(key);
        recordEvent(account, client, { resource: 'ssh_key', action: 'created', resourceId: id });
        return { data: public_key === undefined ? { ...key, private_key: privateKey(ids.hex('private-key')) } : key };
      },
    },
    {
      method: 'DELETE',
      path: '/ssh-keys/:id',
      handle: ({ id, client }) => {
        const index = sshKeys.findIndex((key) => key.id === id);
        // Unlike for all other named objects, the API's document says "not-found" here.
        if (index < 0) throw new Refusal('global/not-found');
        sshKeys.splice(index, 1);
        recordEvent(account, client, { resource: 'ssh_key', action: 'deleted', resourceId: id });
        return { data: {} };
      },
    },
  ];
}

/** Looks like a key to anything that redacts keys, and opens nothing. */
function privateKey(secret: string): string {
  return `-----BEGIN OPENSSH PRIVATE KEY-----\nsandbox${secret}\n-----END OPENSSH PRIVATE KEY-----\n`;
}
