import { acceleratedClock, type Clock } from '../../src/clock.ts';

/** A fast clock that starts at a time of day of its own (leases must not reach past midnight by chance), and can jump. */
export class JumpClock implements Clock {
  readonly #fast: Clock;
  #aheadMs: number;

  constructor(start = '2026-11-23T09:00:00Z', speed = 500) {
    this.#fast = acceleratedClock(speed);
    this.#aheadMs = Date.parse(start) - this.#fast.nowMs();
  }

  nowMs(): number {
    return this.#fast.nowMs() + this.#aheadMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#fast.sleep(ms, signal);
  }

  /** What sleeps does not notice. */
  jump(ms: number): void {
    this.#aheadMs += ms;
  }
}

/** A clock that stands still until it is moved. `sleep` ends when the clock is moved past its end. */
export class ManualClock implements Clock {
  #nowMs: number;
  #sleepers: { untilMs: number; wake: () => void }[] = [];

  constructor(start = '2026-11-23T12:00:00Z') {
    this.#nowMs = Date.parse(start);
  }

  nowMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      this.#sleepers.push({ untilMs: this.#nowMs + ms, wake: resolve });
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    const due = this.#sleepers.filter(({ untilMs }) => untilMs <= this.#nowMs);
    this.#sleepers = this.#sleepers.filter(({ untilMs }) => untilMs > this.#nowMs);
    for (const { wake } of due) wake();
  }
}
