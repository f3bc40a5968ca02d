import { isIP } from 'node:net';
import type { Clock } from '../../clock.ts';
import { AppError } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { accessFiles } from './access.ts';
import { type Endpoint, modelServerPort } from './spec.ts';
import { sshMissing, sshVersion } from './ssh-session.ts';
import { Tunnel } from './tunnel.ts';

export interface ReachTarget {
  deploymentId: string;
  intentId: string;
  instanceId: string;
  ip: string;
  endpoint: Endpoint;
}

export interface Connection {
  /** Without `/v1` and without a slash at its end. Another one only after it was down. */
  readonly baseUrl: string;
  /** Whether requests have a way now. A tunnel that is down comes back by itself, unless `failure` says why not. */
  readonly isUp: boolean;
  readonly failure: AppError | null;
  close(): Promise<void>;
}

/** How a machine's model server is reached from this computer. */
export interface Reach {
  /** Throws `not_configured` where no machine could be reached so: before one is paid for. */
  check(endpoint: Endpoint): Promise<void>;
  /** One try; `upstream_unavailable` when the machine cannot be reached (yet), `forbidden` when it is another one. */
  open(target: ReachTarget, signal: AbortSignal): Promise<Connection>;
}

export interface MachineReachParts {
  home: string;
  clock: Clock;
  log: Log;
  /** As Lambda's images have it, unless said otherwise. */
  ssh?: { user: string; port: number; serverPort: number };
}

const lambdaSsh = { user: 'ubuntu', port: 22, serverPort: modelServerPort };

/** Real machines: each by a tunnel of its own, or at its address. */
export class MachineReach implements Reach {
  readonly #parts: MachineReachParts;

  constructor(parts: MachineReachParts) {
    this.#parts = parts;
  }

  async check(endpoint: Endpoint): Promise<void> {
    if (endpoint === 'tunnel' && (await sshVersion()) === null) throw sshMissing();
  }

  /** Who opens it closes it. */
  async open(target: ReachTarget, signal: AbortSignal): Promise<Connection> {
    if (isIP(target.ip) === 0) {
      throw new AppError('upstream_unavailable', `The machine ${target.instanceId} has no address yet.`);
    }
    if (target.endpoint === 'direct') return atAddress(target.ip);
    const { home, clock, log, ssh = lambdaSsh } = this.#parts;
    const { clientKeyFile, knownHostsFile, hostKeyAlias } = accessFiles(home, target.deploymentId, target.intentId);
    const keys = { clientKeyFile, knownHostsFile, hostKeyAlias };
    const route = { ip: target.ip, user: ssh.user, sshPort: ssh.port, serverPort: ssh.serverPort, ...keys };
    return Tunnel.open({ route, deploymentId: target.deploymentId, clock, log }, signal);
  }
}

/** Nothing is opened ahead: whether the server answers, its probe says. */
function atAddress(ip: string): Connection {
  const host = isIP(ip) === 6 ? `[${ip}]` : ip;
  return {
    baseUrl: `http://${host}:${modelServerPort}`,
    isUp: true,
    failure: null,
    close: async () => undefined,
  };
}
