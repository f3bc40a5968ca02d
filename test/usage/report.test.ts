import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { usdToNano } from '../../src/money.ts';
import type { AttemptOutcome, NewAttempt } from '../../src/usage/ledger.ts';
import type { ReportGroup } from '../../src/usage/report.ts';
import { ManualClock } from '../support/clock.ts';
import { attempt, type Books, openBooks, outcome } from './books.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

const usage = (inputTokens: number, outputTokens: number) => ({
  inputTokens,
  outputTokens,
  cachedInputTokens: 0,
  reasoningTokens: 0,
});

/** One call from start to end, a millisecond apart from the next. */
async function record(
  { ledger, clock }: Books,
  about: Partial<NewAttempt> = {},
  came: Partial<AttemptOutcome> = {},
): Promise<void> {
  const id = await ledger.openAttempt(attempt({ reserveNanoUsd: 0, ...about }));
  await ledger.settleAttempt(id, outcome(came));
  clock.advance(1);
}

const report = ({ reports, clock }: Books, groupBy: ReportGroup = 'backend') =>
  reports.report(0, clock.nowMs() + 1, groupBy);

const dedicated = {
  kind: 'dedicated',
  backend: 'gpu',
  reserveNanoUsd: 0,
} as const satisfies Partial<NewAttempt>;
const gpuTime = { costNanoUsd: 0, costSource: 'instance_time' } as const satisfies Partial<AttemptOutcome>;
const failed = { status: 'error', costNanoUsd: 0, costSource: null } as const satisfies Partial<AttemptOutcome>;

/** A machine that has been active for an hour at 60 cents. */
async function runMachine({ instances, clock }: Books): Promise<void> {
  const intent = { intentId: 'm', name: 'tandem-m', instanceType: 'gpu_1x_a10', region: 'us-east-1' };
  await instances.openIntent({ ...intent, priceCentsPerHour: 60, leaseMs: 2 * hourMs, capMs: 2 * hourMs });
  await instances.launched('m', 'i-1');
  clock.advance(5 * minuteMs);
  const active = { intentId: 'm', instanceId: 'i-1', status: 'active', priceCentsPerHour: 60 };
  await instances.observe([{ ...active, firstHealthyAtMs: clock.nowMs() }], clock.nowMs());
  clock.advance(hourMs);
  await instances.terminateRequested(['i-1']);
}

