import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { usdToNano } from '../../src/money.ts';
import { attempt, attemptRow, type Books, openBooks, outcome } from './books.ts';
import { itWithProcesses, startChild } from './child.ts';

const usd = usdToNano;

async function rowsOf({ database }: Pick<Books, 'database'>) {
  return database.read.selectFrom('attempt').selectAll().orderBy('sequence').execute();
}

async function reservedNanoUsd({ reports }: Books): Promise<number> {
  return (await reports.budget()).day.reservedNanoUsd;
}

/** How many pages were committed since the file was opened; the log begins again after a thousand. */
async function committedPages({ database }: Books): Promise<number> {
  const { rows } = await sql<{ log: number }>`PRAGMA wal_checkpoint(PASSIVE)`.execute(database.read);
  return rows[0]?.log ?? 0;
}

describe('attempts that come in together', () => {
  it('are written together: 60 take far fewer pages than 60 one after the other', async () => {
    const [together, apart] = [
      await openBooks({ dailyUsd: 1_000, monthlyUsd: 1_000 }),
      await openBooks({ dailyUsd: 1_000, monthlyUsd: 1_000 }),
    ];
    await Promise.all(Array.from({ length: 60 }, () => together.ledger.openAttempt(attempt())));
    for (let calls = 0; calls < 60; calls += 1) await apart.ledger.openAttempt(attempt());
    expect(await committedPages(together)).toBeLessThan((await committedPages(apart)) / 5);
  });

  it('are there for every other connection when they are told so', async () => {
    const books = await openBooks({ dailyUsd: 1_000, monthlyUsd: 1_000 });
    const other = await openBooks({ path: books.path });
    const ids = await Promise.all(Array.from({ length: 20 }, () => books.ledger.openAttempt(attempt())));
    expect((await rowsOf(other)).map(({ id }) => id)).toEqual(ids);
    await Promise.all(ids.map((id) => books.ledger.settleAttempt(id, outcome())));
    expect((await rowsOf(other)).map(({ status }) => status)).toEqual(ids.map(() => 'ok'));
  });

  it('do not fall with one among them that cannot be written', async () => {
    const books = await openBooks({ dailyUsd: 1_000, monthlyUsd: 1_000 });
    const twice = attempt();
    await books.ledger.openAttempt(twice);
    const results = await Promise.allSettled(
      [attempt(), twice, attempt()].map((call) => books.ledger.openAttempt(call)),
    );
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await rowsOf(books)).toHaveLength(3);
    expect(await reservedNanoUsd(books)).toBe(usd(3));
  });

  it('are settled, and opened, beside one that cannot be settled', async () => {
    const books = await openBooks({ dailyUsd: 1_000, monthlyUsd: 1_000 });
    const ids = await Promise.all(Array.from({ length: 3 }, () => books.ledger.openAttempt(attempt())));
    await Promise.all([
      ...ids.map((id, index) => books.ledger.settleAttempt(id, outcome(index === 1 ? { latencyMs: 0.5 } : {}))),
      books.ledger.openAttempt(attempt()),
    ]);
    expect((await rowsOf(books)).map(({ status }) => status)).toEqual(['ok', 'open', 'ok', 'open']);
    expect(await reservedNanoUsd(books)).toBe(usd(2));
    expect((await books.reports.budget()).day.tokensNanoUsd).toBe(usd(0.5));
  });

  it('may spend what a call that ends in the same moment gives back', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) }));
    const [, next] = await Promise.all([
      books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(0.25) })),
      books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(0.75) })),
    ]);
    expect(await attemptRow(books, next)).toMatchObject({ status: 'open' });
  });

  it('are refused one by one: a small call fits where a large one does not', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    const results = await Promise.allSettled(
      [0.9, 0.2, 0.1, 0].map((amount) => books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(amount) }))),
    );
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
  });

  itWithProcesses('hold to the budget beside another process that writes as much', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const calls = () => Array.from({ length: 100 }, () => attempt({ reserveNanoUsd: usd(0.07) }));
    const limits = { dailyNanoUsd: usd(10), monthlyNanoUsd: usd(100) };
    const other = startChild('attempts', { path: books.path, nowMs: books.clock.nowMs(), limits, attempts: calls() });
    const own = await Promise.allSettled(calls().map((call) => books.ledger.openAttempt(call)));
    const { opened } = await other.answer();
    expect(own.filter(({ status }) => status === 'fulfilled').length + opened).toBe(142);
    expect(await rowsOf(books)).toHaveLength(142);
    expect(await reservedNanoUsd(books)).toBe(142 * usd(0.07));
  });
});

