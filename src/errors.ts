/**
 * One error class for everything a caller can do something about. Anything else that is thrown is a bug.
 */

/** Every code there is, and whether the same thing may work when tried again (later, or elsewhere). */
const retryableByCode = {
  invalid_input: false,
  config_invalid: false,
  not_configured: false,
  not_found: false,
  unknown_backend: false,
  unknown_model: false,
  duplicate_name: false,
  context_too_long: false,
  content_filtered: false,
  no_candidate: false,
  budget_exhausted: false,
  price_above_limit: false,
  confirmation_invalid: false,
  read_only: false,
  unauthorized: false,
  forbidden: false,
  quota_exceeded: false,
  conflict: true,
  capacity_unavailable: true,
  rate_limited: true,
  upstream_rejected: false,
  upstream_unavailable: true,
  upstream_invalid: true,
  upstream_timeout: true,
  upstream_cut: true,
  answer_differs: false,
  overloaded: true,
  internal: false,
  all_attempts_failed: true,
  cancelled: false,
  deadline_exceeded: true,
  database_locked: true,
  database_read_only: false,
  database_corrupt: false,
  database_newer: false,
  database_unavailable: false,
} as const;

export type ErrorCode = keyof typeof retryableByCode;

export interface AppErrorOptions {
  /** What the reader should do next, in one sentence; valid values where there are some. */
  next?: string;
  cause?: unknown;
  /** How long the other side asked us to wait, in milliseconds. */
  retryAfterMs?: number;
  /** The HTTP status behind it, where there was one. */
  httpStatus?: number;
  /** The scope that was missing, where one was. */
  scope?: string;
}

/** `message` says what happened; `next` says what to do about it. Neither ever holds a secret. */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly next: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly httpStatus: number | undefined;
  readonly scope: string | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.next = options.next;
    this.retryAfterMs = options.retryAfterMs;
    this.httpStatus = options.httpStatus;
    this.scope = options.scope;
  }

  get isRetryable(): boolean {
    return retryableByCode[this.code];
  }

  /** What happened, then what to do next: the form in which people and models read it. */
  get text(): string {
    const next = this.next ?? (this.isRetryable ? `Try again ${this.#when}.` : '');
    const gap = next === '' || this.message.endsWith('\n') ? '' : ' ';
    return this.message + gap + next;
  }

  get #when(): string {
    if (this.retryAfterMs === undefined) return 'in a moment';
    return `in ${Math.max(1, Math.ceil(this.retryAfterMs / 1000))} s`;
  }
}
