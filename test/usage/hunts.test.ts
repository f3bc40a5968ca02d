import { describe, expect, it } from 'vitest';
import { HuntBook, restOfWish } from '../../src/usage/hunts.ts';
import { openBooks } from './books.ts';

async function openHunt() {
  const { database } = await openBooks();
  const book = new HuntBook(database);
  const wish = { ...restOfWish, types: ['gpu_1x_gh200'], regions: null, maxPriceCentsPerHour: null };
  const hunt = { id: 'hunt-1', deploymentId: 'd-1', ordinal: 1, wish, untilMs: 1_000, nowMs: 0 };
  await book.open(hunt);
  const claim = (intentId: string) => database.write((queries) => book.claim({ id: 'hunt-1' }, intentId, queries));
  return { book, hunt, claim };
}

describe('a hunt in the ledger', () => {
  it('is claimed by one launch only', async () => {
    const { book, claim } = await openHunt();
    await claim('first');
    await expect(claim('second')).rejects.toMatchObject({ code: 'conflict' });
    expect(await book.live()).toMatchObject([{ state: 'launching', intent_id: 'first' }]);
  });

  it('is not claimed after it was cancelled', async () => {
    const { book, claim } = await openHunt();
    await book.cancelFor('d-1', 10);
    await expect(claim('late')).rejects.toMatchObject({ code: 'conflict' });
    expect(await book.live()).toEqual([]);
  });

  it('is opened once for each machine of a deployment', async () => {
    const { book, hunt } = await openHunt();
    expect(await book.open({ ...hunt, id: 'hunt-2' })).toBe(false);
    expect(await book.open({ ...hunt, id: 'hunt-2', ordinal: 2 })).toBe(true);
  });

  it('is not moved by who has read a launch that another one has followed', async () => {
    const { book, claim } = await openHunt();
    await claim('first');
    const [stale] = await book.live();
    if (!stale) throw new Error('there is no hunt');
    expect(await book.move(stale, { state: 'hunting', intent_id: null })).toBe(true);
    await claim('second');
    expect(await book.move(stale, { state: 'hunting', intent_id: null })).toBe(false);
    expect(await book.live()).toMatchObject([{ state: 'launching', intent_id: 'second' }]);
  });

  it('is moved only from the state in which it was read', async () => {
    const { book } = await openHunt();
    const [row] = await book.live();
    if (!row) throw new Error('there is no hunt');
    expect(await book.move(row, { state: 'gave_up', ended_at_ms: 5 })).toBe(true);
    expect(await book.move(row, { state: 'cancelled', ended_at_ms: 6 })).toBe(false);
  });
});
