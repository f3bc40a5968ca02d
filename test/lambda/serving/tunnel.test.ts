import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createNetServer } from 'node:net';
import { join } from 'node:path';
import { request } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { AppError } from '../../../src/errors.ts';
import { type Access, accessFiles, createAccess } from '../../../src/lambda/serving/access.ts';
import { createSshKeyPair } from '../../../src/lambda/serving/host-key.ts';
import { type Connection, MachineReach, type ReachTarget } from '../../../src/lambda/serving/reach.ts';
import { isPortTaken, SshSession } from '../../../src/lambda/serving/ssh-session.ts';
import { createLog } from '../../../src/log.ts';
import { Redactor } from '../../../src/redactor.ts';
import { temporaryFolder } from '../../support/folder.ts';
import { waitFor } from '../../support/process.ts';
import { noSshd, SshServer, sshClientsTo } from '../../support/sshd.ts';

const log = createLog('silent', new Redactor());
const target: ReachTarget = {
  deploymentId: 'dep1',
  intentId: 'intent1',
  instanceId: 'i-1',
  ip: '127.0.0.1',
  endpoint: 'tunnel',
};

async function modelServer(answer: RequestListener): Promise<number> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.on('listening', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

interface Machine {
  home: string;
  access: Access;
  ssh: SshServer;
  open(signal?: AbortSignal): Promise<Connection>;
}

/** A computer with the machine's keys in a folder whose name is hard to quote, and the machine. */
async function machineWith(
  answer: RequestListener,
  changes: { hostKeys?: Access['hostKeys']; serverPort?: number } = {},
): Promise<Machine> {
  const home = join(temporaryFolder(), 'Application Support 100%h "x"');
  mkdirSync(home);
  const access = await createAccess(home, 'dep1', 'intent1', 'tunnel');
  const serverPort = await modelServer(answer);
  const ssh = await SshServer.start({ ...access, ...(changes.hostKeys && { hostKeys: changes.hostKeys }) }, serverPort);
  const route = { user: ssh.user, port: ssh.port, serverPort: changes.serverPort ?? serverPort };
  const reach = new MachineReach({ home, clock: systemClock, log, ssh: route });
  const open = async (signal = new AbortController().signal) => {
    const connection = await reach.open(target, signal);
    onTestFinished(() => connection.close());
    return connection;
  };
  return { home, access, ssh, open };
}

const textAt = async (url: string) => (await request(url)).body.text();

describe.skipIf(noSshd)('a tunnel to a machine', () => {
  it('carries requests', async () => {
    const { open } = await machineWith((incoming, outgoing) => outgoing.end(`you asked for ${incoming.url}`));
    const connection = await open();
    expect(connection.baseUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(connection).toMatchObject({ isUp: true, failure: null });
    expect(await textAt(`${connection.baseUrl}/health`)).toBe('you asked for /health');
  });

  it('carries a stream piece by piece', async () => {
    let finish = () => {};
    const { open } = await machineWith((_incoming, outgoing) => {
      outgoing.write('first ');
      finish = () => outgoing.end('last');
    });
    const { body } = await request(`${(await open()).baseUrl}/stream`);
    const pieces: string[] = [];
    for await (const piece of body) {
      if (pieces.length === 0) finish();
      pieces.push(String(piece));
    }
    expect(pieces[0]).toBe('first ');
    expect(pieces.join('')).toBe('first last');
  });

  it('refuses a machine that has another host key, and sends it nothing', async () => {
    let asked = 0;
    const stranger = createSshKeyPair();
    const { open, ssh } = await machineWith(() => void asked++, { hostKeys: stranger });
    const error: AppError = await open().then(
      () => expect.fail('it was let through'),
      (reason) => reason,
    );
    expect(error).toBeInstanceOf(AppError);
    expect(error).toMatchObject({ code: 'forbidden', isRetryable: false });
    expect(error.text).toBe(
      'What answers at 127.0.0.1 is not the machine that was launched: it has another SSH host key. Nothing was sent ' +
        'to it. Terminate the machine and deploy again; if it happens again, somebody may be in between.',
    );
    expect(ssh.log).not.toContain('Accepted');
    expect(asked).toBe(0);
  });

  it('breaks streams when it is cut, and comes back on the same port', async () => {
    const { open, ssh } = await machineWith((incoming, outgoing) => {
      if (incoming.url === '/stream') outgoing.write('first');
      else outgoing.end('well');
    });
    const connection = await open();
    const { body } = await request(`${connection.baseUrl}/stream`);
    const read = (async () => {
      for await (const piece of body) if (String(piece) === 'first') ssh.cutConnections();
    })();
    await expect(read).rejects.toThrow();
    await waitFor(() => !connection.isUp, 'the loss to be noticed');
    await waitFor(() => connection.isUp, 'the tunnel to come back');
    expect(await textAt(`${connection.baseUrl}/health`)).toBe('well');
  });

  it('tries again for as long as the machine is away', async () => {
    const { open, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const connection = await open();
    await ssh.stop();
    await waitFor(() => !connection.isUp, 'the loss to be noticed');
    await expect(textAt(connection.baseUrl)).rejects.toThrow();
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(connection).toMatchObject({ isUp: false, failure: null });
    await ssh.resume();
    await waitFor(() => connection.isUp, 'the tunnel to come back');
    expect(await textAt(connection.baseUrl)).toBe('well');
  });

  it('comes back on another port when its own was taken meanwhile', async () => {
    const { open, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const connection = await open();
    const before = connection.baseUrl;
    await ssh.stop();
    await waitFor(() => !connection.isUp, 'the loss to be noticed');
    const other = createServer((_incoming, outgoing) => outgoing.end('somebody else'));
    onTestFinished(() => void other.close());
    await new Promise<void>((resolve) => other.listen(Number(new URL(before).port), '127.0.0.1', resolve));
    await ssh.resume();
    await waitFor(() => connection.isUp, 'the tunnel to come back');
    expect(connection.baseUrl).not.toBe(before);
    expect(await textAt(connection.baseUrl)).toBe('well');
  });

  it('gives up for good when another machine has taken the address', async () => {
    const { open, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const connection = await open();
    await ssh.stop();
    ssh.changeHostKey(createSshKeyPair().privatePem);
    await ssh.resume();
    await waitFor(() => connection.failure !== null, 'the tunnel to give up');
    expect(connection).toMatchObject({ isUp: false, failure: { code: 'forbidden' } });
    expect(sshClientsTo(ssh.port)).toEqual([]);
  });

  it('leaves no ssh behind when it is closed', async () => {
    const { open, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const connection = await open();
    expect(sshClientsTo(ssh.port)).toHaveLength(1);
    await connection.close();
    expect(sshClientsTo(ssh.port)).toEqual([]);
    expect(connection.isUp).toBe(false);
    await expect(textAt(connection.baseUrl)).rejects.toThrow();
  });

  it('can be closed while it is down', async () => {
    const { open, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const connection = await open();
    await ssh.stop();
    await waitFor(() => !connection.isUp, 'the loss to be noticed');
    await connection.close();
    expect(sshClientsTo(ssh.port)).toEqual([]);
  });

  it('shows nothing secret in its command line', async () => {
    const { open, ssh, access } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    await open();
    const [command] = sshClientsTo(ssh.port);
    expect(command).toContain(access.clientKeyFile.replaceAll('"', '\\"').replaceAll('%', '%%'));
    expect(command).not.toContain('PRIVATE KEY');
  });

  it('leads to the model server and to no other port of the machine', async () => {
    const other = await modelServer((_incoming, outgoing) => outgoing.end('a secret of the machine'));
    const { open, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'), { serverPort: other });
    const connection = await open();
    await expect(textAt(connection.baseUrl)).rejects.toThrow();
    await waitFor(
      () => /to connect to host 127\.0\.0\.1 port \d+, but the request was denied/.test(ssh.log),
      'the refusal',
    );
  });

  it('opens no shell and runs no command', async () => {
    const { access, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const key = join(temporaryFolder(), 'key');
    execFileSync('cp', [access.clientKeyFile, key]);
    const options = ['-F', 'none', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'];
    const command = ['-i', key, '-p', String(ssh.port), '-l', ssh.user, '127.0.0.1', 'echo', 'inside'];
    expect(() => execFileSync('ssh', [...options, ...command], { stdio: 'pipe' })).toThrow(/Command failed/);
    await waitFor(() => ssh.log.includes('Accepted publickey'), 'the log to say that the key itself was taken');
  });

  it('tells a local port that is taken from a machine that is away', async () => {
    const { home, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const localPort = await modelServer(() => undefined);
    const { folder: _, apiKeyFile: __, ...keys } = accessFiles(home, 'dep1', 'intent1');
    const route = { ip: '127.0.0.1', user: ssh.user, sshPort: ssh.port, serverPort: 1, ...keys };
    const onTakenPort = await SshSession.start({ ...route, localPort });
    expect(isPortTaken(await onTakenPort.ended)).toBe(true);
    await ssh.stop();
    const toNobody = await SshSession.start({ ...route, localPort });
    expect(isPortTaken(await toNobody.ended)).toBe(false);
  });

  it('stays open before the model server runs', async () => {
    const port = await modelServer(() => undefined);
    const { open } = await machineWith((_incoming, outgoing) => outgoing.end('well'), { serverPort: port });
    expect((await open()).isUp).toBe(true);
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('does not outlive a Tandem that ends by %s', async (signal) => {
    const { home, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const route = { user: ssh.user, port: ssh.port, serverPort: 1 };
    const script = `
      import { MachineReach } from ${JSON.stringify(new URL('../../../dist/lambda/serving/reach.js', import.meta.url))};
      import { systemClock } from ${JSON.stringify(new URL('../../../dist/clock.js', import.meta.url))};
      const reach = new MachineReach({ home: ${JSON.stringify(home)}, clock: systemClock, ssh: ${JSON.stringify(route)} });
      await reach.open(${JSON.stringify(target)}, new AbortController().signal);
      console.log('open');`;
    const tandem = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void tandem.kill('SIGKILL'));
    await new Promise((resolve) => tandem.stdout.once('data', resolve));
    expect(sshClientsTo(ssh.port)).toHaveLength(1);
    tandem.kill(signal);
    await waitFor(() => sshClientsTo(ssh.port).length === 0, 'ssh to end');
  });

  it('says what to install where there is no ssh', async () => {
    const { home, open } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const reach = new MachineReach({ home, clock: systemClock, log });
    await expect(reach.check('tunnel')).resolves.toBeUndefined();
    const path = process.env.PATH;
    onTestFinished(() => {
      process.env.PATH = path;
    });
    process.env.PATH = temporaryFolder();
    const missing = { code: 'not_configured', next: expect.stringContaining('apt-get') };
    await expect(open()).rejects.toMatchObject(missing);
    await expect(reach.check('tunnel')).rejects.toMatchObject(missing);
    await expect(reach.check('direct')).resolves.toBeUndefined();
  });

  it('says that the machine cannot be reached yet', async () => {
    const { open, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    await ssh.stop();
    await expect(open()).rejects.toMatchObject({
      code: 'upstream_unavailable',
      isRetryable: true,
      message: expect.stringMatching(/^The machine at 127\.0\.0\.1 cannot be reached by SSH: .*Connection refused\.$/),
    });
  });

  it('says that the machine does not know our key yet', async () => {
    const { open, access } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    writeFileSync(access.clientKeyFile, createSshKeyPair().privatePem);
    await expect(open()).rejects.toMatchObject({
      code: 'upstream_unavailable',
      message: 'The machine at 127.0.0.1 does not take our SSH key (yet).',
    });
  });

  it('says that others may read the key, so that ssh does not use it', async () => {
    const { open, access } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    chmodSync(access.clientKeyFile, 0o644);
    await expect(open()).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining(access.clientKeyFile),
      next: expect.stringContaining('chmod 600'),
    });
  });

  it('believes no words of a machine that has not proved who it is', async () => {
    const stranger = createNetServer((socket) =>
      socket.write('Entering interactive session.\r\nSSH-2.0-Entering interactive session.\r\n'),
    );
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void stranger.close());
    const { home } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const { folder: _, apiKeyFile: __, ...keys } = accessFiles(home, 'dep1', 'intent1');
    const { port: sshPort } = stranger.address() as AddressInfo;
    const localPort = await modelServer(() => undefined);
    const session = await SshSession.start({ ip: '127.0.0.1', user: 'u', sshPort, serverPort: 1, localPort, ...keys });
    const stop = setTimeout(() => void session.stop(), 1_000);
    onTestFinished(() => clearTimeout(stop));
    await expect(session.forwarding).rejects.toBeInstanceOf(AppError);
  });

  it('says that the keys are on another computer', async () => {
    const { open, home } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    rmSync(accessFiles(home, 'dep1', 'intent1').folder, { recursive: true });
    await expect(open()).rejects.toMatchObject({ code: 'not_found' });
  });

  it('ends its ssh when the caller gives up', async () => {
    const { open, ssh } = await machineWith((_incoming, outgoing) => outgoing.end('well'));
    const caller = new AbortController();
    const opening = open(caller.signal);
    caller.abort(new AppError('deadline_exceeded', 'Too late.'));
    await expect(opening).rejects.toMatchObject({ code: 'deadline_exceeded' });
    await waitFor(() => sshClientsTo(ssh.port).length === 0, 'ssh to end');
  });

  it('uses keys that the true ssh-keygen reads', () => {
    const pair = createSshKeyPair();
    const file = join(temporaryFolder(), 'key');
    writeFileSync(file, pair.privatePem);
    chmodSync(file, 0o600);
    expect(execFileSync('/usr/bin/ssh-keygen', ['-y', '-f', file], { encoding: 'utf8' }).trim()).toBe(pair.publicLine);
  });
});

describe('a machine without a tunnel', () => {
  const reach = new MachineReach({ home: '/nowhere', clock: systemClock, log });
  const { signal } = new AbortController();

  it('is reached at its address', async () => {
    const connection = await reach.open({ ...target, ip: '198.51.100.2', endpoint: 'direct' }, signal);
    expect(connection).toMatchObject({ baseUrl: 'http://198.51.100.2:8000', isUp: true });
    expect(await reach.open({ ...target, ip: '2001:db8::1', endpoint: 'direct' }, signal)).toMatchObject({
      baseUrl: 'http://[2001:db8::1]:8000',
    });
  });

  it.each(['', '-oProxyCommand=reboot', 'example.com'])('is not reached at what is no address: "%s"', async (ip) => {
    await expect(reach.open({ ...target, ip }, signal)).rejects.toMatchObject({ code: 'upstream_unavailable' });
  });
});
