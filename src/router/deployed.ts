import type { BackendConfig } from '../config/index.ts';
import type { Log } from '../log.ts';
import { type DeploymentBook, type DeploymentRow, specOf } from '../usage/deployments.ts';
import type { Backend, Pending } from './types.ts';

const lookAgainMs = 1_000;

export interface DeployedParts {
  book: Pick<DeploymentBook, 'live'>;
  create(row: DeploymentRow, config: Pick<BackendConfig, 'id' | 'baseUrl' | 'models'>): Backend;
  /** How much longer until it is ready, in milliseconds; null: nobody knows. */
  readyInMs(row: DeploymentRow): Promise<number | null>;
  log: Log;
}

/**
 * The backends of deployments: they come when one is ready and go when it drains, without a restart. What is ready
 * stands in the ledger, whichever process has seen to it.
 */
export class DeployedBackends {
  readonly #parts: DeployedParts;
  readonly #backends = new Map<string, Backend>();
  #list: readonly Backend[] = [];
  #pending: readonly Pending[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: DeployedParts) {
    this.#parts = parts;
  }

  list(): readonly Backend[] {
    return this.#list;
  }

  /** Those that are to be ready later. */
  pending(): readonly Pending[] {
    return this.#pending;
  }

  /** Looks now, and about every second from then on. */
  async watch(): Promise<void> {
    await this.look();
    this.#timer = setInterval(() => void this.look(), lookAgainMs);
    this.#timer.unref();
  }

  async look(): Promise<void> {
    try {
      const rows = await this.#parts.book.live();
      const ready = rows.filter(({ state, base_url: url }) => state === 'ready' && url !== null);
      const keys = ready.map((row) => this.#keep(row));
      for (const key of this.#backends.keys()) if (!keys.includes(key)) this.#backends.delete(key);
      if (keys.length !== this.#list.length || keys.some((key, index) => this.#backends.get(key) !== this.#list[index]))
        this.#list = keys.flatMap((key) => this.#backends.get(key) ?? []);
      const pending = rows.flatMap((row) => {
        const state = pendingState(row);
        return state === null ? [] : { row, state };
      });
      this.#pending = await Promise.all(
        pending.map(async ({ row, state }) => ({
          backend: row.name,
          model: specOf(row).alias,
          state,
          readyInMs: await this.#parts.readyInMs(row),
        })),
      );
    } catch (error) {
      this.#parts.log.warn({ error }, 'the deployments could not be read');
    }
  }

  /** One backend for as long as its server is where it was: what is known of its connections stays with it. */
  #keep(row: DeploymentRow): string {
    const key = `${row.id} ${row.intent_id} ${row.base_url}`;
    if (this.#backends.has(key)) return key;
    const { alias, tier, maxContext } = specOf(row);
    const model = { id: alias, tier, ...(maxContext !== null && { contextWindow: maxContext }) };
    this.#backends.set(key, this.#parts.create(row, { id: row.name, baseUrl: `${row.base_url}/v1`, models: [model] }));
    return key;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

/** Null: it serves, or will not serve again. */
function pendingState({ state, base_url: url }: DeploymentRow): Pending['state'] | null {
  if (state === 'waiting' || state === 'booting' || state === 'starting') return state;
  // Its server runs, but nobody has a way to it until the next keeper opens one.
  return state === 'ready' && url === null ? 'starting' : null;
}
