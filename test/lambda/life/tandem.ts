import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { type App, createApp } from '../../../src/app.ts';
import type { Clock } from '../../../src/clock.ts';
import { loadConfig } from '../../../src/config/index.ts';
import type { Sandbox } from '../../../src/sandbox/index.ts';

/** The clock of a process that can be killed: then none of its sleeps ends any more, and nothing of it goes on. */
export class MortalClock implements Clock {
  readonly death: Promise<void>;
  #isDead = false;
  #waitsLeft = Number.POSITIVE_INFINITY;
  #die: () => void = () => undefined;
  readonly #base: Clock;
  readonly #offsetMs: () => number;
  readonly #beforeSleep: () => void;

  /** `offsetMs`: by how much this computer's clock is wrong. Every request is sent after a sleep. */
  constructor(base: Clock, offsetMs: () => number, beforeSleep: () => void) {
    this.#base = base;
    this.#offsetMs = offsetMs;
    this.#beforeSleep = beforeSleep;
    this.death = new Promise((resolve) => {
      this.#die = resolve;
    });
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  kill(): void {
    this.#isDead = true;
    this.#die();
  }

  /** Dies in the `wait`th sleep from now, which is before the request that it waits to send. */
  killAt(wait: number): void {
    this.#waitsLeft = wait - 1;
  }

  nowMs(): number {
    return this.#base.nowMs() + this.#offsetMs();
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.#beforeSleep();
    if (this.#waitsLeft <= 0) this.kill();
    this.#waitsLeft -= 1;
    if (!this.#isDead) await this.#base.sleep(ms, signal);
    if (this.#isDead) await forever(signal);
  }
}

function forever(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal?.aborted) reject(signal.reason);
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** One process of Tandem, as far as one can live inside a test: nothing but the state folder outlives it. */
export interface Tandem {
  app: App;
  clock: MortalClock;
  /** Undefined when it died meanwhile. */
  pass(): Promise<void>;
  /** Undefined when it died meanwhile. */
  call(tool: string, input: Record<string, unknown>): Promise<Record<string, any> | undefined>;
  close(): Promise<void>;
}

export async function startTandem(home: string, file: string, sandbox: Sandbox, clock: MortalClock): Promise<Tandem> {
  const config = loadConfig({
    ...sandbox.environment,
    TANDEM_HOME: home,
    TANDEM_CONFIG: file,
    TANDEM_LOG_LEVEL: process.env.FLEET_LOG ?? 'silent',
  });
  const app = await createApp(config, { clock, sandbox, keep: false });
  const session = app.createSession({});
  const client = new Client({ name: 'test', version: '1' });
  const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
  await Promise.all([session.connect(serverSide), client.connect(clientSide)]);
  const passing = new AbortController();
  const unlessDead = <Result>(work: Promise<Result>) => {
    // A dead process gets no answers, and its errors are nobody's.
    work.catch(() => undefined);
    return Promise.race([work, clock.death.then(() => undefined)]);
  };
  return {
    app,
    clock,
    async pass() {
      if (!clock.isDead) await unlessDead(app.keeper.pass(passing.signal));
    },
    async call(tool, input) {
      if (clock.isDead) return undefined;
      return unlessDead(client.callTool({ name: tool, arguments: input }) as Promise<Record<string, any>>);
    },
    async close() {
      clock.kill();
      passing.abort(new Error('the test is over'));
      await client.close();
      await session.close();
      await app.close();
    },
  };
}
