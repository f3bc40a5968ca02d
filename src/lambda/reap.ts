import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { LambdaClient } from './client.ts';
import { isRefusal } from './errors.ts';
import { oneLine } from './fleet-instance.ts';
import { capOf, inUtc, isOurs } from './lease.ts';
import type { Instance } from './schema.ts';
import { type EndStatus, isEnding, terminateSurely } from './terminate.ts';

export interface ReapOptions {
  /** Every machine that bears our tag, whatever its cap. */
  allManaged: boolean;
  dryRun: boolean;
}

/**
 * Ends machines by what their tags say and nothing else: no ledger, no state. Prints a line for each machine that bears
 * our tag. True: nothing that was to end still runs.
 */
export async function reap(
  parts: { client: LambdaClient; clock: Clock; log: Log; print: (line: string) => void },
  { allManaged, dryRun }: ReapOptions,
  signal: AbortSignal,
): Promise<boolean> {
  const { client, clock, print } = parts;
  const nowMs = clock.nowMs();
  const ours = (await client.listInstances(signal)).filter(({ tags, status }) => isOurs(tags) && !isEnding(status));
  const isDue = ({ tags }: Instance) => allManaged || (capOf(tags) ?? Number.POSITIVE_INFINITY) <= nowMs;
  const due = ours.filter(isDue);
  for (const instance of ours.filter((each) => !isDue(each)))
    print(`${describe(instance)}: left running, ${lifeOf(instance)}`);
  if (due.length === 0) print('Nothing to end.');
  if (dryRun) {
    for (const instance of due) print(`${describe(instance)}: would be ended, ${lifeOf(instance)}`);
    return due.length === 0;
  }
  const results = await endAll(parts, due, signal);
  for (const instance of due) print(`${describe(instance)}: ${results.get(instance.id)}, ${lifeOf(instance)}`);
  return due.every(({ id }) => results.get(id) === 'terminating' || results.get(id) === 'terminated');
}

/** All at once; and when that is refused, one by one: a machine that is gone already spoils the request of all. */
async function endAll(
  parts: { client: LambdaClient; clock: Clock; log: Log },
  due: readonly Instance[],
  signal: AbortSignal,
): Promise<Map<string, EndStatus | string>> {
  const list = (within: AbortSignal) => parts.client.listInstances(within);
  const end = (ids: readonly string[]) => terminateSurely({ ...parts, list }, ids, signal);
  const ids = due.map(({ id }) => id);
  const results = new Map<string, EndStatus | string>(ids.map((id) => [id, 'STILL RUNNING']));
  const take = (statuses: Map<string, EndStatus>) => {
    for (const [id, status] of statuses) results.set(id, status);
  };
  if (ids.length === 0) return results;
  try {
    take(await end(ids));
  } catch (error) {
    if (!isRefusal(error)) throw error;
    for (const id of ids) {
      await end([id]).then(take, (refusal: unknown) => {
        if (!(refusal instanceof AppError)) throw refusal;
        results.set(id, `STILL RUNNING (${refusal.message})`);
      });
    }
  }
  return results;
}

function describe({ id, name, type, region }: Instance): string {
  return `${oneLine(name ?? id)} (${id}, ${type.name} in ${region})`;
}

function lifeOf({ tags }: Instance): string {
  const capAtMs = capOf(tags);
  return capAtMs === null ? 'no cap in its tags' : `cap ${inUtc(capAtMs)}`;
}
