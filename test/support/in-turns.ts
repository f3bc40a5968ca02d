import { setImmediate } from 'node:timers/promises';

/**
 * Does all of it at once, but begins each in a turn of the event loop of its own: between two connections of one thread
 * nobody can wait for the ledger's lock.
 */
export async function inTurns<Item>(items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<void> {
  const all = items.map(async (item, turns) => {
    for (let turn = 0; turn < turns; turn += 1) await setImmediate();
    await work(item);
  });
  await Promise.all(all);
}
