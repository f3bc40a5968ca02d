import { AppError, type ErrorCode } from '../errors.ts';
import type { AttemptReport } from './attempt.ts';
import { candidateName } from './types.ts';

/** Trying elsewhere cannot help, or must not happen. */
export function endsRequest(error: AppError): boolean {
  return error.code === 'cancelled' || error.code === 'deadline_exceeded' || error.code === 'content_filtered';
}

/**
 * One attempt, or one cause for all: that error. Several: one error that names each, and says when the first of them
 * may be asked again.
 */
export function failure(attempts: AttemptReport[]): AppError {
  const [first] = attempts;
  if (!first)
    return new AppError('deadline_exceeded', 'The time for this call was over before a model could be asked.');
  const asked = attempts.filter(({ sent }) => sent);
  const [firstAsked] = asked;
  if (!firstAsked && first.error) return first.error;
  const last = asked.at(-1)?.error;
  if (firstAsked && last && asked.every((attempt) => isSameFailure(attempt, firstAsked))) return last;
  const each = attempts
    .map((attempt) => `${candidateName(attempt)}: ${attempt.error?.message ?? 'failed'}`)
    .join('\n- ');
  const waits = attempts.flatMap((attempt) => attempt.error?.retryAfterMs ?? []);
  const retryAfterMs = waits.length > 0 ? Math.min(...waits) : undefined;
  return new AppError('all_attempts_failed', `Every backend failed.\n- ${each}\n`, {
    next:
      retryAfterMs === undefined
        ? 'Try again in a moment; `tandem doctor` checks keys and reachability.'
        : `Try again in ${Math.max(1, Math.ceil(retryAfterMs / 1000))} s.`,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

/** What is the caller's to mend, whoever says it. */
const callersFaults: readonly ErrorCode[] = ['upstream_rejected', 'context_too_long'];

function isSameFailure(one: AttemptReport, other: AttemptReport): boolean {
  const code = other.error?.code;
  if (code === undefined || one.error?.code !== code) return false;
  return callersFaults.includes(code) || candidateName(one) === candidateName(other);
}