describe('what a call may still spend', () => {
  const isOpened = ({ ledger }: Books, amountUsd: number) =>
    ledger.openAttempt(attempt({ reserveNanoUsd: usd(amountUsd) })).then(
      () => true,
      () => false,
    );
  const hour = { leaseMs: 60 * 60_000, capMs: 60 * 60_000 };
  const machine = { intentId: 'i', name: 'm', instanceType: 'gpu_1x_a10', region: 'us-east-1', ...hour };

  it('is known to the last cent over many calls', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    for (let calls = 0; calls < 5; calls += 1) expect(await isOpened(books, 0.2)).toBe(true);
    expect(await isOpened(books, 0.01)).toBe(false);
  });

  it('is less at once by what another process has spent between two calls', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    const other = await openBooks({ path: books.path, clock: books.clock });
    expect(await isOpened(books, 0.4)).toBe(true);
    expect(await isOpened(other, 0.4)).toBe(true);
    expect(await isOpened(books, 0.4)).toBe(false);
  });

  it('is less by a machine that was launched between two calls', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    expect(await isOpened(books, 0.2)).toBe(true);
    await books.instances.openIntent({ ...machine, priceCentsPerHour: 75 });
    expect(await isOpened(books, 0.1)).toBe(false);
  });

  it('is less with every hour of a machine that outlives its lease', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    await books.instances.openIntent({ ...machine, priceCentsPerHour: 400 });
    await books.instances.launched('i', 'i-1');
    expect(await isOpened(books, 0.1)).toBe(true);
    books.clock.advance(2 * 60 * 60_000);
    expect(await isOpened(books, 5)).toBe(false);
  });

  it('is all of it again on the next day', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    expect(await isOpened(books, 0.9)).toBe(true);
    books.clock.advance(24 * 60 * 60_000);
    expect(await isOpened(books, 0.9)).toBe(true);
  });

  it('is not less by what could not be written', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    const twice = attempt({ reserveNanoUsd: usd(0.4) });
    await books.ledger.openAttempt(twice);
    await expect(books.ledger.openAttempt(twice)).rejects.toThrow();
    expect(await isOpened(books, 0.6)).toBe(true);
  });
});

describe('draining', () => {
  it('waits for everything that was handed over', async () => {
    const books = await openBooks({ dailyUsd: 1_000, monthlyUsd: 1_000 });
    const ids = await Promise.all(Array.from({ length: 300 }, () => books.ledger.openAttempt(attempt())));
    for (const id of ids) void books.ledger.settleAttempt(id, outcome());
    await books.ledger.drain();
    expect((await rowsOf(books)).filter(({ status }) => status !== 'ok')).toEqual([]);
  });

  it('is over at once when there is nothing to wait for', async () => {
    const { ledger } = await openBooks();
    await ledger.drain();
  });
});

describe('what is left', () => {
  it('follows every booking of this process', async () => {
    const { ledger } = await openBooks({ dailyUsd: 10, monthlyUsd: 8 });
    expect(await ledger.leftNanoUsd()).toBe(usd(8));
    const id = await ledger.openAttempt(attempt({ reserveNanoUsd: usd(3) }));
    expect(await ledger.leftNanoUsd()).toBe(usd(5));
    await ledger.settleAttempt(id, outcome({ costNanoUsd: usd(1) }));
    expect(await ledger.leftNanoUsd()).toBe(usd(7));
  });

  it('is never less than nothing, and comes back from below nothing', async () => {
    const { ledger } = await openBooks({ dailyUsd: 1 });
    const ids = [await ledger.openAttempt(attempt({ reserveNanoUsd: usd(0.5) }))];
    ids.push(await ledger.openAttempt(attempt({ reserveNanoUsd: usd(0.5) })));
    await ledger.settleAttempt(ids[0] ?? '', outcome({ costNanoUsd: usd(0.75) }));
    expect(await ledger.leftNanoUsd()).toBe(0);
    await ledger.settleAttempt(ids[1] ?? '', outcome({ costNanoUsd: 0 }));
    expect(await ledger.leftNanoUsd()).toBe(usd(0.25));
  });

  it('takes in what others spend after a moment', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const other = await openBooks({ path: books.path, clock: books.clock });
    await books.ledger.leftNanoUsd();
    await other.ledger.openAttempt(attempt({ reserveNanoUsd: usd(4) }));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await books.ledger.leftNanoUsd()).toBe(usd(6));
  });

  it('is whole again on the next day', async () => {
    const { ledger, clock } = await openBooks({ dailyUsd: 10 });
    await ledger.openAttempt(attempt({ reserveNanoUsd: usd(4) }));
    clock.advance(24 * 60 * 60_000);
    expect(await ledger.leftNanoUsd()).toBe(usd(10));
  });

  it('takes in a launch at once', async () => {
    const { ledger, instances } = await openBooks({ dailyUsd: 10 });
    await ledger.leftNanoUsd();
    const hour = { leaseMs: 60 * 60_000, capMs: 60 * 60_000 };
    const machine = { name: 'm', instanceType: 'gpu_1x_a10', region: 'us-east-1', priceCentsPerHour: 75, ...hour };
    await instances.openIntent({ intentId: 'i', ...machine });
    expect(await ledger.leftNanoUsd()).toBe(usd(9.25));
  });
});
