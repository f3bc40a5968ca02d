import { abortReason, type Cancellation } from '../../cancellation.ts';
import { AppError } from '../../errors.ts';

/** How late a limit may be noticed. */
const tickMs = 20;
/** The ticker rests when there was nothing to watch for so long. */
const restsAfterMs = 1_000;

/**
 * Ends a call when the next sign of life does not come in time, when its time is over, or when its caller leaves.
 * There is one for every call, and limits move with every piece of a stream: so they are numbers that one timer for all
 * looks at, and the caller's signal gets one listener that is taken off again.
 */
export class Watch {
  /** Why the call was ended; null: it was not. */
  reason: AppError | null = null;
  readonly #caller: Cancellation;
  readonly #onCallerGone: () => void;
  readonly #who: string;
  readonly #startedAt = performance.now();
  readonly #wholeMs: number;
  #silentAt = Number.POSITIVE_INFINITY;
  #silenceMs = 0;
  #what = '';
  #listener: ((reason: AppError) => void) | undefined;

  constructor(caller: Cancellation, wholeMs: number, who: string) {
    this.#caller = caller;
    this.#wholeMs = wholeMs;
    this.#who = who;
    this.#onCallerGone = () => this.#end(abortReason(caller));
    if (caller.aborted) this.#onCallerGone();
    else caller.addEventListener('abort', this.#onCallerGone);
    ticker.add(this);
  }

  /** Called once, at once when the call was ended already. */
  onAbort(listener: (reason: AppError) => void): void {
    this.#listener = listener;
    if (this.reason) listener(this.reason);
  }

  /** From now on. */
  expect(withinMs: number, what: string): void {
    this.#silentAt = performance.now() + withinMs;
    this.#silenceMs = withinMs;
    this.#what = what;
  }

  /** From the start of the call. */
  expectSinceStart(withinMs: number, what: string): void {
    this.expect(withinMs, what);
    this.#silentAt = this.#startedAt + withinMs;
  }

  /** While it is the caller who is slow. */
  rest(): void {
    this.#silentAt = Number.POSITIVE_INFINITY;
  }

  stop(): void {
    ticker.remove(this);
    // Whoever outlives the call must not hold on to all that the listener knows of it.
    this.#listener = undefined;
    this.#caller.removeEventListener('abort', this.#onCallerGone);
  }

  look(now: number): void {
    if (now >= this.#silentAt) this.#fail('upstream_timeout', this.#what, this.#silenceMs);
    else if (now >= this.#startedAt + this.#wholeMs) this.#fail('deadline_exceeded', 'did not finish', this.#wholeMs);
  }

  #fail(code: 'upstream_timeout' | 'deadline_exceeded', what: string, withinMs: number): void {
    this.#end(new AppError(code, `${this.#who} ${what} within ${Math.round(withinMs)} ms.`));
  }

  #end(reason: AppError): void {
    if (this.reason) return;
    this.reason = reason;
    this.#listener?.(reason);
  }
}

class Ticker {
  readonly #watches = new Set<Watch>();
  #timer: NodeJS.Timeout | undefined;
  #busyAt = 0;

  add(watch: Watch): void {
    this.#watches.add(watch);
    // A call keeps its connection open, and with it the process; this need not.
    this.#timer ??= setInterval(() => this.#tick(), tickMs).unref();
  }

  remove(watch: Watch): void {
    this.#watches.delete(watch);
  }

  #tick(): void {
    const now = performance.now();
    for (const watch of this.#watches) watch.look(now);
    if (this.#watches.size > 0) this.#busyAt = now;
    if (now - this.#busyAt < restsAfterMs) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

const ticker = new Ticker();
