import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { accessFiles, createAccess, readApiKey, removeAccess } from '../../../src/lambda/serving/access.ts';
import { temporaryFolder } from '../../support/folder.ts';

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe('the keys of a machine', () => {
  it('can be read by nobody else', async () => {
    const home = temporaryFolder();
    await createAccess(home, 'dep1', 'intent1', 'direct');
    const { folder } = accessFiles(home, 'dep1', 'intent1');
    expect(readdirSync(folder).map((file) => `${file} ${modeOf(join(folder, file))}`)).toEqual([
      'api_key 600',
      'client_key 600',
      'known_hosts 600',
    ]);
    expect([folder, join(home, 'deployments', 'dep1'), join(home, 'deployments')].map(modeOf)).toEqual([
      '700',
      '700',
      '700',
    ]);
  });

  it('pin the machine by its launch, not by its address', async () => {
    const access = await createAccess(temporaryFolder(), 'DEP1', 'Intent1', 'tunnel');
    expect(readFileSync(access.knownHostsFile, 'utf8')).toBe(`tandem-dep1-intent1 ${access.hostKeys.publicLine}\n`);
  });

  it('leave the private host key to the machine', async () => {
    const home = temporaryFolder();
    const access = await createAccess(home, 'dep1', 'intent1', 'tunnel');
    const { folder } = accessFiles(home, 'dep1', 'intent1');
    const kept = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8'));
    expect(kept.join()).not.toContain(access.hostKeys.privatePem.split('\n')[1]);
  });

  it('let the client forward to the model server and do nothing else', async () => {
    const { authorizedKeyLine } = await createAccess(temporaryFolder(), 'dep1', 'intent1', 'tunnel');
    expect(authorizedKeyLine).toMatch(
      /^restrict,port-forwarding,permitopen="127\.0\.0\.1:8000",command="\/bin\/false" ecdsa-sha2-nistp256 [A-Za-z0-9+/=]+$/,
    );
  });

  it('are different for every machine', async () => {
    const home = temporaryFolder();
    const one = await createAccess(home, 'dep1', 'intent1', 'direct');
    const other = await createAccess(home, 'dep1', 'intent2', 'direct');
    expect(new Set([one.hostKeys.publicLine, other.hostKeys.publicLine]).size).toBe(2);
    expect(new Set([one.authorizedKeyLine, other.authorizedKeyLine]).size).toBe(2);
    expect(new Set([one.apiKey, other.apiKey]).size).toBe(2);
  });

  it('are not made twice for one launch, whose machine may have them', async () => {
    const home = temporaryFolder();
    const { clientKeyFile } = await createAccess(home, 'dep1', 'intent1', 'tunnel');
    const before = readFileSync(clientKeyFile, 'utf8');
    await expect(createAccess(home, 'dep1', 'intent1', 'tunnel')).rejects.toMatchObject({ code: 'conflict' });
    expect(readFileSync(clientKeyFile, 'utf8')).toBe(before);
  });

  it('have a key of the model server only where it can be reached without a tunnel', async () => {
    const home = temporaryFolder();
    const direct = await createAccess(home, 'dep1', 'intent1', 'direct');
    const tunnel = await createAccess(home, 'dep2', 'intent2', 'tunnel');
    expect(direct.apiKey).toMatch(/^sk-[0-9a-f]{64}$/);
    expect(await readApiKey(home, { deploymentId: 'dep1', intentId: 'intent1', endpoint: 'direct' })).toBe(
      direct.apiKey,
    );
    expect(tunnel).toMatchObject({ apiKey: null, apiKeyFile: null });
    expect(await readApiKey(home, { deploymentId: 'dep2', intentId: 'intent2', endpoint: 'tunnel' })).toBeNull();
  });

  it('are missed with words on another computer', async () => {
    const machine = { deploymentId: 'dep1', intentId: 'intent1', endpoint: 'direct' as const };
    await expect(readApiKey(temporaryFolder(), machine)).rejects.toMatchObject({
      code: 'not_found',
      message: 'The keys of the machine of deployment dep1 are not on this computer.',
    });
  });

  it('go with the machine, those of the next one stay', async () => {
    const home = temporaryFolder();
    await createAccess(home, 'dep1', 'intent1', 'tunnel');
    await createAccess(home, 'dep1', 'intent2', 'tunnel');
    await removeAccess(home, 'dep1', 'intent1');
    await removeAccess(home, 'dep1', 'intent1');
    expect(readdirSync(join(home, 'deployments', 'dep1'))).toEqual(['intent2']);
    await removeAccess(home, 'dep1', 'intent2');
    expect(readdirSync(join(home, 'deployments'))).toEqual([]);
  });

  it.each(['../up', '.', '', 'a/b', 'a b', '-o'])('are kept below their folder: "%s" is no id', async (id) => {
    await expect(createAccess(temporaryFolder(), id, 'intent1', 'tunnel')).rejects.toMatchObject({ code: 'internal' });
    await expect(removeAccess(temporaryFolder(), 'dep1', id)).rejects.toMatchObject({ code: 'internal' });
  });
});
