import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { LambdaClient } from './client.ts';
import { isRefusal } from './errors.ts';

/** Terminations show in the list within seconds. */
const checkMs = 12_000;
const pollMs = 2_000;
const tries = 2;

const gone = ['terminating', 'terminated', 'preempted'];

/** Whether a machine in this status is on its way out, or out. */
export function isEnding(status: string): boolean {
  return gone.includes(status);
}

export type EndStatus = 'terminating' | 'terminated';

export interface TerminateParts {
  client: LambdaClient;
  /** The account's machines as the cloud lists them. */
  list(signal: AbortSignal): Promise<readonly { id: string | null; status: string }[]>;
  /** Told before they are asked for once more. */
  onAskAgain?(ids: readonly string[]): Promise<void>;
  clock: Clock;
  log: Log;
}

/**
 * Terminates and makes sure: an id that is missing from the answer, or still running in the list, is asked for once
 * more. Returns those that end; the others still run. Throws what Lambda clearly refused.
 */
export async function terminateSurely(
  parts: TerminateParts,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, EndStatus>> {
  const { client, log } = parts;
  let waiting = [...ids];
  const statuses = new Map<string, EndStatus>();
  for (let tried = 1; tried <= tries && waiting.length > 0; tried += 1) {
    let answered: string[] = [];
    if (tried > 1) await parts.onAskAgain?.(waiting);
    try {
      answered = (await client.terminate(waiting, signal)).filter(({ status }) => isEnding(status)).map(({ id }) => id);
      const missing = waiting.filter((id) => !answered.includes(id));
      if (missing.length > 0) log.warn({ missing }, 'Lambda Cloud did not confirm the termination of all instances');
    } catch (error) {
      if (isRefusal(error)) throw error;
      log.warn({ error }, 'the answer to a termination was lost; checking');
    }
    for (const [id, status] of await whichEnd(parts, waiting, answered, signal)) statuses.set(id, status);
    waiting = waiting.filter((id) => !statuses.has(id));
  }
  return statuses;
}

/**
 * Which of these the list shows as ending, or no longer shows; waits a little for those that it still shows running.
 * Where the list cannot be read, the answer to the termination has to do.
 */
async function whichEnd(
  { list, clock, log }: TerminateParts,
  ids: readonly string[],
  answered: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, EndStatus>> {
  const untilMs = clock.nowMs() + checkMs;
  const statuses = new Map<string, EndStatus>();
  for (;;) {
    const listed = await list(signal).catch((error: unknown) => {
      signal.throwIfAborted();
      log.warn({ error }, 'the list of instances could not be read after a termination');
      return null;
    });
    if (listed === null) {
      for (const id of answered) if (!statuses.has(id)) statuses.set(id, 'terminating');
      return statuses;
    }
    for (const id of ids) {
      const status = listed.find((instance) => instance.id === id)?.status;
      if (status === undefined || isEnding(status))
        statuses.set(id, status === 'terminating' ? 'terminating' : 'terminated');
    }
    if (statuses.size === ids.length || clock.nowMs() >= untilMs) return statuses;
    await clock.sleep(pollMs, signal);
  }
}
