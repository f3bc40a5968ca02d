import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError } from '../../errors.ts';
import { createSshKeyPair } from './host-key.ts';
import { type Endpoint, modelServerPort } from './spec.ts';

/** What opens one machine, and what it is known by. The private host key is for its cloud-init only, and not kept. */
export interface Access {
  hostKeys: { privatePem: string; publicLine: string };
  clientKeyFile: string;
  authorizedKeyLine: string;
  knownHostsFile: string;
  /** Of the model server; null behind a tunnel. */
  apiKey: string | null;
  apiKeyFile: string | null;
}

/** Where the keys of one machine are kept, whether they are there or not. */
export interface AccessFiles {
  folder: string;
  clientKeyFile: string;
  knownHostsFile: string;
  apiKeyFile: string;
  /** The machine's name in `knownHostsFile`: addresses change, and are given to others. */
  hostKeyAlias: string;
}

const secretFile = { mode: 0o600, flag: 'wx' } as const;

/**
 * Makes the keys of a machine that is about to be launched, below `home/deployments/<deployment>/<intent>/`. Throws
 * `conflict` when this intent has some: they may be on a machine already.
 */
export async function createAccess(
  home: string,
  deploymentId: string,
  intentId: string,
  endpoint: Endpoint,
): Promise<Access> {
  const files = accessFiles(home, deploymentId, intentId);
  await makeFolder(files.folder);
  const hostKeys = createSshKeyPair();
  const clientKey = createSshKeyPair();
  // The shape of a key, so that it is recognised wherever it turns up, and a word to every reader of YAML.
  const apiKey = endpoint === 'direct' ? `sk-${randomBytes(32).toString('hex')}` : null;
  await writeFile(files.clientKeyFile, clientKey.privatePem, secretFile);
  await writeFile(files.knownHostsFile, `${files.hostKeyAlias} ${hostKeys.publicLine}\n`, secretFile);
  if (apiKey !== null) await writeFile(files.apiKeyFile, `${apiKey}\n`, secretFile);
  return {
    hostKeys,
    clientKeyFile: files.clientKeyFile,
    authorizedKeyLine: `${forwardingOnly} ${clientKey.publicLine}`,
    knownHostsFile: files.knownHostsFile,
    apiKey,
    apiKeyFile: apiKey === null ? null : files.apiKeyFile,
  };
}

/** The key opens the model server and nothing else: `restrict` alone would still let it run commands. */
const forwardingOnly = `restrict,port-forwarding,permitopen="127.0.0.1:${modelServerPort}",command="/bin/false"`;

/** Once the machine is gone for good. Also when there is nothing left to remove. */
export async function removeAccess(home: string, deploymentId: string, intentId: string): Promise<void> {
  const { folder } = accessFiles(home, deploymentId, intentId);
  await rm(folder, { recursive: true, force: true });
  // Fails where another machine of the deployment has its keys.
  await rmdir(dirname(folder)).catch(() => undefined);
}

/** Those of every machine that a deployment had. */
export async function removeAllAccess(home: string, deploymentId: string): Promise<void> {
  await rm(dirname(accessFiles(home, deploymentId, 'any').folder), { recursive: true, force: true });
}

/** The model server's key; null behind a tunnel. Throws `not_found` when it was made on another computer. */
export async function readApiKey(
  home: string,
  machine: { deploymentId: string; intentId: string; endpoint: Endpoint },
): Promise<string | null> {
  if (machine.endpoint === 'tunnel') return null;
  const { apiKeyFile } = accessFiles(home, machine.deploymentId, machine.intentId);
  try {
    return (await readFile(apiKeyFile, 'utf8')).trim();
  } catch (cause) {
    throw keysMissing(machine.deploymentId, cause);
  }
}

export function keysMissing(deploymentId: string, cause?: unknown): AppError {
  return new AppError('not_found', `The keys of the machine of deployment ${deploymentId} are not on this computer.`, {
    next: 'Use Tandem where the machine was launched, or terminate the machine and deploy again from here.',
    cause,
  });
}

export function accessFiles(home: string, deploymentId: string, intentId: string): AccessFiles {
  for (const id of [deploymentId, intentId]) {
    if (!/^[A-Za-z0-9][\w-]*$/.test(id)) throw new AppError('internal', `"${id}" is no id of a deployment or launch.`);
  }
  const folder = join(home, 'deployments', deploymentId, intentId);
  return {
    folder,
    clientKeyFile: join(folder, 'client_key'),
    knownHostsFile: join(folder, 'known_hosts'),
    apiKeyFile: join(folder, 'api_key'),
    // ssh compares with small letters.
    hostKeyAlias: `tandem-${deploymentId}-${intentId}`.toLowerCase(),
  };
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(dirname(folder), { recursive: true, mode: 0o700 });
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST')) throw cause;
    throw new AppError('conflict', 'This launch has keys already; new ones would lock its machine.', { cause });
  }
}
