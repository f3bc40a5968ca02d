import { AppError } from '../errors.ts';

/** Desktop clients hang up after about 60 s; every call is over before that, with an answer that says so. */
const callDeadlineMs = 44_500;

/** The time limit of one call. It stands still while a person is being asked. */
export class CallDeadline {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #client: AbortSignal;
  readonly #onClientGone: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** `client` is the client's own signal: aborted when it cancels the call or hangs up. */
  constructor(client: AbortSignal) {
    this.signal = this.#controller.signal;
    this.#client = client;
    this.#onClientGone = () => this.cancel(new AppError('cancelled', 'The call was cancelled by the client.'));
    if (client.aborted) this.#onClientGone();
    client.addEventListener('abort', this.#onClientGone, { once: true });
    this.#start();
  }

  cancel(reason: AppError): void {
    this.#controller.abort(reason);
  }

  async paused<Result>(work: () => Promise<Result>): Promise<Result> {
    clearTimeout(this.#timer);
    try {
      return await work();
    } finally {
      this.#start();
    }
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#client.removeEventListener('abort', this.#onClientGone);
  }

  #start(): void {
    this.#timer = setTimeout(() => {
      this.cancel(
        new AppError('deadline_exceeded', `The call was not done within ${callDeadlineMs / 1000} s.`, {
          next: 'What was begun is recorded; list_gpu_instances and cost_report show where it stands. Try again.',
        }),
      );
    }, callDeadlineMs);
  }
}
