import type { Clock } from '../clock.ts';

/** Lambda's limits: about one request a second, one launch in twelve. Kept a little below, since they count on their side. */
const requestIntervalMs = 1_050;
const launchIntervalMs = 12_500;

/** Spaces out requests, in the order in which they were asked for. One per process. */
export class Pacer {
  readonly #clock: Clock;
  #nextRequestAtMs = 0;
  #nextLaunchAtMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when a request may be sent; the place is taken at once, so callers queue up. */
  async turn(kind: 'request' | 'launch', signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const atMs = Math.max(nowMs, this.#nextRequestAtMs, kind === 'launch' ? this.#nextLaunchAtMs : 0);
    this.#nextRequestAtMs = atMs + requestIntervalMs;
    if (kind === 'launch') this.#nextLaunchAtMs = atMs + launchIntervalMs;
    if (atMs > nowMs) await this.#clock.sleep(atMs - nowMs, signal);
  }

  /** The cloud said that we are too fast: nobody sends anything until then. */
  holdBack(forMs: number): void {
    this.#nextRequestAtMs = Math.max(this.#nextRequestAtMs, this.#clock.nowMs() + forMs);
  }
}
