import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { AppError } from '../../errors.ts';

/** What one ssh process forwards: `127.0.0.1:localPort` here to `127.0.0.1:serverPort` there. */
export interface SshRoute {
  ip: string;
  user: string;
  sshPort: number;
  clientKeyFile: string;
  knownHostsFile: string;
  hostKeyAlias: string;
  localPort: number;
  serverPort: number;
}

/** A network that swallows everything is noticed after so long. */
const aliveEverySeconds = 10;
const missedAnswers = 3;
const connectTimeoutSeconds = 10;
/** ssh's own limit ends before authentication. Real time. */
const readyTimeoutMs = 30_000;
const killAfterMs = 2_000;
/** Lines kept of what ssh complained about. */
const linesKept = 20;

/** One run of ssh, from its start to its end. It is tried again by `Tunnel`, never here. */
export class SshSession {
  /** Resolves when the port is open and the machine has proved who it is; rejects with why that failed. */
  readonly forwarding: Promise<void>;
  /** Resolves with why it ended. Never rejects. */
  readonly ended: Promise<AppError>;
  readonly #stop: () => void;

  private constructor(parts: { forwarding: Promise<void>; ended: Promise<AppError>; stop: () => void }) {
    this.forwarding = parts.forwarding;
    this.ended = parts.ended;
    this.#stop = parts.stop;
    // Whoever waits for the end alone needs no handler for this.
    this.forwarding.catch(() => undefined);
  }

  static async start(route: SshRoute): Promise<SshSession> {
    // Loaded here: whoever serves no model does not need it.
    const { execa } = await import('execa');
    // Ends with this process too, except when that is killed outright.
    const child = execa('ssh', sshArguments(route), {
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'pipe',
      buffer: false,
      reject: false,
      forceKillAfterDelay: killAfterMs,
    });
    const complaints: string[] = [];
    let isLate = false;
    const stop = () => {
      child.kill();
    };
    const opened = watchLines(child.stderr, complaints);
    const ended = child.then(({ code }) => explainEnd(route, code, complaints, isLate));
    const timer = setTimeout(() => {
      isLate = true;
      stop();
    }, readyTimeoutMs);
    const forwarding = Promise.race([opened, ended.then((reason) => Promise.reject(reason))]).finally(() =>
      clearTimeout(timer),
    );
    return new SshSession({ forwarding, ended, stop });
  }

  /** Resolves when the process is gone. */
  async stop(): Promise<void> {
    this.#stop();
    await this.ended;
  }
}

/**
 * Nothing of the person's own configuration, keys, agent or known hosts takes part. The machine must show the one host
 * key that was made for it.
 */
function sshArguments(route: SshRoute): string[] {
  const options = {
    StrictHostKeyChecking: 'yes',
    UserKnownHostsFile: quoted(route.knownHostsFile),
    GlobalKnownHostsFile: '/dev/null',
    HostKeyAlias: route.hostKeyAlias,
    HostKeyAlgorithms: 'ecdsa-sha2-nistp256',
    UpdateHostKeys: 'no',
    VerifyHostKeyDNS: 'no',
    IdentityFile: quoted(route.clientKeyFile),
    IdentitiesOnly: 'yes',
    IdentityAgent: 'none',
    PreferredAuthentications: 'publickey',
    BatchMode: 'yes',
    ControlMaster: 'no',
    ControlPath: 'none',
    ExitOnForwardFailure: 'yes',
    ConnectTimeout: connectTimeoutSeconds,
    ConnectionAttempts: 1,
    ServerAliveInterval: aliveEverySeconds,
    ServerAliveCountMax: missedAnswers,
    // It says when the port is open on this level, and not below.
    LogLevel: 'DEBUG1',
  };
  return [
    ...['-F', 'none', '-N', '-T', '-l', route.user, '-p', String(route.sshPort)],
    ...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ...['-L', `127.0.0.1:${route.localPort}:127.0.0.1:${route.serverPort}`, '--', route.ip],
  ];
}

/** ssh splits paths at spaces and fills in `%h` and the like. */
function quoted(path: string): string {
  return `"${path.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%')}"`;
}

/**
 * Said once the port is bound. "Local forwarding listening" sounds like it and comes before. The whole line: what a
 * machine says of itself before it has proved who it is stands in other lines, word by word.
 */
const forwardingBegins = 'debug1: Entering interactive session.';
const chatter = /^(?:debug1:|OpenSSH_|Authenticated to |Transferred: |Bytes per second: )/;

/** Resolves at the line that says that the port is open. Keeps what is no news of ssh's inner life. */
function watchLines(stderr: Readable, complaints: string[]): Promise<void> {
  return new Promise((resolve) => {
    createInterface({ input: stderr }).on('line', (line) => {
      if (line.trim() === forwardingBegins) resolve();
      if (line.trim() === '' || chatter.test(line)) return;
      complaints.push(line.trim());
      if (complaints.length > linesKept) complaints.shift();
    });
  });
}

function explainEnd(
  route: SshRoute,
  code: string | undefined,
  complaints: readonly string[],
  isLate: boolean,
): AppError {
  const said = complaints.join('\n');
  if (code === 'ENOENT') return sshMissing();
  if (/Host key verification failed|no matching host key type/.test(said)) {
    return new AppError(
      'forbidden',
      `What answers at ${route.ip} is not the machine that was launched: it has another SSH host key.`,
      {
        next: 'Nothing was sent to it. Terminate the machine and deploy again; if it happens again, somebody may be in between.',
      },
    );
  }
  if (/UNPROTECTED PRIVATE KEY FILE|^Load key /m.test(said)) {
    return new AppError('config_invalid', `ssh cannot use the key in ${route.clientKeyFile}, or others may read it.`, {
      next: 'Make it readable for the user of Tandem alone (chmod 600).',
    });
  }
  if (/Permission denied/.test(said)) {
    return new AppError('upstream_unavailable', `The machine at ${route.ip} does not take our SSH key (yet).`);
  }
  if (isLate) return new AppError('upstream_timeout', `The SSH server at ${route.ip} did not let us in in time.`);
  return new AppError(
    'upstream_unavailable',
    `The machine at ${route.ip} cannot be reached by SSH: ${lastOf(complaints)}.`,
  );
}

function lastOf(complaints: readonly string[]): string {
  return (complaints.at(-1) ?? 'the connection ended').replace(/\.$/, '');
}

export function sshMissing(): AppError {
  return new AppError('not_configured', 'The program ssh is not installed here, and models are reached through it.', {
    next: "Install OpenSSH's client (Debian and Ubuntu: apt-get install openssh-client) and try again.",
  });
}

/** Whether somebody else took the local port between its choice and its use. */
export function isPortTaken(error: unknown): boolean {
  return (
    error instanceof AppError &&
    /Address already in use|cannot listen to port|Could not request local/.test(error.message)
  );
}

/** What `ssh -V` says, such as `OpenSSH_9.6p1`; null when there is none. */
export async function sshVersion(): Promise<string | null> {
  const { execa } = await import('execa');
  const { stderr, failed } = await execa('ssh', ['-V'], { reject: false, timeout: 5_000 });
  return failed ? null : (stderr.split(/[\s,]/)[0] ?? null);
}