describe('a report', () => {
  it('of an empty period has nothing in it, and nothing that is not known', async () => {
    const books = await openBooks();
    expect(await report(books)).toEqual({
      fromMs: 0,
      toMs: books.clock.nowMs() + 1,
      timeZone: 'UTC',
      groupBy: 'backend',
      requests: 0,
      answered: 0,
      errorRate: 0,
      inputTokens: 0,
      outputTokens: 0,
      tokenCostNanoUsd: 0,
      gpuCostNanoUsd: 0,
      gpuUpperNanoUsd: 0,
      gpuMinutes: 0,
      costPerRequestNanoUsd: null,
      latency: { p50Ms: null, p95Ms: null, p99Ms: null },
      shadow: { attempts: 0, costNanoUsd: 0, unknownCost: 0 },
      serverlessShare: null,
      dedicatedShare: null,
      rows: [],
      instances: [],
      unknownCost: [],
      estimatedUsage: 0,
      budget: await books.reports.budget(),
    });
  });

  it('sums tokens and costs of everything that ended', async () => {
    const books = await openBooks();
    await record(books, {}, { usage: usage(100, 20), costNanoUsd: 1_001 });
    await record(books, {}, { usage: usage(1, 2), costNanoUsd: 10 });
    await record(books, {}, { ...failed, usage: usage(50, 0), costNanoUsd: 5 });
    expect(await report(books)).toMatchObject({
      requests: 3,
      answered: 2,
      inputTokens: 151,
      outputTokens: 22,
      tokenCostNanoUsd: 1_016,
      costPerRequestNanoUsd: 508,
    });
  });

  it('keeps a sum exact far beyond 32 bits', async () => {
    const books = await openBooks();
    for (let calls = 0; calls < 3; calls += 1) await record(books, {}, { costNanoUsd: 3_000_000_000_001 });
    expect((await report(books)).tokenCostNanoUsd).toBe(9_000_000_000_003);
  });

  it('counts a request once however many attempts it took', async () => {
    const books = await openBooks();
    await record(books, { requestId: 'r', ordinal: 1, backend: 'groq' }, failed);
    await record(books, { requestId: 'r', ordinal: 2, backend: 'together' });
    const { requests, answered, errorRate, rows } = await report(books);
    expect({ requests, answered, errorRate }).toEqual({ requests: 1, answered: 1, errorRate: 0 });
    expect(rows.map(({ key, attempts, errorRate: rate }) => [key, attempts, rate])).toEqual([
      ['groq', 1, 1],
      ['together', 1, 0],
    ]);
  });

  it('counts a request once whose first answer was found wanting, with the time until the last one', async () => {
    const books = await openBooks();
    await record(books, { requestId: 'r', ordinal: 1, backend: 'groq' }, { elapsedMs: null, costNanoUsd: 100 });
    await record(books, { requestId: 'r', ordinal: 2, backend: 'together' }, { elapsedMs: 900, costNanoUsd: 1_000 });
    expect(await report(books)).toMatchObject({
      requests: 1,
      answered: 1,
      errorRate: 0,
      serverlessShare: 1,
      costPerRequestNanoUsd: 1_100,
      latency: { p50Ms: 900, p99Ms: 900 },
      rows: [
        { key: 'groq', attempts: 1, answered: 1 },
        { key: 'together', attempts: 1, answered: 1 },
      ],
    });
    expect((await report(books, 'day')).rows).toMatchObject([{ attempts: 2, answered: 1, costNanoUsd: 1_100 }]);
  });

  it('counts a request as answered by its first answer when the second one failed', async () => {
    const books = await openBooks();
    await record(books, { requestId: 'r', ordinal: 1 }, { elapsedMs: null });
    await record(books, { requestId: 'r', ordinal: 2 }, { ...failed, elapsedMs: 700 });
    expect(await report(books)).toMatchObject({ requests: 1, answered: 1, errorRate: 0, latency: { p50Ms: 700 } });
  });

  it('knows what a request cost only when both of its answers have a price', async () => {
    const books = await openBooks();
    const costs = [
      [null, null],
      [null, 5],
      [5, null],
      [40, 60],
    ];
    for (const [at, [one = 0, two = 0]] of costs.entries()) {
      await record(books, { requestId: `r${at}`, ordinal: 1 }, { costNanoUsd: one });
      await record(books, { requestId: `r${at}`, ordinal: 2 }, { costNanoUsd: two });
    }
    expect(await report(books)).toMatchObject({ answered: 4, tokenCostNanoUsd: 110, costPerRequestNanoUsd: 110 });
  });

  it('counts requests without an answer as failed, and cancelled ones not at all', async () => {
    const books = await openBooks();
    for (const status of ['ok', 'ok', 'ok', 'error', 'cancelled'] as const) await record(books, {}, { status });
    const { errorRate, rows } = await report(books);
    expect(errorRate).toBe(0.25);
    expect(rows).toMatchObject([{ attempts: 5, answered: 3, errorRate: 0.25 }]);
  });

  it('counts calls that an earlier process left open as failed', async () => {
    const books = await openBooks();
    await record(books);
    await books.ledger.openAttempt(attempt());
    await books.ledger.recover(true);
    expect(await report(books)).toMatchObject({ requests: 2, answered: 1, errorRate: 0.5, rows: [{ errorRate: 0.5 }] });
  });

  it('leaves calls under way out of sums, groups and failures', async () => {
    const books = await openBooks();
    await record(books, { backend: 'groq' }, { costNanoUsd: 7 });
    await books.ledger.openAttempt(attempt({ backend: 'together' }));
    const { answered, errorRate, tokenCostNanoUsd, rows, unknownCost } = await report(books);
    expect({ answered, errorRate, tokenCostNanoUsd }).toEqual({ answered: 1, errorRate: 0, tokenCostNanoUsd: 7 });
    expect(rows.map(({ key }) => key)).toEqual(['groq']);
    expect(unknownCost).toEqual([]);
  });

  it('holds what began in its period: from its first millisecond, and not at its last', async () => {
    const books = await openBooks();
    const startMs = books.clock.nowMs();
    for (let calls = 0; calls < 4; calls += 1) await record(books, {}, { costNanoUsd: 10 ** calls });
    expect((await books.reports.report(startMs + 1, startMs + 3, 'day')).tokenCostNanoUsd).toBe(110);
  });

  it('says which share of answers came from where', async () => {
    const books = await openBooks();
    for (let calls = 0; calls < 3; calls += 1) await record(books);
    await record(books, dedicated, gpuTime);
    await record(books, dedicated, { ...failed, ...gpuTime });
    expect(await report(books)).toMatchObject({ serverlessShare: 0.75, dedicatedShare: 0.25 });
  });

  it('names calls of unknown cost and keeps them out of the sums', async () => {
    const books = await openBooks();
    const unknown = { costNanoUsd: null, costSource: null } as const;
    await record(books, { backend: 'vllm', model: 'mystery' }, unknown);
    await record(books, { backend: 'vllm', model: 'mystery' }, { ...unknown, status: 'error' });
    await record(books, { backend: 'groq', model: 'small-8b' }, unknown);
    await record(books, { backend: 'groq', model: 'small-8b' }, { costNanoUsd: 30 });
    const { unknownCost, tokenCostNanoUsd } = await report(books);
    expect(unknownCost).toEqual([
      { backend: 'groq', model: 'small-8b', attempts: 1 },
      { backend: 'vllm', model: 'mystery', attempts: 2 },
    ]);
    expect(tokenCostNanoUsd).toBe(30);
  });

  it('counts calls whose tokens were estimated', async () => {
    const books = await openBooks();
    await record(books, {}, { usage: usage(1, 1), usageSource: 'provider' });
    await record(books, {}, { usage: usage(1, 1), usageSource: 'estimate' });
    await record(books, {}, { ...failed, usage: usage(1, 1), usageSource: 'estimate' });
    expect((await report(books)).estimatedUsage).toBe(2);
  });
});

