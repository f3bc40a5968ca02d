import * as z from 'zod';
import { type Account, livingMachines } from './account.ts';
import { recordMachineEvent } from './audit.ts';
import type { EventNames } from './faults.ts';
import { type Machine, terminationAt, vanishingAt } from './machine.ts';

/** What happens to machines without a request of the customer. */
type Events = Record<keyof EventNames, readonly Machine[]>;

/** Throws a ZodError for a machine that does not exist. */
export function findEvents(account: Account, { vanish, terminateByOther }: EventNames): Events {
  return {
    vanish: vanish.flatMap((wanted) => findMachines(account, 'vanish', wanted)),
    terminateByOther: terminateByOther.flatMap((wanted) => findMachines(account, 'terminateByOther', wanted)),
  };
}

export function playEvents(account: Account, { vanish, terminateByOther }: Events): void {
  const nowMs = account.clock.nowMs();
  for (const machine of vanish) machine.termination = vanishingAt(machine, nowMs);
  for (const machine of terminateByOther.filter(({ termination }) => termination === null)) {
    machine.termination = terminationAt(nowMs, account.faults.terminate.durationMs, 'colleague');
    recordMachineEvent(account, null, machine, 'terminated');
  }
}

function findMachines(account: Account, event: keyof Events, wanted: string): Machine[] {
  const byId = account.machines.filter(({ id }) => id === wanted);
  const found = byId.length > 0 ? byId : livingMachines(account).filter(({ name }) => name === wanted);
  if (found.length > 0) return found;
  const message = `No machine has the id or the name "${wanted}".`;
  throw new z.ZodError([{ code: 'custom', path: [event], message, input: wanted }]);
}
