import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { localPrincipal } from '../../src/principal.ts';
import { attemptsPerChunk, sealChunk } from '../../src/usage/chunks.ts';
import { percentiles } from '../../src/usage/percentiles.ts';
import { reportGroups } from '../../src/usage/report.ts';
import { attempt, type Books, openBooks, outcome } from './books.ts';
import { naiveReport, nearestRank } from './naive-report.ts';

const rowsOf = ({ database }: Pick<Books, 'database'>) =>
  database.read.selectFrom('attempt').selectAll().orderBy('sequence').execute();

const chunksOf = ({ database }: Pick<Books, 'database'>) =>
  database.read
    .selectFrom('attempt_chunk')
    .select(['first_sequence as first', 'last_sequence as last'])
    .orderBy('first_sequence')
    .execute();

/** One call from start to end. */
async function record({ ledger, clock }: Books): Promise<void> {
  await ledger.settleAttempt(await ledger.openAttempt(attempt({ reserveNanoUsd: 0 })), outcome());
  clock.advance(1);
}

describe('chunks', () => {
  it('are made while attempts are settled, one after the other, and never of calls under way', async () => {
    const books = await openBooks({ attemptsPerChunk: 4 });
    for (let calls = 0; calls < 9; calls += 1) await record(books);
    await books.ledger.drain();
    expect(await chunksOf(books)).toEqual([
      { first: 1, last: 4 },
      { first: 5, last: 8 },
    ]);
    const open = await books.ledger.openAttempt(attempt());
    for (let calls = 0; calls < 8; calls += 1) await record(books);
    await books.ledger.drain();
    expect(await chunksOf(books)).toHaveLength(2);
    await books.ledger.settleAttempt(open, outcome());
    expect(await sealChunk(books.database, 4)).toBe('sealed');
    expect(await chunksOf(books)).toHaveLength(3);
  });

  it('catch up at a start', async () => {
    const books = await openBooks();
    for (let calls = 0; calls < 7; calls += 1) await record(books);
    const next = await openBooks({ path: books.path, clock: books.clock, attemptsPerChunk: 3 });
    await next.ledger.recover(true);
    await next.ledger.drain();
    expect(await chunksOf(next)).toHaveLength(2);
  });

  it('are not kept waiting by a call that a dead process left open', async () => {
    const books = await openBooks({ attemptsPerChunk: 4 });
    const id = await books.ledger.openAttempt(attempt());
    await books.database.read.updateTable('attempt').set({ deadline_at_ms: 0 }).where('id', '=', id).execute();
    for (let calls = 0; calls < 4; calls += 1) await record(books);
    await books.ledger.drain();
    expect(await chunksOf(books)).toEqual([{ first: 1, last: 4 }]);
  });

  it('go when one of their rows is settled late, and come again', async () => {
    const books = await openBooks();
    const other = await openBooks({ path: books.path, clock: books.clock, attemptsPerChunk: 3 });
    await record(books);
    const late = await books.ledger.openAttempt(attempt({ reserveNanoUsd: 5 }));
    for (let calls = 0; calls < 4; calls += 1) await record(books);
    await other.ledger.recover(true);
    await other.ledger.drain();
    expect(await chunksOf(books)).toEqual([
      { first: 1, last: 3 },
      { first: 4, last: 6 },
    ]);
    await books.ledger.settleAttempt(late, outcome({ costNanoUsd: 77 }));
    expect(await chunksOf(books)).toEqual([{ first: 4, last: 6 }]);
    expect((await books.reports.report(0, books.clock.nowMs(), 'day')).tokenCostNanoUsd).toBe(5 * 250_000_000 + 77);
    expect(await sealChunk(books.database, 3)).toBe('sealed');
    expect(await sealChunk(books.database, 3)).toBe('nothing');
    expect(await chunksOf(books)).toHaveLength(2);
  });

  it('are all that a report reads of what they hold', async () => {
    const books = await openBooks({ attemptsPerChunk: 4 });
    for (let calls = 0; calls < 8; calls += 1) await record(books);
    await books.ledger.drain();
    await books.database.read.updateTable('attempt').set({ cost_nano_usd: 1 }).execute();
    const whole = await books.reports.report(0, books.clock.nowMs(), 'day');
    expect(whole.tokenCostNanoUsd).toBe(8 * 250_000_000);
    const part = await books.reports.report(books.clock.nowMs() - 5, books.clock.nowMs(), 'day');
    expect(part.tokenCostNanoUsd).toBe(4 * 250_000_000 + 1);
  });

  it('hold a few thousand attempts unless a test says otherwise', () => {
    expect(attemptsPerChunk).toBeGreaterThan(1_000);
  });
});

