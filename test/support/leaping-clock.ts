import { channel } from 'node:diagnostics_channel';
import type { Clock } from '../../src/clock.ts';

/** A request that takes longer, in real time, is taken to wait for the clock itself: the sandbox delays answers in it. */
const patienceMs = 40;
/** Turns of the event loop in which nothing is sent: then everybody sleeps, or is about to send. */
const quietTurns = 3;

interface Sleeper {
  untilMs: number;
  wake(): void;
}

const inFlight = new Set<unknown>();
const begin = (message: unknown) => void inFlight.add((message as { request: unknown }).request);
const end = (message: unknown) => void inFlight.delete((message as { request: unknown }).request);
channel('undici:request:create').subscribe(begin);
channel('undici:request:trailers').subscribe(end);
channel('undici:request:error').subscribe(end);

/**
 * A clock that leaps from one end of a sleep to the next as soon as nobody has anything else to do, so that hours take
 * milliseconds. Sleeps end in their order, however many go on at once: a loop in the background never runs ahead of
 * one that sleeps in the foreground, and time stands still while nobody sleeps.
 */
export class LeapingClock implements Clock {
  /** Of sleeps; the clock on the wall may jump. */
  #elapsedMs = 0;
  #wallMs: number;
  #sleepers: Sleeper[] = [];
  #isLeaping = false;

  constructor(start = '2026-11-23T09:00:00Z') {
    this.#wallMs = Date.parse(start);
  }

  nowMs(): number {
    return this.#wallMs + this.#elapsedMs;
  }

  /** What sleeps does not notice. */
  jump(ms: number): void {
    this.#wallMs += ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const stop = () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        reject(signal?.reason);
      };
      const sleeper: Sleeper = {
        untilMs: this.#elapsedMs + Math.max(0, Math.round(ms)),
        wake() {
          signal?.removeEventListener('abort', stop);
          resolve();
        },
      };
      signal?.addEventListener('abort', stop, { once: true });
      this.#sleepers.push(sleeper);
      if (!this.#isLeaping) void this.#leap();
    });
  }

  async #leap(): Promise<void> {
    this.#isLeaping = true;
    while (this.#sleepers.length > 0) {
      await quiet();
      const [first] = this.#sleepers.toSorted((one, other) => one.untilMs - other.untilMs);
      if (!first) break;
      this.#elapsedMs = Math.max(this.#elapsedMs, first.untilMs);
      this.#sleepers = this.#sleepers.filter((other) => other !== first);
      first.wake();
    }
    this.#isLeaping = false;
  }
}

async function quiet(): Promise<void> {
  const startedAt = performance.now();
  for (let turns = 0; turns < quietTurns; turns += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    if (inFlight.size === 0) continue;
    turns = 0;
    if (performance.now() - startedAt < patienceMs) continue;
    // Whoever never reads an answer to its end must not hold the clock up for good.
    inFlight.clear();
    return;
  }
}
