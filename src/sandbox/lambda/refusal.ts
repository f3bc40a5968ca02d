import { STATUS_CODES } from 'node:http';
import type { FastifyReply } from 'fastify';

interface KnownError {
  status: number;
  message: string;
  suggestion?: string;
}

/** Lambda's documented codes, in its own words. */
const knownErrors: Readonly<Record<string, KnownError>> = {
  'global/invalid-api-key': {
    status: 401,
    message: 'API key was invalid, expired, or deleted.',
    suggestion: 'Check your API key or create a new one, then try again.',
  },
  'global/forbidden': { status: 403, message: 'You are not permitted to do this.' },
  'global/account-inactive': {
    status: 403,
    message: 'Your account is inactive.',
    suggestion: 'Make sure you have verified your email address and have a valid payment method.',
  },
  'global/invalid-address': {
    status: 403,
    message: 'Your billing address is invalid.',
    suggestion: 'Make sure your billing address is valid.',
  },
  'global/invalid-parameters': { status: 400, message: 'Invalid request data.' },
  'global/object-does-not-exist': {
    status: 404,
    message: 'The specified object does not exist.',
    suggestion: 'Check the name or the ID and try again.',
  },
  'global/not-found': { status: 404, message: 'The requested resource was not found.' },
  'global/quota-exceeded': {
    status: 400,
    message: 'Quota exceeded.',
    suggestion: 'Contact Support to increase your quota.',
  },
  'global/duplicate': { status: 400, message: 'The object is a duplicate of an existing one.' },
  'global/conflict': { status: 409, message: 'The request conflicts with the current state of the resource.' },
  'global/internal-error': {
    status: 500,
    message: 'An internal server error occurred.',
    suggestion: 'Try again later. Contact Support if the problem persists.',
  },
  'instance-operations/launch/insufficient-capacity': {
    status: 400,
    message: 'Not enough capacity to fulfill launch request.',
    suggestion: 'Choose another region or instance type, or try again later.',
  },
  'instance-operations/launch/file-system-in-wrong-region': {
    status: 400,
    message: 'The filesystem is in another region than the instance.',
  },
  'filesystems/filesystem-in-use': { status: 400, message: 'Filesystem is mounted to one or more instances.' },
  'firewall-rulesets/firewall-ruleset-in-use': {
    status: 400,
    message: 'Firewall ruleset is in use by one or more instances.',
    suggestion: 'Terminate all instances that are using the ruleset before deleting it.',
  },
  'provider/internal-unavailable': { status: 503, message: 'Provider unavailable', suggestion: 'Try again shortly' },
  // Lambda documents no code for 429. This one is ours, so that clients have to go by the status.
  'sandbox/rate-limited': { status: 429, message: 'Too many requests.' },
};

interface RefusalOptions {
  status?: number;
  message?: string;
  body?: 'json' | 'empty' | 'html';
  retryAfterSeconds?: number | null;
}

/** Thrown wherever a request ends without success; the plugin turns it into the answer. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: string;
  readonly status: number;
  readonly suggestion: string | undefined;
  readonly body: 'json' | 'empty' | 'html';
  readonly retryAfterSeconds: number | null;

  constructor(code: string, options: RefusalOptions = {}) {
    const known = knownErrors[code];
    super(options.message ?? known?.message ?? 'Something went wrong.');
    this.code = code;
    this.status = options.status ?? known?.status ?? 500;
    this.suggestion = known?.suggestion;
    this.body = options.body ?? 'json';
    this.retryAfterSeconds = options.retryAfterSeconds ?? null;
  }
}

/** The documented code that goes with a status, for answers that were scripted by status alone. */
export function usualCode(status: number): string {
  if (status >= 500) return 'global/internal-error';
  const found = Object.entries(knownErrors).find(([, known]) => known.status === status);
  return found?.[0] ?? 'global/invalid-parameters';
}

/** Sets status and headers on the reply and returns the payload. `requestId` belongs to the late revision only. */
export function writeRefusal(reply: FastifyReply, refusal: Refusal, requestId: string | undefined): string {
  reply.code(refusal.status);
  if (refusal.retryAfterSeconds !== null) reply.header('retry-after', String(refusal.retryAfterSeconds));
  if (refusal.body === 'empty') return '';
  if (refusal.body === 'html') {
    reply.header('content-type', 'text/html; charset=utf-8');
    return htmlPage(refusal);
  }
  reply.header('content-type', 'application/json; charset=utf-8');
  const { code, suggestion } = refusal;
  return JSON.stringify({
    error: { code, message: `${refusal.message} (sandbox)`, suggestion, request_id: requestId },
  });
}

/** What the proxy in front of the API answers when it does not pass a request on. */
function htmlPage({ status, message }: Refusal): string {
  const title = `${status} ${STATUS_CODES[status] ?? 'Unknown'}`;
  return `<!DOCTYPE html>
<html lang="en"><head><title>${title} | Cloudflare</title></head>
<body><h1>${title}</h1><p>${message}</p><hr><p>Tandem sandbox, in the manner of Cloudflare</p></body></html>
`;
}
