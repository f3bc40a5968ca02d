import type { AppError, ErrorCode } from '../errors.ts';
import type { Redactor } from '../redactor.ts';

/** An error as OpenAI's clients expect it. Source: OpenAI API reference, error object. */
export interface OpenAiError {
  status: number;
  headers: Record<string, string>;
  body: { error: { message: string; type: string; param: null; code: string } };
}

/** Status of our own errors. What a provider refused of the caller's making keeps the provider's status. */
const statusByCode: Partial<Record<ErrorCode, number>> = {
  invalid_input: 400,
  context_too_long: 400,
  content_filtered: 400,
  upstream_rejected: 400,
  unauthorized: 401,
  forbidden: 403,
  read_only: 403,
  unknown_model: 404,
  unknown_backend: 404,
  not_found: 404,
  budget_exhausted: 429,
  rate_limited: 429,
  cancelled: 499,
  upstream_unavailable: 502,
  upstream_invalid: 502,
  upstream_cut: 502,
  answer_differs: 502,
  not_configured: 503,
  no_candidate: 503,
  all_attempts_failed: 503,
  overloaded: 503,
  database_locked: 503,
  database_unavailable: 503,
  database_read_only: 503,
  database_corrupt: 503,
  database_newer: 503,
  upstream_timeout: 504,
  deadline_exceeded: 504,
};

/** Until a 503 may be tried again, when nobody says how long. */
const usualWaitMs = 1_000;

/** Codes that OpenAI has its own words for; clients look for them. */
const openAiCodes: Partial<Record<ErrorCode, string>> = {
  context_too_long: 'context_length_exceeded',
  content_filtered: 'content_filter',
  unauthorized: 'invalid_api_key',
  unknown_model: 'model_not_found',
  budget_exhausted: 'insufficient_quota',
  rate_limited: 'rate_limit_exceeded',
};

/** Without the secrets that a provider may have echoed. */
export function toOpenAiError(error: AppError, redactor: Redactor): OpenAiError {
  const status = statusOf(error);
  const headers: Record<string, string> = {};
  const waitMs = error.retryAfterMs ?? (status === 503 && error.isRetryable ? usualWaitMs : undefined);
  if (waitMs !== undefined) headers['retry-after'] = String(Math.max(1, Math.ceil(waitMs / 1000)));
  // OpenAI's clients repeat every 429 and 5xx on their own; what cannot work should not come back at once.
  if (!error.isRetryable || error.code === 'deadline_exceeded') headers['x-should-retry'] = 'false';
  const message = redactor.scrub(error.text);
  return {
    status,
    headers,
    body: { error: { message, type: typeOf(status), param: null, code: codeOf(error, status) } },
  };
}

/** Statuses that tell the caller what is wrong with the request. */
const passedOn = [400, 404, 405, 413, 415, 422];

function codeOf({ code }: AppError, status: number): string {
  // The caller's own key is not the one that was refused.
  if (code === 'unauthorized' && status !== 401) return 'upstream_unauthorized';
  return openAiCodes[code] ?? code;
}

/** A key, balance or address that a provider refused is our owner's to mend: for the caller it is a 502. */
function statusOf(error: AppError): number {
  const fromProvider = error.httpStatus !== undefined;
  if (fromProvider && ['unauthorized', 'forbidden', 'quota_exceeded'].includes(error.code)) return 502;
  if (error.httpStatus !== undefined && error.httpStatus < 400) return 502;
  if (error.httpStatus !== undefined && passedOn.includes(error.httpStatus)) return error.httpStatus;
  return statusByCode[error.code] ?? 500;
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}
