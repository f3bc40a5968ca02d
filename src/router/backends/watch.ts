import { AppError, abortReason } from '../../errors.ts';

/**
 * Ends a call when the next sign of life does not come in time, when its time is over, or when its caller leaves.
 * One per call, and cheap: no signal of its own, and one listener on the caller's that is taken off again.
 */
export class Watch {
  /** Why the call was ended; null: it was not. */
  reason: AppError | null = null;
  readonly #caller: AbortSignal;
  readonly #onCallerGone: () => void;
  readonly #who: string;
  readonly #startedAt = performance.now();
  readonly #whole: NodeJS.Timeout;
  #silence: NodeJS.Timeout | undefined;
  #silenceMs = 0;
  #what = '';
  #listener: ((reason: AppError) => void) | undefined;

  constructor(caller: AbortSignal, wholeMs: number, who: string) {
    this.#caller = caller;
    this.#who = who;
    this.#onCallerGone = () => this.#end(abortReason(caller));
    if (caller.aborted) this.#onCallerGone();
    else caller.addEventListener('abort', this.#onCallerGone, { once: true });
    this.#whole = setTimeout(
      () => this.#end(new AppError('deadline_exceeded', `${who} did not finish within ${Math.round(wholeMs)} ms.`)),
      wholeMs,
    );
  }

  /** Called once, at once when the call was ended already. */
  onAbort(listener: (reason: AppError) => void): void {
    this.#listener = listener;
    if (this.reason) listener(this.reason);
  }

  /** From now on. */
  expect(withinMs: number, what: string): void {
    this.#what = what;
    if (this.#silence && this.#silenceMs === withinMs) {
      this.#silence.refresh();
      return;
    }
    clearTimeout(this.#silence);
    this.#silenceMs = withinMs;
    this.#silence = setTimeout(() => {
      this.#end(new AppError('upstream_timeout', `${this.#who} ${this.#what} within ${Math.round(withinMs)} ms.`));
    }, withinMs);
  }

  /** From the start of the call. */
  expectSinceStart(withinMs: number, what: string): void {
    this.expect(Math.max(0, withinMs - (performance.now() - this.#startedAt)), what);
    this.#silenceMs = -1;
  }

  /** While it is the caller who is slow. */
  rest(): void {
    clearTimeout(this.#silence);
    this.#silence = undefined;
  }

  stop(): void {
    clearTimeout(this.#silence);
    clearTimeout(this.#whole);
    this.#caller.removeEventListener('abort', this.#onCallerGone);
  }

  #end(reason: AppError): void {
    if (this.reason) return;
    this.reason = reason;
    this.#listener?.(reason);
  }
}
