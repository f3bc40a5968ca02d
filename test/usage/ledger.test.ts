import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { usdToNano } from '../../src/money.ts';
import type { NewAttempt } from '../../src/usage/ledger.ts';
import { owner } from '../../src/usage/owner.ts';
import { ManualClock } from '../support/clock.ts';
import { attempt, attemptRow, type Books, openBooks, outcome } from './books.ts';
import { itWithProcesses, startChild } from './child.ts';

const usd = usdToNano;
const minuteMs = 60_000;

/** Day budget in dollars: spent on tokens, reserved, left. */
async function day({ reports }: Books) {
  const budget = (await reports.budget()).day;
  return {
    spent: budget.tokensNanoUsd / 1e9,
    reserved: budget.reservedNanoUsd / 1e9,
    left: budget.leftNanoUsd / 1e9,
  };
}

async function refusal(work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(AppError);
  return error as AppError;
}

async function countRows({ database }: Books): Promise<number> {
  return (await database.read.selectFrom('attempt').select('id').execute()).length;
}

/** As if another process had written it. */
async function giveTo({ database }: Books, id: string, writer: string): Promise<void> {
  await database.read.updateTable('attempt').set({ owner: writer }).where('id', '=', id).execute();
}

describe('opening an attempt', () => {
  it('writes a row and takes its reservation from the budget before anything is sent', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const price = {
      inputNanoUsdPerMTok: 50_000_000,
      cachedInputNanoUsdPerMTok: 50_000_000,
      outputNanoUsdPerMTok: 80_000_000,
      source: 'snapshot' as const,
      asOf: '2026-07-02',
    };
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(3), price, deadlineMs: 1_000.5 }));
    expect(await day(books)).toEqual({ spent: 0, reserved: 3, left: 7 });
    expect(await attemptRow(books, id)).toMatchObject({
      status: 'open',
      day: '2026-11-23',
      owner,
      started_at_ms: books.clock.nowMs(),
      deadline_at_ms: books.clock.nowMs() + 1_001,
      ended_at_ms: null,
      cost_nano_usd: null,
      reserved_nano_usd: usd(3),
      input_price_nano_usd: 50_000_000,
      output_price_nano_usd: 80_000_000,
      price_as_of: '2026-07-02',
    });
  });

  it('adds up reservations of calls under way', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    for (const reserve of [1, 2.5, 0.000_000_001])
      await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(reserve) }));
    expect((await books.reports.budget()).day.reservedNanoUsd).toBe(3_500_000_001);
  });

  it('lets the last nano-dollar be reserved and not one more', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) - 1 }));
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: 1 }));
    const { code } = await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: 1 })));
    expect(code).toBe('budget_exhausted');
  });

  it('writes nothing when the budget does not suffice', async () => {
    const books = await openBooks({ dailyUsd: 2 });
    await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(2.01) })));
    expect(await countRows(books)).toBe(0);
    expect(await books.database.read.selectFrom('budget_period').selectAll().execute()).toEqual([]);
  });

  it('writes nothing when its row cannot be written', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const twice = attempt();
    await books.ledger.openAttempt(twice);
    await expect(books.ledger.openAttempt(twice)).rejects.toThrow('UNIQUE');
    expect(await day(books)).toMatchObject({ reserved: 1 });
  });

  it('says what is left, what it may cost, and when the budget resets in its time zone', async () => {
    const books = await openBooks({ dailyUsd: 2, timeZone: 'America/New_York' });
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(0.75) }));
    const error = await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1.5) })));
    expect(error.message).toBe(
      'The daily budget of $2.00 has $1.25 left; groq/small-8b may cost up to $1.50. Nothing was sent.',
    );
    expect(error.next).toContain('resets at 2026-11-24 00:00 America/New_York');
  });

  it('names the monthly budget when that is the one used up', async () => {
    const books = await openBooks({ dailyUsd: 10, monthlyUsd: 3 });
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(2) }));
    const error = await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(2) })));
    expect(error.message).toContain('The monthly budget of $3.00 has $1.00 left');
    expect(error.next).toContain('resets at 2026-12-01 00:00 UTC');
  });

  it('lets a month of days add up to the monthly limit', async () => {
    const clock = new ManualClock('2026-11-01T12:00:00Z');
    const books = await openBooks({ dailyUsd: 2, monthlyUsd: 5, clock });
    for (let days = 0; days < 2; days += 1) {
      const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(2) }));
      await books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(2) }));
      clock.advance(24 * 60 * minuteMs);
    }
    const error = await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(2) })));
    expect(error.message).toContain('The monthly budget of $5.00 has $1.00 left');
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) }));
  });

  it('has the whole budget again on the next day of the time zone', async () => {
    const clock = new ManualClock('2026-11-24T04:59:00Z');
    const books = await openBooks({ dailyUsd: 1, timeZone: 'America/New_York', clock });
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) }));
    await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) })));
    clock.advance(minuteMs);
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) }));
    expect((await books.reports.budget()).month.reservedNanoUsd).toBe(usd(2));
  });

  it('refuses everything that costs when the limit is 0', async () => {
    const books = await openBooks({ dailyUsd: 0 });
    expect((await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: 1 })))).code).toBe('budget_exhausted');
    expect((await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: null })))).code).toBe('budget_exhausted');
  });

  it('lets calls that cost nothing by themselves run when the limit is 0', async () => {
    const books = await openBooks({ dailyUsd: 0, monthlyUsd: 0 });
    const id = await books.ledger.openAttempt(attempt({ kind: 'dedicated', reserveNanoUsd: 0 }));
    expect(await attemptRow(books, id)).toMatchObject({ status: 'open', kind: 'dedicated' });
  });

  it('lets an unknown price pass only while something is left', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: null }));
    expect(await attemptRow(books, id)).toMatchObject({ reserved_nano_usd: 0, cost_nano_usd: null });
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) }));
    const error = await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: null })));
    expect(error.message).toContain('groq/small-8b may cost an unknown amount');
  });

  it('never lets 200 calls at once reserve more than the budget', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const calls = Array.from({ length: 200 }, () => attempt({ reserveNanoUsd: usd(0.3) }));
    const results = await Promise.allSettled(calls.map((call) => books.ledger.openAttempt(call)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(33);
    expect(await countRows(books)).toBe(33);
    expect(await day(books)).toEqual({ spent: 0, reserved: 9.9, left: 0.1 });
  });

  itWithProcesses('never lets three processes together reserve more than the budget', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const answers = await Promise.all(
      Array.from({ length: 3 }, () => {
        const calls = Array.from({ length: 40 }, () => attempt({ reserveNanoUsd: usd(0.3) }));
        return startAttempts(books, calls, 10).answer();
      }),
    );
    expect(answers.reduce((sum, { opened }) => sum + opened, 0)).toBe(33);
    expect(new Set(answers.flatMap(({ refused }) => refused))).toEqual(new Set(['budget_exhausted']));
    expect(await day(books)).toEqual({ spent: 0, reserved: 9.9, left: 0.1 });
  });

  itWithProcesses('takes the reservations of a killed process back when it needs them', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    const other = startAttempts(books, [attempt({ reserveNanoUsd: usd(1) })], 1);
    expect(await other.answer()).toMatchObject({ opened: 1 });
    await refusal(books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) })));
    await kill(other);
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) }));
    expect(await day(books)).toEqual({ spent: 0, reserved: 1, left: 0 });
  });
});

