import type { Clock } from '../clock.ts';

/** Lambda's limits: about one request a second, one launch in twelve. Kept a little below, since they count on their side. */
const requestIntervalMs = 1_050;
const launchIntervalMs = 12_500;
/** Nobody is ever held back for longer: a turn that seems further away means that the clock was set back. */
const longestWaitMs = 30_000;

export type Turn = 'request' | 'urgent' | 'launch';

/**
 * Spaces out requests, about in the order in which they were asked for. Urgent ones (terminations) go first; launches wait
 * for a limit of their own and hold nobody up. One per process.
 */
export class Pacer {
  readonly #clock: Clock;
  #nextRequestAtMs = 0;
  #nextLaunchAtMs = 0;
  #urgent = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when a request may be sent. Its place is taken only then: who gives up while waiting holds up nobody. */
  async turn(kind: Turn, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (kind === 'urgent') this.#urgent += 1;
    try {
      for (let waitMs = this.#waitMs(kind); waitMs > 0; waitMs = this.#waitMs(kind))
        await this.#clock.sleep(waitMs, signal);
    } finally {
      if (kind === 'urgent') this.#urgent -= 1;
    }
    const nowMs = this.#clock.nowMs();
    this.#nextRequestAtMs = nowMs + requestIntervalMs;
    if (kind === 'launch') this.#nextLaunchAtMs = nowMs + launchIntervalMs;
  }

  /** Of those who wait for the same moment, the first to wake goes, and the others wait again. */
  #waitMs(kind: Turn): number {
    const nowMs = this.#clock.nowMs();
    const limitsMs = kind === 'launch' ? [this.#nextRequestAtMs, this.#nextLaunchAtMs] : [this.#nextRequestAtMs];
    const waitsMs = limitsMs.map((atMs) => atMs - nowMs).filter((waitMs) => waitMs <= longestWaitMs);
    const waitMs = Math.max(0, ...waitsMs);
    if (waitMs > 0) return waitMs;
    return kind !== 'urgent' && this.#urgent > 0 ? requestIntervalMs : 0;
  }

  /** The cloud said that we are too fast: nobody sends anything until then. */
  holdBack(forMs: number): void {
    this.#nextRequestAtMs = Math.max(this.#nextRequestAtMs, this.#clock.nowMs() + forMs);
  }
}
