import { AppError, abortReason } from '../../errors.ts';

/** Aborts a call when the next sign of life does not come in time, when its time is over, or when its caller leaves. */
export class Watch {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal;
  readonly #onCallerGone: () => void;
  readonly #who: string;
  readonly #startedAt = performance.now();
  readonly #whole: NodeJS.Timeout;
  #silence: NodeJS.Timeout | undefined;
  #silenceMs = 0;
  #what = '';

  constructor(caller: AbortSignal, wholeMs: number, who: string) {
    this.signal = this.#controller.signal;
    this.#caller = caller;
    this.#who = who;
    // One listener that is taken off again: `AbortSignal.any` on a signal that lives long keeps what it made.
    this.#onCallerGone = () => this.#controller.abort(abortReason(caller));
    if (caller.aborted) this.#onCallerGone();
    else caller.addEventListener('abort', this.#onCallerGone, { once: true });
    this.#whole = setTimeout(() => {
      this.#controller.abort(
        new AppError('deadline_exceeded', `${who} did not finish within ${Math.round(wholeMs)} ms.`),
      );
    }, wholeMs);
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
      const error = new AppError('upstream_timeout', `${this.#who} ${this.#what} within ${Math.round(withinMs)} ms.`);
      this.#controller.abort(error);
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
}