describe('settling an attempt', () => {
  it('books what it cost and gives its reservation back', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(3) }));
    await books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(0.25) }));
    expect(await day(books)).toEqual({ spent: 0.25, reserved: 0, left: 9.75 });
  });

  it('records what came of it', async () => {
    const books = await openBooks();
    const id = await books.ledger.openAttempt(attempt());
    books.clock.advance(400);
    await books.ledger.settleAttempt(
      id,
      outcome({
        status: 'error',
        errorCode: 'rate_limited',
        httpStatus: 429,
        finishReason: 'length',
        usage: { inputTokens: 20, cachedInputTokens: 5, outputTokens: 9, reasoningTokens: 4 },
        usageSource: 'provider',
        costNanoUsd: 77,
        costSource: 'provider',
      }),
    );
    expect(await attemptRow(books, id)).toMatchObject({
      status: 'error',
      ended_at_ms: books.clock.nowMs(),
      error_code: 'rate_limited',
      http_status: 429,
      finish_reason: 'length',
      input_tokens: 20,
      cached_input_tokens: 5,
      output_tokens: 9,
      reasoning_tokens: 4,
      usage_source: 'provider',
      cost_nano_usd: 77,
      cost_source: 'provider',
      first_token_ms: 100,
      latency_ms: 400,
      elapsed_ms: 500,
    });
  });

  it('books a cost beyond the reservation in full, and nothing is left rather than less than nothing', async () => {
    const books = await openBooks({ dailyUsd: 1 });
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(0.5) }));
    await books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(1.75) }));
    expect(await day(books)).toEqual({ spent: 1.75, reserved: 0, left: 0 });
  });

  it('gives the reservation back and books nothing when the cost is unknown', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const id = await books.ledger.openAttempt(attempt());
    await books.ledger.settleAttempt(id, outcome({ status: 'error', costNanoUsd: null, costSource: null }));
    expect(await day(books)).toEqual({ spent: 0, reserved: 0, left: 10 });
    expect((await attemptRow(books, id)).cost_nano_usd).toBeNull();
  });

  it('books the cost of a call with an unknown price when the provider tells it', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: null }));
    await books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(2), costSource: 'provider' }));
    expect(await day(books)).toEqual({ spent: 2, reserved: 0, left: 8 });
  });

  it('counts once when it is done twice', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const [id] = await Promise.all([
      books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(2) })),
      books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(2) })),
    ]);
    const settle = () => books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(0.5) }));
    await Promise.all([settle(), settle()]);
    await settle();
    expect(await day(books)).toEqual({ spent: 0.5, reserved: 2, left: 7.5 });
  });

  it('counts for the day and month on which the call began', async () => {
    const clock = new ManualClock('2026-11-30T23:59:00Z');
    const books = await openBooks({ clock });
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1) }));
    clock.advance(2 * minuteMs);
    await books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(0.5) }));
    const rows = await books.database.read.selectFrom('budget_period').selectAll().orderBy('period').execute();
    expect(rows).toEqual([
      { period: '2026-11', settled_nano_usd: usd(0.5), reserved_nano_usd: 0 },
      { period: '2026-11-30', settled_nano_usd: usd(0.5), reserved_nano_usd: 0 },
    ]);
  });

  it('does nothing for a row that is not there', async () => {
    const books = await openBooks();
    await books.ledger.settleAttempt('nothing.1', outcome());
    expect(await books.database.read.selectFrom('budget_period').selectAll().execute()).toEqual([]);
  });

  it('waits for a locked database and tries again', async () => {
    const { books, lock, release } = await lockedBooks();
    const id = await books.ledger.openAttempt(attempt());
    await lock();
    const settling = books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(0.5) }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await attemptRow(books, id)).status).toBe('open');
    await release();
    books.clock.advance(1_000);
    await settling;
    expect(await day(books)).toMatchObject({ spent: 0.5, reserved: 0 });
  });

  it('does not throw when the database stays locked, and leaves the row to the next start', async () => {
    const { books, lock, release } = await lockedBooks();
    const id = await books.ledger.openAttempt(attempt());
    await lock();
    const moving = setInterval(() => books.clock.advance(1_000), 5);
    await books.ledger.settleAttempt(id, outcome());
    clearInterval(moving);
    await release();
    expect((await attemptRow(books, id)).status).toBe('open');
    expect(await books.ledger.recover(true)).toBe(1);
    expect(await day(books)).toMatchObject({ spent: 0, reserved: 0 });
  });

  it('does not throw when the database is closed already', async () => {
    const books = await openBooks();
    const id = await books.ledger.openAttempt(attempt());
    await books.database.close();
    await expect(books.ledger.settleAttempt(id, outcome())).resolves.toBeUndefined();
  });

  it('does not throw when a value cannot be stored, and leaves the books as they were', async () => {
    const books = await openBooks();
    const id = await books.ledger.openAttempt(attempt());
    await books.ledger.settleAttempt(id, outcome({ latencyMs: 0.5 }));
    expect(await day(books)).toMatchObject({ spent: 0, reserved: 1 });
  });

  it('leaves the books equal to the rows after any mix of calls', async () => {
    const books = await openBooks({ dailyUsd: 1_000, monthlyUsd: 1_000 });
    const costs = [0, 1, 999, null, 5_000_000, 12_345_678_901];
    const work = Array.from({ length: 60 }, async (_, index) => {
      const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: index % 7 === 0 ? null : index * 1_000 }));
      if (index % 5 === 0) return;
      await books.ledger.settleAttempt(id, outcome({ costNanoUsd: costs[index % costs.length] ?? null }));
    });
    await Promise.all(work);
    const rows = await books.database.read.selectFrom('attempt').selectAll().execute();
    const open = rows.filter(({ status }) => status === 'open');
    const { tokensNanoUsd, reservedNanoUsd } = (await books.reports.budget()).month;
    expect(tokensNanoUsd).toBe(rows.reduce((sum, row) => sum + (row.cost_nano_usd ?? 0), 0));
    expect(reservedNanoUsd).toBe(open.reduce((sum, row) => sum + row.reserved_nano_usd, 0));
  });
});

