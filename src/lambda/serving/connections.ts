import { AppError } from '../../errors.ts';
import type { Log } from '../../log.ts';
import type { Connection, Reach, ReachTarget } from './reach.ts';

/** A machine that could not be reached is tried again with the next pass. */
interface Entry {
  connection: Connection | null;
  opening: Promise<void> | null;
  /** What was already said of it. */
  odd: string | null;
  stop: AbortController;
}

/** The ways to the machines, one each: opened when first asked for, kept until the machine is no longer wanted. */
export class Connections {
  readonly #reach: Reach;
  readonly #log: Log;
  readonly #entries = new Map<string, Entry>();

  constructor(reach: Reach, log: Log) {
    this.#reach = reach;
    this.#log = log;
  }

  /** The open one; null while it is being opened, or is down. */
  open(target: ReachTarget): Connection | null {
    const entry = this.#entries.get(target.intentId) ?? this.#add(target.intentId);
    if (entry.connection === null) entry.opening ??= this.#open(entry, target);
    return entry.connection?.isUp ? entry.connection : null;
  }

  get(intentId: string | null): Connection | null {
    const connection = this.#entries.get(intentId ?? '')?.connection ?? null;
    return connection?.isUp ? connection : null;
  }

  /** Whether this is the end of a way that was opened here, be it up or down. */
  isOurs(intentId: string | null, baseUrl: string | null): boolean {
    return baseUrl !== null && this.#entries.get(intentId ?? '')?.connection?.baseUrl === baseUrl;
  }

  async keepOnly(intentIds: readonly string[]): Promise<void> {
    const others = [...this.#entries.keys()].filter((id) => !intentIds.includes(id));
    await Promise.all(others.map((id) => this.#drop(id)));
  }

  async close(): Promise<void> {
    await this.keepOnly([]);
  }

  #add(intentId: string): Entry {
    const entry: Entry = { connection: null, opening: null, odd: null, stop: new AbortController() };
    this.#entries.set(intentId, entry);
    return entry;
  }

  async #open(entry: Entry, target: ReachTarget): Promise<void> {
    try {
      entry.connection = await this.#reach.open(target, entry.stop.signal);
    } catch (error) {
      if (entry.stop.signal.aborted) return;
      // Another machine answers in its place, or its keys are elsewhere: that is for people to know.
      const isOdd = error instanceof AppError && !error.isRetryable && entry.odd !== error.code;
      if (isOdd) entry.odd = error.code;
      const about = { error, deployment: target.deploymentId };
      this.#log[isOdd ? 'warn' : 'debug'](about, 'a machine cannot be reached yet');
    } finally {
      entry.opening = null;
    }
  }

  async #drop(intentId: string): Promise<void> {
    const entry = this.#entries.get(intentId);
    this.#entries.delete(intentId);
    entry?.stop.abort();
    await entry?.opening;
    await entry?.connection?.close().catch(() => undefined);
  }
}
