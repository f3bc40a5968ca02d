import type { AppError } from '../errors.ts';
import { isUnreached } from './bill.ts';
import { type Candidate, candidateName, type Snapshot } from './types.ts';

/** When nothing is left but candidates that were rate limited: the longest that is waited for one, once. */
const longestRateLimitWaitMs = 15_000;
const rateLimitWaitMs = 1_000;
/** Before the first repetition of a call; doubled for each further one. Half of it is chance. */
const firstRetryWaitMs = 100;
/** A backend that asks for more than this before a repetition is left alone, and another takes its place. */
const longestRetryWaitMs = 2_000;
/** More calls than this are never made for one request. */
const mostLegs = 8;

export interface Leg {
  candidate: Candidate;
  /** Before it begins. */
  waitMs: number;
  /** Whether others wait behind it. */
  hasOthers: boolean;
}

/** Who is asked next: the way of one request from candidate to candidate. No clock and no I/O; chance only in waits. */
export class Itinerary {
  readonly #snapshot: Snapshot;
  readonly #maxRetries: (backend: string) => number;
  #waiting: readonly Candidate[];
  /** The one that failed last, when it may be asked again. */
  #again: Leg | null = null;
  #limited: { candidate: Candidate; waitMs: number }[] = [];
  #hasWaited = false;
  #hasRested = false;
  #legs = 0;
  readonly #retries = new Map<string, number>();

  constructor(candidates: readonly Candidate[], snapshot: Snapshot, maxRetries: (backend: string) => number) {
    this.#waiting = candidates;
    this.#snapshot = snapshot;
    this.#maxRetries = maxRetries;
  }

  next(): Leg | null {
    if (this.#legs >= mostLegs) return null;
    const leg = this.#again ?? this.#first() ?? this.#firstLimited();
    this.#again = null;
    if (leg) this.#legs += 1;
    return leg;
  }

  /** `sent`: it was really asked, and not left to rest. */
  failed(candidate: Candidate, error: AppError, sent = true): void {
    const others = this.#waiting;
    const elsewhere = others.filter((other) => other.backend !== candidate.backend);
    const sameBackend = others.filter((other) => other.backend === candidate.backend);
    switch (error.code) {
      case 'context_too_long':
        this.#waiting = others.filter((other) => this.#isRoomier(other, candidate));
        return;
      case 'unauthorized':
      case 'quota_exceeded':
        this.#waiting = elsewhere;
        return;
      case 'rate_limited':
        this.#limited.push({ candidate, waitMs: Math.max(firstRetryWaitMs, error.retryAfterMs ?? rateLimitWaitMs) });
        break;
      case 'upstream_unavailable':
      case 'upstream_cut':
        if (sent) this.#mayRepeat(candidate, error);
        else this.#mayWait(candidate, error);
        break;
    }
    // What failed for a whole backend will hardly work for its other models.
    if (error.isRetryable) this.#waiting = [...elsewhere, ...sameBackend];
  }

  /** Puts those first that can continue an answer which has begun. */
  prefer(isFirst: (candidate: Candidate) => boolean): void {
    if (this.#again && !isFirst(this.#again.candidate) && this.#waiting.some(isFirst)) {
      this.#waiting = [...this.#waiting, this.#again.candidate];
      this.#again = null;
    }
    this.#waiting = [...this.#waiting.filter(isFirst), ...this.#waiting.filter((other) => !isFirst(other))];
  }

  #first(): Leg | null {
    const [candidate, ...others] = this.#waiting;
    if (!candidate) return null;
    this.#waiting = others;
    return { candidate, waitMs: 0, hasOthers: others.length > 0 };
  }

  #firstLimited(): Leg | null {
    if (this.#hasWaited) return null;
    this.#hasWaited = true;
    const waits = this.#limited.map(({ waitMs }) => waitMs);
    const waitMs = Math.min(...waits);
    if (waitMs > longestRateLimitWaitMs) return null;
    this.#waiting = this.#limited.map(({ candidate }) => candidate);
    const leg = this.#first();
    // Calls that were refused together should not come back together.
    return leg && { ...leg, waitMs: waitMs + Math.random() * Math.min(waitMs / 4, 250) };
  }

  /** One failure is an accident: the same candidate is asked once more, after a moment. */
  #mayRepeat(candidate: Candidate, error: AppError): void {
    const retries = this.#retries.get(candidate.backend) ?? 0;
    const waitMs = (error.retryAfterMs ?? 0) + firstRetryWaitMs * 2 ** retries * (0.5 + Math.random() / 2);
    const hasOthers = this.#waiting.some((other) => other.backend !== candidate.backend);
    if (retries >= this.#maxRetries(candidate.backend) || waitMs > longestRetryWaitMs) return;
    // Where nobody listens, a moment changes little.
    if (hasOthers && isUnreached(error)) return;
    this.#retries.set(candidate.backend, retries + 1);
    this.#again = { candidate, waitMs, hasOthers: this.#waiting.length > 0 };
  }

  /** One that rests is waited for, once, where there is nobody else. */
  #mayWait(candidate: Candidate, { retryAfterMs = 0 }: AppError): void {
    const hasOthers = this.#waiting.some((other) => other.backend !== candidate.backend);
    if (hasOthers || this.#hasRested || retryAfterMs > longestRetryWaitMs) return;
    this.#hasRested = true;
    const waitMs = retryAfterMs + firstRetryWaitMs * Math.random();
    this.#again = { candidate, waitMs, hasOthers: this.#waiting.length > 0 };
  }

  #isRoomier(other: Candidate, failed: Candidate): boolean {
    return candidateName(other) !== candidateName(failed) && this.#windowOf(other) > this.#windowOf(failed);
  }

  #windowOf({ backend, model }: Candidate): number {
    const models = this.#snapshot.backends.find(({ id }) => id === backend)?.models;
    return models?.find(({ id }) => id === model)?.contextWindowTokens ?? Number.POSITIVE_INFINITY;
  }
}
