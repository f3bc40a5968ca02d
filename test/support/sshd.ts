import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Access } from '../../src/lambda/serving/access.ts';
import { temporaryFolder } from './folder.ts';
import { waitFor } from './process.ts';

const program = '/usr/sbin/sshd';

/** Why tests with a real SSH server cannot run here; undefined: they can. */
export const noSshd = findObstacle();

function findObstacle(): string | undefined {
  if (process.platform !== 'linux') return 'the tests look for SSH processes in /proc';
  if (!existsSync(program)) return `${program} is missing: apt-get install openssh-server`;
  try {
    execFileSync('ssh', ['-V'], { stdio: 'ignore' });
  } catch {
    return 'ssh is missing: apt-get install openssh-client';
  }
  // sshd refuses to start as root without it, and needs nothing of it otherwise.
  if (userInfo().uid === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  return undefined;
}
if (noSshd !== undefined) console.warn(`\n*** The tests of the SSH tunnel are SKIPPED: ${noSshd}. ***\n`);

/** A real SSH server on loopback that lets the current user in with a machine's keys. */
export class SshServer {
  readonly user = userInfo().username;
  readonly port: number;
  log = '';
  readonly #folder: string;
  #process: ChildProcess | undefined;

  private constructor(port: number, folder: string) {
    this.port = port;
    this.#folder = folder;
  }

  /** `serverPort`: where the model server listens here, which is 8000 on a true machine. */
  static async start(access: Access, serverPort: number): Promise<SshServer> {
    const folder = temporaryFolder();
    const path = (name: string, content: string) => {
      writeFileSync(join(folder, name), content, { mode: 0o600 });
      return join(folder, name);
    };
    const port = await freePort();
    path(
      'sshd_config',
      [
        `Port ${port}`,
        'ListenAddress 127.0.0.1',
        `HostKey ${path('host_key', access.hostKeys.privatePem)}`,
        `AuthorizedKeysFile ${path('authorized_keys', `${access.authorizedKeyLine.replace('127.0.0.1:8000', `127.0.0.1:${serverPort}`)}\n`)}`,
        'PermitRootLogin yes',
        'PasswordAuthentication no',
        'StrictModes no',
        'UsePAM no',
        'PidFile none',
        '',
      ].join('\n'),
    );
    const server = new SshServer(port, folder);
    await server.resume();
    onTestFinished(() => server.stop());
    return server;
  }

  async resume(): Promise<void> {
    const child = spawn(program, ['-D', '-e', '-f', join(this.#folder, 'sshd_config')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.on('data', (piece) => {
      text += piece;
      this.log += piece;
    });
    this.#process = child;
    await waitFor(() => {
      if (child.exitCode !== null) throw new Error(`sshd ended: ${text}`);
      return text.includes('Server listening');
    }, 'sshd to listen');
  }

  /** And cuts what is connected. */
  async stop(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const sessions = childrenOf(child.pid);
    await new Promise((resolve) => {
      child.on('exit', resolve);
      child.kill('SIGKILL');
    });
    for (const pid of sessions) kill(pid);
  }

  /** From its next start on. */
  changeHostKey(privatePem: string): void {
    writeFileSync(join(this.#folder, 'host_key'), privatePem);
  }

  /** Ends what serves the connections that are open now. */
  cutConnections(): void {
    for (const pid of childrenOf(this.#process?.pid)) kill(pid);
  }
}

/** Their command lines. */
export function sshClientsTo(port: number): string[] {
  return processes()
    .map((pid) => commandOf(pid))
    .filter((command) => command.startsWith('ssh ') && command.includes(` -p ${port} `));
}

function childrenOf(parent: number | undefined): number[] {
  const children = processes().filter((pid) => parentOf(pid) === parent);
  return children.flatMap((pid) => [pid, ...childrenOf(pid)]);
}

function processes(): number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger);
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/^PPid:\s+(\d+)/m)?.[1]);
  } catch {
    return undefined;
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It was gone already.
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
