import { setTimeout as delay } from 'node:timers/promises';

/** The only source of time. Tests advance it by hand, the sandbox speeds it up. */
export interface Clock {
  /** Wall-clock time, in milliseconds since the epoch. */
  nowMs(): number;
  /** Waits in this clock's time. Rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  sleep: (ms, signal) => pause(ms, signal),
};

/** A clock that can be set forward. What sleeps does not notice, as when somebody sets the clock of a computer. */
export interface MovableClock extends Clock {
  advance(ms: number): void;
}

/**
 * A clock that runs `speed` times as fast as the system's from the moment it is made, so that a boot of four
 * minutes takes seconds. It starts now, or at `originMs`. Latencies of real calls are measured with
 * `performance.now()` and are not stretched.
 */
export function acceleratedClock(speed: number, originMs?: number): MovableClock {
  const startedAtMs = Date.now();
  let aheadMs = originMs === undefined ? 0 : originMs - startedAtMs;
  return {
    nowMs: () => Math.round(startedAtMs + aheadMs + (Date.now() - startedAtMs) * speed),
    sleep: (ms, signal) => pause(ms / speed, signal),
    advance(ms) {
      aheadMs += ms;
    },
  };
}

async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}