describe('groups', () => {
  it('by backend, by model and by kind', async () => {
    const books = await openBooks();
    await record(books, { backend: 'groq', model: 'a' }, { costNanoUsd: 1, usage: usage(1, 2) });
    await record(books, { backend: 'groq', model: 'b' }, { costNanoUsd: 2, usage: usage(3, 4) });
    await record(books, { backend: 'together', model: 'a' }, { costNanoUsd: 4, usage: usage(5, 6) });
    await record(books, { ...dedicated, model: 'a' }, { ...gpuTime, usage: usage(7, 8) });
    const keys = async (groupBy: ReportGroup) =>
      (await report(books, groupBy)).rows.map((row) => [row.key, row.attempts, row.costNanoUsd, row.inputTokens]);
    expect(await keys('backend')).toEqual([
      ['gpu', 1, 0, 7],
      ['groq', 2, 3, 4],
      ['together', 1, 4, 5],
    ]);
    expect(await keys('model')).toEqual([
      ['gpu/a', 1, 0, 7],
      ['groq/a', 1, 1, 1],
      ['groq/b', 1, 2, 3],
      ['together/a', 1, 4, 5],
    ]);
    expect(await keys('kind')).toEqual([
      ['dedicated', 1, 0, 7],
      ['serverless', 3, 7, 9],
    ]);
  });

  it('by day of the time zone, also when clocks change', async () => {
    const clock = new ManualClock('2026-11-01T03:30:00Z');
    const books = await openBooks({ timeZone: 'America/New_York', clock });
    for (let hours = 0; hours < 27; hours += 1) {
      await record(books);
      clock.advance(hourMs - 1);
    }
    const { rows } = await report(books, 'day');
    expect(rows.map(({ key, attempts }) => [key, attempts])).toEqual([
      ['2026-10-31', 1],
      ['2026-11-01', 25],
      ['2026-11-02', 1],
    ]);
  });

  it('have percentiles of their own', async () => {
    const books = await openBooks();
    for (const latencyMs of [30, 10, 20]) await record(books, { backend: 'groq' }, { latencyMs });
    await record(books, { backend: 'together' }, { latencyMs: 5 });
    await record(books, { backend: 'vllm' }, { ...failed, latencyMs: 9_000 });
    expect((await report(books)).rows).toMatchObject([
      { key: 'groq', p50Ms: 20, p95Ms: 30, p99Ms: 30 },
      { key: 'together', p50Ms: 5, p95Ms: 5, p99Ms: 5 },
      { key: 'vllm', p50Ms: null, p95Ms: null, p99Ms: null },
    ]);
  });
});