const step = fc.record({
  act: fc.constantFrom('call', 'call', 'call', 'call', 'open', 'settle', 'abandon', 'late', 'seal'),
  backend: fc.constantFrom('groq', 'gpu', 'ünïcode "quoted"'),
  model: fc.constantFrom('a', 'b,c'),
  principalId: fc.constantFrom('local', 'tok_1'),
  ordinal: fc.constantFrom(1, 1, 2),
  status: fc.constantFrom('ok' as const, 'ok' as const, 'error' as const, 'cancelled' as const),
  latencyMs: fc.oneof(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 2 ** 40 })),
  elapsedMs: fc.integer({ min: 0, max: 200_000 }),
  tokens: fc.option(fc.integer({ min: 0, max: 2 ** 33 })),
  costNanoUsd: fc.option(fc.integer({ min: 0, max: 2 ** 40 })),
  afterMs: fc.constantFrom(0, 1, 1, 60 * 60_000),
});

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

async function live(books: Books, other: Books, steps: Step[], chunkSize: number): Promise<void> {
  const open: string[] = [];
  const interrupted: string[] = [];
  /** The last request that was answered: a second answer to it may come. */
  let answered: { requestId?: string } = {};
  const settle = (id: string | undefined, of: Step) =>
    id === undefined
      ? undefined
      : books.ledger.settleAttempt(
          id,
          outcome({
            ...of,
            usage: of.tokens === null ? null : { ...noUsage, inputTokens: of.tokens, outputTokens: of.tokens },
            usageSource: of.tokens === null ? null : of.tokens % 2 === 0 ? 'provider' : 'estimate',
          }),
        );
  for (const of of steps) {
    books.clock.advance(of.afterMs);
    // Two connections of one process would wait for each other.
    await Promise.all([books.ledger.drain(), other.ledger.drain()]);
    if (of.act === 'call' || of.act === 'open') {
      const id = await books.ledger.openAttempt(
        attempt({
          ...of,
          ...(of.ordinal === 2 && answered),
          kind: of.backend === 'gpu' ? 'dedicated' : 'serverless',
          reserveNanoUsd: 0,
          principal: { ...localPrincipal, id: of.principalId },
          deadlineMs: 1e12,
        }),
      );
      if (of.ordinal === 2) answered = {};
      else if (of.act === 'call' && of.status === 'ok') answered = { requestId: id.slice(0, -2) };
      if (of.act === 'call') await settle(id, of);
      else open.push(id);
    } else if (of.act === 'settle') await settle(open.shift(), of);
    else if (of.act === 'abandon') {
      await other.ledger.recover(true);
      interrupted.push(...open.splice(0));
    } else if (of.act === 'late') await settle(interrupted.shift(), of);
    else await sealChunk(other.database, chunkSize);
  }
}

const noUsage = { cachedInputTokens: 0, reasoningTokens: 0 };

describe('any history', () => {
  it('is reported from chunks and rows as counting all rows by hand would', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 5, maxLength: 60 }),
        fc.integer({ min: 1, max: 7 }),
        fc.array(fc.tuple(fc.nat(), fc.nat()), { minLength: 3, maxLength: 3 }),
        async (steps, chunkSize, spans) => {
          const books = await openBooks({ attemptsPerChunk: chunkSize, dailyUsd: 1e6, monthlyUsd: 1e6 });
          const other = await openBooks({ path: books.path, clock: books.clock, attemptsPerChunk: chunkSize });
          await live(books, other, steps, chunkSize);
          await Promise.all([books.ledger.drain(), other.ledger.drain()]);
          const rows = await rowsOf(books);
          const times = [0, ...rows.map((row) => row.started_at_ms), books.clock.nowMs() + 1];
          const bounds = spans.map(([one, two]) =>
            [times[one % times.length] ?? 0, times[two % times.length] ?? 0].sort((low, high) => low - high),
          );
          for (const [index, groupBy] of reportGroups.entries()) {
            const [fromMs = 0, toMs = books.clock.nowMs() + 1] = bounds[index] ?? [];
            const found = await books.reports.report(fromMs, toMs, groupBy);
            expect(found).toMatchObject(naiveReport(rows, fromMs, toMs, groupBy));
          }
          await books.database.close();
          await other.database.close();
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('percentiles', () => {
  it('are exact however many there are, and however long they took', () => {
    const times = fc.array(fc.oneof(fc.nat(100), fc.integer({ min: 65_000, max: 2 ** 41 })), { maxLength: 40 });
    fc.assert(
      fc.property(fc.array(times, { maxLength: 5 }), fc.constantFrom(1, 700), (lists, repeat) => {
        const values = lists.flat();
        const many = Array.from({ length: repeat }, () => lists.map((list) => Float64Array.from(list))).flat();
        expect(percentiles(many)).toEqual({
          p50Ms: nearestRank(values, 50),
          p95Ms: nearestRank(values, 95),
          p99Ms: nearestRank(values, 99),
        });
      }),
    );
  });
});
