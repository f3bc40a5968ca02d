import type { Clock } from '../clock.ts';

/** Lambda's limits: about one request a second, one launch in twelve. Kept a little below, since they count on their side. */
const requestIntervalMs = 1_050;
const launchIntervalMs = 12_500;

/** Spaces out requests, in the order in which they were asked for; they pass launches that must wait. One per process. */
export class Pacer {
  readonly #clock: Clock;
  #nextRequestAtMs = 0;
  #nextLaunchAtMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when a request may be sent; its place is taken at once, so callers queue up. */
  async turn(kind: 'request' | 'launch', signal: AbortSignal): Promise<void> {
    // Of several launches that wait, the first to wake goes, and the others wait again.
    while (kind === 'launch' && this.#clock.nowMs() < this.#nextLaunchAtMs)
      await this.#clock.sleep(this.#nextLaunchAtMs - this.#clock.nowMs(), signal);
    const nowMs = this.#clock.nowMs();
    const atMs = Math.max(nowMs, this.#nextRequestAtMs);
    this.#nextRequestAtMs = atMs + requestIntervalMs;
    if (kind === 'launch') this.#nextLaunchAtMs = atMs + launchIntervalMs;
    if (atMs > nowMs) await this.#clock.sleep(atMs - nowMs, signal);
  }

  /** The cloud said that we are too fast: nobody who asks from now on sends anything until then. */
  holdBack(forMs: number): void {
    this.#nextRequestAtMs = Math.max(this.#nextRequestAtMs, this.#clock.nowMs() + forMs);
  }
}
