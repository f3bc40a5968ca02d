import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Health, Speed } from './types.ts';

/** Failures in a row that open the breaker. */
const failuresToOpen = 3;
/** A backend that was down is probed again after this long, twice as long after each failed probe. */
const firstCooldownMs = 5_000;
const longestCooldownMs = 20_000;
/** A refused key does not heal by itself; the person may put in a new one. */
const rejectedKeyCooldownMs = 30_000;
/** Some mean a date when they say seconds; no such slip should cost a backend for ever. */
const longestRestMs = 24 * 3_600_000;
/** A provider that says "too many requests" without saying how long. */
const rateLimitCooldownMs = 1_000;
/** While a backend is down one call in so long a time finds out whether it is back, whoever else comes. */
const probeEveryMs = 1_000;
/** Weight of the newest measurement in the moving averages. */
const newest = 0.3;

interface Breaker {
  failures: number;
  cooldownMs: number;
  /** Open until then; after it one probe at a time goes through, and its success closes the breaker. */
  openUntilMs: number;
  /** Why it opened; null while it never has. */
  reason: string | null;
  probing: boolean;
  failedAtMs: number;
  /** The backend itself asked to be left alone (429, Retry-After): nothing is sent before that is over. */
  restUntilMs: number;
}

/** When a place at a full backend may be free again: what a full Tandem says of itself. */
export const fullRetryAfterMs = 1_000;

/**
 * What the last calls taught: a circuit breaker per backend, speeds per candidate; and how many calls are under way.
 * One per process, in memory.
 */
export class HealthBook {
  readonly #clock: Clock;
  readonly #breakers = new Map<string, Breaker>();
  readonly #speeds = new Map<string, Speed>();
  readonly #underWay = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Usable: closed, or due for its probe with no probe under way. */
  of(backend: string): Health {
    const breaker = this.#breakers.get(backend);
    if (!breaker?.reason) return { usable: true, reason: null };
    const waitMs = breaker.openUntilMs - this.#clock.nowMs();
    if (waitMs > 0) return { usable: false, reason: `${breaker.reason}; next probe in ${Math.ceil(waitMs / 1000)} s` };
    return breaker.probing
      ? { usable: false, reason: `${breaker.reason}; being probed` }
      : { usable: true, reason: null };
  }

  speeds(): ReadonlyMap<string, Speed> {
    return this.#speeds;
  }

  /** Calls that were admitted and have not left. */
  underWay(backend: string): number {
    return this.#underWay.get(backend) ?? 0;
  }

  /**
   * Asked before every call. While the breaker is open a call goes through now and then, as a probe; while the backend
   * asked to wait, none; and never more at once than `limit`. The error says why not, and for how long. Who is admitted
   * has to `leave`, whatever becomes of the call.
   */
  admit(backend: string, limit: number | null): AppError | null {
    const breaker = this.#breakers.get(backend);
    const refusal = (breaker && this.#restOf(backend, breaker)) ?? this.#fullness(backend, limit);
    if (refusal) return refusal;
    if (breaker?.reason) breaker.probing = true;
    this.#underWay.set(backend, this.underWay(backend) + 1);
    return null;
  }

  /** The other half of `admit`. */
  leave(backend: string): void {
    const left = this.underWay(backend) - 1;
    if (left > 0) this.#underWay.set(backend, left);
    else this.#underWay.delete(backend);
  }

  #fullness(backend: string, limit: number | null): AppError | null {
    const underWay = this.underWay(backend);
    if (limit === null || underWay < limit) return null;
    return new AppError('overloaded', `Backend ${backend} answers ${underWay} requests, as many as it may at once.`, {
      retryAfterMs: fullRetryAfterMs,
    });
  }

  #restOf(backend: string, breaker: Breaker): AppError | null {
    if (!breaker.reason) return null;
    const nowMs = this.#clock.nowMs();
    const restMs = breaker.restUntilMs - nowMs;
    if (restMs > 0)
      return new AppError('rate_limited', `Backend ${backend} asked to wait; it was not asked again yet.`, {
        retryAfterMs: restMs,
      });
    const isTooSoon = nowMs < Math.min(breaker.openUntilMs, breaker.failedAtMs + probeEveryMs);
    if (breaker.probing || isTooSoon)
      return new AppError('upstream_unavailable', `Backend ${backend} is resting: ${breaker.reason}.`, {
        retryAfterMs: probeEveryMs,
      });
    return null;
  }

  succeeded(backend: string, candidate: string, measured: Speed | null): void {
    // A call that was under way when another was told to wait proves nothing about the waiting.
    if ((this.#breakers.get(backend)?.restUntilMs ?? 0) <= this.#clock.nowMs()) this.#breakers.delete(backend);
    if (measured) this.#speeds.set(candidate, blend(this.#speeds.get(candidate), measured));
  }

  /** The call ended for a reason that says nothing about the backend (cancelled, bad request). */
  ended(backend: string): void {
    const breaker = this.#breakers.get(backend);
    if (breaker) breaker.probing = false;
  }

  failed(backend: string, error: AppError): void {
    const breaker = this.#breakers.get(backend) ?? {
      failures: 0,
      cooldownMs: firstCooldownMs,
      openUntilMs: 0,
      reason: null,
      probing: false,
      failedAtMs: 0,
      restUntilMs: 0,
    };
    this.#breakers.set(backend, breaker);
    breaker.probing = false;
    breaker.failedAtMs = this.#clock.nowMs();
    const [reason, forMs] = this.#verdict(breaker, error);
    if (reason === null) return;
    const untilMs = this.#clock.nowMs() + Math.min(forMs, longestRestMs);
    const askedToWait = error.code === 'rate_limited' || error.retryAfterMs !== undefined;
    if (askedToWait) breaker.restUntilMs = Math.max(breaker.restUntilMs, untilMs);
    breaker.reason = reason;
    breaker.openUntilMs = Math.max(breaker.restUntilMs, untilMs);
  }

  /** Why and for how long the breaker opens; no reason: it stays closed for now. */
  #verdict(breaker: Breaker, error: AppError): [reason: string | null, forMs: number] {
    if (error.code === 'rate_limited') return ['rate limited', error.retryAfterMs ?? rateLimitCooldownMs];
    if (error.code === 'unauthorized') return ['key rejected', rejectedKeyCooldownMs];
    if (error.code === 'quota_exceeded') return ['quota exceeded', rejectedKeyCooldownMs];
    breaker.failures += 1;
    if (breaker.failures < failuresToOpen)
      return error.retryAfterMs === undefined ? [null, 0] : [`asked to wait (${error.code})`, error.retryAfterMs];
    const forMs = error.retryAfterMs ?? breaker.cooldownMs;
    breaker.cooldownMs = Math.min(longestCooldownMs, breaker.cooldownMs * 2);
    return [`${breaker.failures} failures in a row (${error.code})`, forMs];
  }
}

function blend(known: Speed | undefined, measured: Speed): Speed {
  if (!known) return measured;
  const mix = (before: number, now: number) => before + newest * (now - before);
  return {
    firstTokenMs: mix(known.firstTokenMs, measured.firstTokenMs),
    tokensPerSecond: mix(known.tokensPerSecond, measured.tokensPerSecond),
  };
}
