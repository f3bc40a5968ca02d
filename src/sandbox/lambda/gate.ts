import type { Account } from './account.ts';
import { Refusal } from './refusal.ts';

/** What stands between a request and its route: the proxy's bouncer, the key, the pace and the state of the account. */

interface Visitor {
  method: string;
  /** Below the mount point, without the query. */
  path: string;
  authorization: string | undefined;
}

/** Cloudflare sends bare scripts away before the API sees them. */
export function refuseBareClient(userAgent: string | undefined): void {
  if (userAgent && !userAgent.startsWith('Python-urllib')) return;
  const message = 'Error 1010: the owner of this website has banned your access based on your browser signature.';
  throw new Refusal('global/forbidden', { status: 403, body: 'html', message });
}

/** An outage of the whole API, as its proxy shows it. */
export function refuseWhileDown({ faults, clock }: Account): void {
  if (!faults.apiDown && clock.nowMs() >= (faults.apiDownUntilMs ?? 0)) return;
  throw new Refusal('provider/internal-unavailable', { body: 'html' });
}

export function createGate(account: Account, apiKey: string): (visitor: Visitor) => void {
  const { faults, clock } = account;
  const allRequests = createLimiter();
  const launches = createLimiter();

  const isInPace = ({ method, path }: Visitor): boolean => {
    const { requestIntervalMs, burst, launchIntervalMs } = faults.pacing;
    const nowMs = clock.nowMs();
    if (!allRequests(nowMs, requestIntervalMs, burst)) return false;
    const isLaunch = method === 'POST' && path === '/instance-operations/launch';
    return !isLaunch || launches(nowMs, launchIntervalMs, 1);
  };

  return (visitor) => {
    if (!presentsKey(visitor.authorization, apiKey)) throw new Refusal('global/invalid-api-key');

    if (faults.pacing.enabled && !isInPace(visitor)) {
      const { body, retryAfterSeconds } = faults.pacing;
      throw new Refusal('sandbox/rate-limited', { body, retryAfterSeconds });
    }
    if (faults.accountInactive) throw new Refusal('global/account-inactive');
  };
}

/** `Bearer KEY`, `Basic base64(KEY:)`, or the plain `Basic KEY` that Lambda takes as well. */
function presentsKey(authorization: string | undefined, apiKey: string): boolean {
  const [scheme = '', credentials = ''] = authorization?.split(' ') ?? [];
  if (scheme.toLowerCase() === 'bearer') return credentials === apiKey;
  if (scheme.toLowerCase() !== 'basic') return false;
  return credentials === apiKey || Buffer.from(credentials, 'base64').toString() === `${apiKey}:`;
}

/**
 * Lets `burst` events through at once and one per interval in the long run. Keeps a single number: the moment until
 * which the allowance is spoken for. A refused event costs nothing.
 */
function createLimiter(): (nowMs: number, intervalMs: number, burst: number) => boolean {
  let spokenForUntilMs = 0;
  return (nowMs, intervalMs, burst) => {
    const startMs = Math.max(spokenForUntilMs, nowMs);
    if (startMs - nowMs > (burst - 1) * intervalMs) return false;
    spokenForUntilMs = startMs + intervalMs;
    return true;
  };
}
