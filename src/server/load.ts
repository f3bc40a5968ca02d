import { type Cancellation, Canceller } from '../cancellation.ts';
import { AppError } from '../errors.ts';

/** What those are told who are turned away. */
const retryAfterMs = 1_000;

export interface LoadLimits {
  requests: number;
  /** Of all bodies that are being worked on together. */
  bodyBytes: number;
}

/** One request that is being worked on. */
export interface Ticket {
  /** Aborted when the caller hangs up, or when Tandem cannot wait for the answer any longer. */
  readonly signal: Cancellation;
  cancel(reason: AppError): void;
  leave(): void;
}

/** What is being worked on. More than the limits is turned away at once: a queue would only make all of it late. */
export class Load {
  readonly #limits: LoadLimits;
  readonly #tickets = new Set<Ticket>();
  #bodyBytes = 0;
  #stopping = false;

  constructor(limits: LoadLimits) {
    this.#limits = limits;
  }

  get requests(): number {
    return this.#tickets.size;
  }

  get isStopping(): boolean {
    return this.#stopping;
  }

  /** From now on everything new is turned away. */
  stop(): void {
    this.#stopping = true;
  }

  cancelAll(reason: AppError): void {
    for (const ticket of this.#tickets) ticket.cancel(reason);
  }

  /** Throws `overloaded`. Call `leave` when the work is done. */
  enter(bodyBytes: number): Ticket {
    if (this.#stopping) throw new AppError('overloaded', 'Tandem is stopping.', { retryAfterMs });
    const fits = this.requests === 0 || this.#bodyBytes + bodyBytes <= this.#limits.bodyBytes;
    if (this.requests >= this.#limits.requests || !fits) {
      throw new AppError('overloaded', `Tandem is working on ${this.requests} requests and takes no more.`, {
        retryAfterMs,
      });
    }
    const signal = new Canceller();
    const ticket: Ticket = {
      signal,
      cancel: (reason) => signal.cancel(reason),
      leave: () => {
        if (this.#tickets.delete(ticket)) this.#bodyBytes -= bodyBytes;
      },
    };
    this.#tickets.add(ticket);
    this.#bodyBytes += bodyBytes;
    return ticket;
  }
}
