import { randomUUID } from 'node:crypto';
import type { FastifyError } from 'fastify';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';

/** What Fastify itself refuses, in our words. */
const refusals: Record<string, { code: 'invalid_input'; message: string; httpStatus: number; next: string }> = {
  FST_ERR_CTP_BODY_TOO_LARGE: {
    code: 'invalid_input',
    message: 'The body is too large.',
    httpStatus: 413,
    next: 'Send less, or raise server.maxBodyBytes in tandem.yaml.',
  },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: 'invalid_input',
    message: 'The body is not JSON.',
    httpStatus: 415,
    next: 'Send it with content-type application/json.',
  },
};

/** Anything that was thrown as an AppError. What is none is a bug: the caller gets an id, the log the rest. */
export function toAppError(error: unknown, log: Log): AppError {
  if (error instanceof AppError) return error;
  const { code, statusCode, message = '' } = error as Partial<FastifyError>;
  const refusal = code === undefined ? undefined : refusals[code];
  if (refusal) return new AppError(refusal.code, refusal.message, refusal);
  if (code?.startsWith('FST_ERR') && statusCode !== undefined && statusCode < 500)
    return new AppError('invalid_input', `${message}.`, { httpStatus: statusCode });
  const incident = randomUUID().slice(0, 8);
  log.error({ error, incident }, 'unexpected failure');
  return new AppError('internal', `Something unexpected went wrong in Tandem (incident ${incident}).`, {
    next: 'Its log has the details under that id.',
  });
}