describe('GPU minutes', () => {
  it('are listed by machine, with what they can have cost at most', async () => {
    const books = await openBooks();
    await runMachine(books);
    books.clock.advance(minuteMs);
    await books.instances.observe([], books.clock.nowMs());
    const { instances, gpuMinutes, gpuCostNanoUsd, gpuUpperNanoUsd } = await report(books);
    expect(instances).toEqual([
      {
        name: 'tandem-m',
        instanceId: 'i-1',
        instanceType: 'gpu_1x_a10',
        status: 'gone',
        minutes: 60,
        costNanoUsd: usdToNano(0.6),
        upperNanoUsd: usdToNano(0.66),
      },
    ]);
    expect({ gpuMinutes, gpuCostNanoUsd, gpuUpperNanoUsd }).toEqual({
      gpuMinutes: 60,
      gpuCostNanoUsd: usdToNano(0.6),
      gpuUpperNanoUsd: usdToNano(0.66),
    });
  });

  it('belong to the backend that is named after the machine, and are spread over its models by the time that they took', async () => {
    const books = await openBooks();
    await runMachine(books);
    const box = { ...dedicated, backend: 'tandem-m' };
    await record(books, { ...box, model: 'a' }, { ...gpuTime, latencyMs: 1_000 });
    await record(books, { ...box, model: 'b' }, { ...gpuTime, latencyMs: 2_000 });
    await record(books, { ...box, model: 'b' }, { ...failed, ...gpuTime, latencyMs: 60_000 });
    await record(books, { ...dedicated, model: 'a' }, { ...gpuTime, latencyMs: 9_000 });
    const shares = async (by: 'model' | 'backend' | 'kind' | 'day') =>
      (await report(books, by)).rows.map(({ key, gpuCostNanoUsd }) => [key, gpuCostNanoUsd]);
    expect(await shares('model')).toEqual([
      ['gpu/a', 0],
      ['tandem-m/a', usdToNano(0.2)],
      ['tandem-m/b', usdToNano(0.4)],
    ]);
    expect(await shares('backend')).toEqual([
      ['gpu', 0],
      ['tandem-m', usdToNano(0.6)],
    ]);
    expect(await shares('kind')).toEqual([['dedicated', usdToNano(0.6)]]);
    expect(await shares('day')).toEqual([['2026-11-23', usdToNano(0.6)]]);
  });

  it('that served nobody are a row of their own, so that the rows add up to the total', async () => {
    const books = await openBooks();
    await runMachine(books);
    await record(books);
    for (const by of ['backend', 'model', 'kind', 'day'] as const) {
      const { rows, gpuCostNanoUsd } = await report(books, by);
      expect(rows.reduce((sum, row) => sum + row.gpuCostNanoUsd, 0)).toBe(gpuCostNanoUsd);
      expect(gpuCostNanoUsd).toBe(usdToNano(0.6));
    }
    expect((await report(books)).rows.map(({ key, answered }) => [key, answered])).toEqual([
      ['groq', 1],
      ['tandem-m', 0],
    ]);
  });

  it('count for the period that they fell into', async () => {
    const books = await openBooks();
    await runMachine(books);
    const endMs = books.clock.nowMs();
    expect((await books.reports.report(endMs - 30 * minuteMs, endMs, 'day')).gpuMinutes).toBe(30);
    expect((await books.reports.report(endMs - hourMs, endMs - 30 * minuteMs, 'day')).gpuMinutes).toBe(30);
    books.clock.advance(hourMs);
    await books.instances.observe([], books.clock.nowMs());
    expect((await books.reports.report(endMs + 2 * hourMs, endMs + 3 * hourMs, 'day')).instances).toEqual([]);
  });

  it('of a launch that never happened are not listed', async () => {
    const books = await openBooks();
    const intent = { intentId: 'x', name: 'tandem-x', instanceType: 'gpu_1x_a10', region: 'us-east-1' };
    await books.instances.openIntent({ ...intent, priceCentsPerHour: 60, leaseMs: 2 * hourMs, capMs: 2 * hourMs });
    await books.instances.notLaunched('x');
    expect((await report(books)).instances).toEqual([]);
  });
});

