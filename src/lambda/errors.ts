import { AppError, type ErrorCode } from '../errors.ts';
import { describeBody, parseJson, parseRetryAfter } from '../http.ts';
import { errorSchema } from './schema.ts';

/**
 * Lambda's codes -> ours. Messages may change, codes may not; unknown codes are judged by their status. Where `next`
 * is null, trying again is all there is to do.
 */
const codes: Record<string, { code: ErrorCode; next: string | null }> = {
  'global/account-inactive': {
    code: 'forbidden',
    next: "Check the account's e-mail confirmation and payment method in Lambda's console.",
  },
  'global/forbidden': { code: 'forbidden', next: 'The key may not do this.' },
  'global/invalid-address': { code: 'forbidden', next: "Complete the billing address in Lambda's console." },
  'global/invalid-parameters': { code: 'invalid_input', next: 'Correct the value it names.' },
  'global/object-does-not-exist': {
    code: 'not_found',
    next: 'Check the name or id; the list_ tools show what there is.',
  },
  'global/not-found': { code: 'not_found', next: 'Check LAMBDA_API_BASE.' },
  'global/quota-exceeded': {
    code: 'quota_exceeded',
    next: "Ask Lambda to raise the account's quota, or terminate something.",
  },
  'global/duplicate': { code: 'duplicate_name', next: 'Choose another name.' },
  'global/conflict': { code: 'conflict', next: null },
  'global/internal-error': { code: 'upstream_unavailable', next: null },
  'instance-operations/launch/insufficient-capacity': {
    code: 'capacity_unavailable',
    next: 'Capacity comes and goes within minutes: try another region or type, or try again.',
  },
  'instance-operations/launch/file-system-in-wrong-region': {
    code: 'invalid_input',
    next: 'Launch in the region of the filesystem.',
  },
  'filesystems/filesystem-in-use': { code: 'conflict', next: 'Terminate the instances that mount it first.' },
  'firewall-rulesets/firewall-ruleset-in-use': { code: 'conflict', next: 'Terminate the instances that use it first.' },
};

/** Any error answer, JSON or not, as one of our errors. */
export function errorFromAnswer(
  status: number,
  retryAfter: string | string[] | undefined,
  body: string,
  keyOrigin: string,
  nowMs: number,
): AppError {
  const parsed = errorSchema.safeParse(parseJson(body));
  const wireCode = parsed.success ? parsed.data.error.code : null;
  const requestId = parsed.success && parsed.data.error.request_id ? `, request ${parsed.data.error.request_id}` : '';
  const said = [describeBody(body), parsed.success ? parsed.data.error.suggestion : null].filter(Boolean).join(' ');
  const happened = `Lambda Cloud: ${said.replace(/\.$/, '')} (HTTP ${status}${wireCode ? `, ${wireCode}` : ''}${requestId}).`;
  const retryAfterMs = parseRetryAfter(retryAfter, nowMs);
  const again = retryAfterMs === undefined ? 'Try again in a moment.' : `Try again in ${inWords(retryAfterMs)}.`;
  const options = { httpStatus: status, ...(retryAfterMs !== undefined && { retryAfterMs }) };

  if (status === 401 || wireCode === 'global/invalid-api-key') {
    const next = `Check the key in ${keyOrigin}; keys are made in Lambda's console under API keys.`;
    return new AppError('unauthorized', `Lambda Cloud refused the API key (HTTP ${status}).`, { next, ...options });
  }
  if (status === 429) {
    const next = `Another program may use the same account. ${again}`;
    return new AppError('rate_limited', 'Lambda Cloud limits the rate (HTTP 429).', { next, ...options });
  }
  const known = wireCode === null ? undefined : codes[wireCode];
  if (known) return new AppError(known.code, happened, { next: known.next ?? again, ...options });
  if (status >= 500 || wireCode?.startsWith('provider/')) {
    return new AppError('upstream_unavailable', happened, { next: again, ...options });
  }
  if (status === 403) {
    return new AppError('forbidden', happened, {
      next: 'A proxy or firewall in front of the API may have refused the call.',
      ...options,
    });
  }
  return new AppError('upstream_rejected', happened, options);
}

/**
 * A clear no: nothing was changed. Everything else (time-outs, 5xx, 429, unreadable answers, bugs of ours) may have
 * been carried out, and so may what Lambda calls an internal error or its provider's, whatever the status.
 */
export function isRefusal(error: unknown): boolean {
  if (!(error instanceof AppError) || error.code === 'upstream_unavailable') return false;
  const { httpStatus = 0 } = error;
  return httpStatus >= 300 && httpStatus < 500 && httpStatus !== 408 && httpStatus !== 429;
}

function inWords(ms: number): string {
  return ms < 120_000 ? `${Math.max(1, Math.ceil(ms / 1000))} s` : `${Math.ceil(ms / 60_000)} min`;
}