describe('recovery', () => {
  itWithProcesses('settles what a killed process left open, at unknown cost, and gives its money back', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const other = startAttempts(books, [attempt({ reserveNanoUsd: usd(4) }), attempt({ reserveNanoUsd: usd(1) })], 10);
    const { owner: writer } = await other.answer();
    expect(await day(books)).toMatchObject({ reserved: 5 });
    await kill(other);
    books.clock.advance(30_000);
    expect(await books.ledger.recover()).toBe(2);
    expect(await day(books)).toEqual({ spent: 0, reserved: 0, left: 10 });
    const rows = await books.database.read.selectFrom('attempt').selectAll().execute();
    for (const row of rows)
      expect(row).toMatchObject({
        owner: writer,
        status: 'interrupted',
        cost_nano_usd: null,
        ended_at_ms: books.clock.nowMs(),
        latency_ms: 30_000,
      });
    expect(await books.ledger.recover()).toBe(0);
  });

  itWithProcesses('leaves the calls of a living process alone, also at a start', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const other = startAttempts(books, [attempt()], 10);
    await other.answer();
    expect(await books.ledger.recover(true)).toBe(0);
    expect(await day(books)).toMatchObject({ reserved: 1 });
  });

  it('takes a row for abandoned a minute after its deadline, whoever wrote it', async () => {
    const books = await openBooks();
    const id = await books.ledger.openAttempt(attempt({ deadlineMs: 2 * minuteMs }));
    books.clock.advance(3 * minuteMs);
    expect(await books.ledger.recover()).toBe(0);
    books.clock.advance(1);
    expect(await books.ledger.recover()).toBe(1);
    expect((await attemptRow(books, id)).status).toBe('interrupted');
  });

  it('leaves the calls of another computer alone until they are overdue', async () => {
    const books = await openBooks();
    const id = await books.ledger.openAttempt(attempt({ deadlineMs: 2 * minuteMs }));
    await giveTo(books, id, 'another-computer:999999999');
    expect(await books.ledger.recover(true)).toBe(0);
    books.clock.advance(3 * minuteMs + 1);
    expect(await books.ledger.recover()).toBe(1);
  });

  it('leaves its own calls alone while it runs', async () => {
    const books = await openBooks();
    await books.ledger.openAttempt(attempt());
    expect(await books.ledger.recover()).toBe(0);
  });

  it('takes rows of an earlier process with its own id at a start', async () => {
    const books = await openBooks();
    const id = await books.ledger.openAttempt(attempt());
    expect(await books.ledger.recover(true)).toBe(1);
    expect(await attemptRow(books, id)).toMatchObject({ status: 'interrupted', owner });
    expect(await day(books)).toMatchObject({ reserved: 0 });
  });

  it('does not touch settled calls', async () => {
    const books = await openBooks();
    const id = await books.ledger.openAttempt(attempt());
    await books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(0.5) }));
    books.clock.advance(60 * minuteMs);
    expect(await books.ledger.recover(true)).toBe(0);
    expect(await attemptRow(books, id)).toMatchObject({ status: 'ok', cost_nano_usd: usd(0.5) });
  });

  it('lets a call that was taken for abandoned book its cost, and gives nothing back twice', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(2) }));
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(3), deadlineMs: 60 * minuteMs }));
    books.clock.advance(4 * minuteMs);
    expect(await books.ledger.recover()).toBe(1);
    await books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(0.5) }));
    expect(await day(books)).toEqual({ spent: 0.5, reserved: 3, left: 6.5 });
    expect(await attemptRow(books, id)).toMatchObject({ status: 'ok', cost_nano_usd: usd(0.5) });
  });

  it('gives everything back once when two recoveries run at once', async () => {
    const books = await openBooks({ dailyUsd: 10 });
    for (let calls = 0; calls < 5; calls += 1) await books.ledger.openAttempt(attempt());
    await Promise.all([books.ledger.recover(true), books.ledger.recover(true)]);
    expect(await day(books)).toEqual({ spent: 0, reserved: 0, left: 10 });
  });
});

function startAttempts(books: Books, attempts: NewAttempt[], dailyUsd: number) {
  const limits = { dailyNanoUsd: usd(dailyUsd), monthlyNanoUsd: usd(100) };
  return startChild('attempts', { path: books.path, nowMs: books.clock.nowMs(), limits, attempts });
}

async function kill({ process }: ReturnType<typeof startChild>): Promise<void> {
  const ended = new Promise((resolve) => process.once('exit', resolve));
  process.kill('SIGKILL');
  await ended;
}

/** Books whose database another connection can lock, and which do not wait long for it. */
async function lockedBooks() {
  const books = await openBooks();
  const { database: holder } = await openBooks({ path: books.path });
  await sql`PRAGMA busy_timeout = 5`.execute(books.database.read);
  return {
    books,
    lock: () => sql`BEGIN IMMEDIATE`.execute(holder.read),
    release: () => sql`ROLLBACK`.execute(holder.read),
  };
}