describe('any set of calls', () => {
  const anyCall = fc.record({
    backend: fc.constantFrom('groq', 'together', 'gpu'),
    status: fc.constantFrom('ok', 'ok', 'ok', 'error', 'cancelled', 'interrupted', 'open'),
    latencyMs: fc.integer({ min: 0, max: 40 }),
    elapsedMs: fc.integer({ min: 0, max: 5_000 }),
    inputTokens: fc.option(fc.integer({ min: 0, max: 2 ** 33 })),
    costNanoUsd: fc.option(fc.integer({ min: 0, max: 2 ** 40 })),
  });

  /** The smallest value that at least `percent` of all do not exceed, by its definition. */
  function nearestRank(values: number[], percent: number): number | null {
    const reached = values.filter(
      (value) => 100 * values.filter((other) => other <= value).length >= percent * values.length,
    );
    return reached.length > 0 ? Math.min(...reached) : null;
  }

  const percentilesOf = (values: number[]) => ({
    p50Ms: nearestRank(values, 50),
    p95Ms: nearestRank(values, 95),
    p99Ms: nearestRank(values, 99),
  });

  it('is reported as counting it by hand would', async () => {
    const books = await openBooks();
    const nowMs = books.clock.nowMs();
    await fc.assert(
      fc.asyncProperty(fc.array(anyCall, { minLength: 1, maxLength: 120 }), async (calls) => {
        await books.database.write(async (queries) => {
          await queries.deleteFrom('attempt').execute();
          for (const [index, call] of calls.entries())
            await queries
              .insertInto('attempt')
              .values({
                id: `r${index}.1`,
                request_id: `r${index}`,
                ordinal: 1,
                day: '2026-11-23',
                backend: call.backend,
                kind: call.backend === 'gpu' ? 'dedicated' : 'serverless',
                model: 'm',
                priority: 'balanced',
                owner: 'test:1',
                started_at_ms: nowMs,
                deadline_at_ms: nowMs,
                status: call.status as 'ok',
                input_tokens: call.inputTokens,
                cost_nano_usd: call.costNanoUsd,
                reserved_nano_usd: 0,
                latency_ms: call.latencyMs,
                elapsed_ms: call.elapsedMs,
              })
              .execute();
        });
        const ended = calls.filter(({ status }) => status !== 'open');
        const answered = ended.filter(({ status }) => status === 'ok');
        const lost = ended.filter(({ status }) => status === 'error' || status === 'interrupted');
        const sum = (of: typeof calls, field: 'inputTokens' | 'costNanoUsd') =>
          of.reduce((total, call) => total + (call[field] ?? 0), 0);
        const found = await report(books);
        expect(found).toMatchObject({
          answered: answered.length,
          inputTokens: sum(ended, 'inputTokens'),
          tokenCostNanoUsd: sum(ended, 'costNanoUsd'),
          latency: percentilesOf(answered.map(({ elapsedMs }) => elapsedMs)),
        });
        expect(found.errorRate).toBe(lost.length === 0 ? 0 : lost.length / (lost.length + answered.length));
        expect(found.unknownCost.reduce((total, row) => total + row.attempts, 0)).toBe(
          ended.filter(({ costNanoUsd }) => costNanoUsd === null).length,
        );
        expect(found.rows.map(({ key }) => key)).toEqual([...new Set(ended.map(({ backend }) => backend))].sort());
        for (const row of found.rows) {
          const own = ended.filter(({ backend }) => backend === row.key);
          const times = own.filter(({ status }) => status === 'ok').map(({ latencyMs }) => latencyMs);
          expect(row).toMatchObject({
            attempts: own.length,
            answered: times.length,
            inputTokens: sum(own, 'inputTokens'),
            costNanoUsd: sum(own, 'costNanoUsd'),
            ...percentilesOf(times),
          });
        }
      }),
      { numRuns: 25 },
    );
  });
});
