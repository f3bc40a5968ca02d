import { AppError } from './errors.ts';

/** Says when nobody waits any longer. Every AbortSignal is one. */
export interface Cancellation {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/**
 * An AbortController and its signal in one, for what is made thousands of times a second: those of Node are event
 * targets, and cost more than reading a request does.
 */
export class Canceller implements Cancellation {
  aborted = false;
  reason: unknown;
  #listeners: readonly (() => void)[] = [];

  /** The first reason counts. */
  cancel(reason: AppError): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    for (const listener of this.#listeners) listener();
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners = [...this.#listeners, listener];
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners = this.#listeners.filter((known) => known !== listener);
  }
}

/** Why it was cancelled, as an AppError: our own reasons pass through, everything else is a cancellation. */
export function abortReason({ reason }: Cancellation): AppError {
  if (reason instanceof AppError) return reason;
  return new AppError('cancelled', 'The call was cancelled.', { cause: reason });
}

export function throwIfCancelled(signal: Cancellation): void {
  if (signal.aborted) throw abortReason(signal);
}

/** Rejects with the reason when it is cancelled before the time is over. */
export function pause(ms: number, signal: Cancellation): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      if (signal.aborted) reject(abortReason(signal));
      else resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}
