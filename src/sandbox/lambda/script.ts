import type { Account } from './account.ts';
import type { ScriptedAnswer } from './faults.ts';
import { Refusal, usualCode } from './refusal.ts';

/**
 * Plays the scripted answer for this request, if there is one, and waits as long as it says. Gives back the refusal to
 * send; undefined stands for the true answer.
 */
export async function playScript(
  account: Account,
  request: { method: string; path: string },
  moment: 'before' | 'afterCommit',
  closing: AbortSignal,
): Promise<Refusal | 'hang up' | undefined> {
  const script = takeScriptedAnswer(account, request, moment);
  if (!script) return undefined;
  const { status, code, body, retryAfterSeconds, delayMs, dropConnection } = script;
  if (delayMs) await account.clock.sleep(delayMs, closing);
  if (dropConnection) return 'hang up';
  if (status === undefined) return undefined;
  return new Refusal(code ?? usualCode(status), { status, body, retryAfterSeconds });
}

/** The first one that matches, used up by one. */
function takeScriptedAnswer(
  { faults }: Account,
  { method, path }: { method: string; path: string },
  moment: 'before' | 'afterCommit',
): ScriptedAnswer | undefined {
  const found = faults.nextResponses.find(({ match, afterCommit }) => {
    const [wantedMethod, pathPrefix = ''] = match.split(' ');
    const isMatch = (wantedMethod === '*' || wantedMethod === method) && path.startsWith(pathPrefix);
    return isMatch && afterCommit === (moment === 'afterCommit');
  });
  if (!found) return undefined;
  found.times -= 1;
  if (found.times === 0) faults.nextResponses.splice(faults.nextResponses.indexOf(found), 1);
  return found;
}
