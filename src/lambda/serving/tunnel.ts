import { access } from 'node:fs/promises';
import { createServer } from 'node:net';
import { abortReason } from '../../cancellation.ts';
import type { Clock } from '../../clock.ts';
import type { AppError } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { keysMissing } from './access.ts';
import { isPortTaken, type SshRoute, SshSession } from './ssh-session.ts';

export interface TunnelParts {
  route: Omit<SshRoute, 'localPort'>;
  deploymentId: string;
  clock: Clock;
  log: Log;
}

const firstWaitMs = 500;
const longestWaitMs = 15_000;
const portsTried = 3;

/**
 * A model server's port on this computer. One ssh process carries it; when that ends, the next one is tried until
 * `close`, on the same port, so that the backend stays the same; on another one only if somebody has taken it.
 */
export class Tunnel {
  /** Why it is down for good; null while it may come back. */
  failure: AppError | null = null;
  isUp = true;
  #route: SshRoute;
  readonly #parts: TunnelParts;
  readonly #closing = new AbortController();
  #session: SshSession;
  readonly #kept: Promise<void>;

  private constructor(parts: TunnelParts, route: SshRoute, session: SshSession) {
    this.#parts = parts;
    this.#route = route;
    this.#session = session;
    this.#kept = this.#keep();
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${this.#route.localPort}`;
  }

  /** One try. Resolves when the machine was reached, whether or not its model server runs yet. */
  static async open(parts: TunnelParts, signal: AbortSignal): Promise<Tunnel> {
    const { clientKeyFile, knownHostsFile } = parts.route;
    await Promise.all([access(clientKeyFile), access(knownHostsFile)]).catch((cause) => {
      throw keysMissing(parts.deploymentId, cause);
    });
    for (let tried = 1; ; tried += 1) {
      const route = { ...parts.route, localPort: await freePort() };
      try {
        return new Tunnel(parts, route, await openSession(route, signal));
      } catch (error) {
        if (tried >= portsTried || !isPortTaken(error)) throw error;
      }
    }
  }

  /** Resolves when no ssh is left. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#session.stop();
    await this.#kept;
  }

  async #keep(): Promise<void> {
    const { log, deploymentId } = this.#parts;
    for (let failures = 0; ; failures += 1) {
      const reason = await this.#session.ended;
      this.isUp = false;
      if (this.#closing.signal.aborted) return;
      if (!reason.isRetryable) {
        this.failure = reason;
        log.error({ deploymentId, error: reason }, 'tunnel ended for good');
        return;
      }
      if (failures === 0) log.warn({ deploymentId, reason: reason.message }, 'tunnel lost');
      if (isPortTaken(reason)) this.#route = { ...this.#route, localPort: await freePort() };
      await this.#pause(failures);
      if (this.#closing.signal.aborted) return;
      this.#session = await SshSession.start(this.#route);
      // It was closed while the process started.
      if (this.#closing.signal.aborted) return this.#session.stop();
      if (!(await isForwarding(this.#session))) continue;
      this.isUp = true;
      failures = -1;
      log.info({ deploymentId }, 'tunnel is back');
    }
  }

  /** Longer each time, and never the same for two tunnels that were lost together. */
  #pause(failures: number): Promise<void> {
    const ms = Math.min(longestWaitMs, firstWaitMs * 2 ** Math.min(failures, 10)) * (0.5 + Math.random() / 2);
    return this.#parts.clock.sleep(ms, this.#closing.signal).catch(() => undefined);
  }
}

async function openSession(route: SshRoute, signal: AbortSignal): Promise<SshSession> {
  if (signal.aborted) throw abortReason(signal);
  const session = await SshSession.start(route);
  const stop = () => void session.stop();
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (signal.aborted) stop();
    await session.forwarding;
    if (signal.aborted) throw abortReason(signal);
    return session;
  } catch (error) {
    throw signal.aborted ? abortReason(signal) : error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function isForwarding(session: SshSession): Promise<boolean> {
  return session.forwarding.then(
    () => true,
    () => false,
  );
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
