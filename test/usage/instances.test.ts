import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { instanceCostNano, usdToNano } from '../../src/money.ts';
import { type InstanceRow, instanceCost } from '../../src/usage/instance-cost.ts';
import { owner } from '../../src/usage/owner.ts';
import { ManualClock } from '../support/clock.ts';
import { bareInstance } from '../support/instance-row.ts';
import { attempt, type Books, type BooksOptions, openBooks } from './books.ts';

const secondMs = 1_000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

const machine = {
  intentId: 'intent-1',
  name: 'tandem-1',
  instanceType: 'gpu_1x_a10',
  region: 'us-east-1',
  priceCentsPerHour: 60,
  leaseMs: hourMs,
  capMs: dayMs,
};

/** A machine's books, and the cloud's lists as short words: `see('active')`, `see()` when it is not listed. */
async function openLife(options: BooksOptions = {}) {
  const books = await openBooks(options);
  const { clock, instances } = books;
  const rowOf = (intentId: string) =>
    books.database.read.selectFrom('instance').selectAll().where('intent_id', '=', intentId).executeTakeFirstOrThrow();
  return {
    books,
    clock,
    instances,
    row: () => rowOf(machine.intentId),
    rowOf,
    /** The cloud says that the machine became healthy just now, unless told otherwise. */
    see: (status?: string, listedAtMs = clock.nowMs(), firstHealthyAtMs: number | null = clock.nowMs()) => {
      const { intentId, priceCentsPerHour } = machine;
      const sighting = { intentId, instanceId: 'i-1', priceCentsPerHour, firstHealthyAtMs };
      return instances.observe(status === undefined ? [] : [{ ...sighting, status }], listedAtMs);
    },
    cost: async () => instanceCost(await rowOf(machine.intentId), 0, clock.nowMs(), clock.nowMs()),
    launch: async () => {
      await instances.openIntent(machine);
      await instances.launched(machine.intentId, 'i-1');
    },
  };
}

async function left({ reports }: Books): Promise<number> {
  return (await reports.budget()).day.leftNanoUsd / 1e9;
}

describe('the start of billing', () => {
  it('is the moment at which a watched machine is first seen active', async () => {
    const { launch, see, row, clock } = await openLife();
    await launch();
    clock.advance(10_000);
    await see('booting', clock.nowMs(), null);
    clock.advance(10_000);
    await see('active', clock.nowMs(), null);
    expect((await row()).first_active_at_ms).toBe(clock.nowMs());
  });

  it('is the last look when nobody looked for a while, so that no minute is missing', async () => {
    const { launch, see, row, clock } = await openLife();
    await launch();
    const launchedAtMs = clock.nowMs();
    clock.advance(hourMs);
    await see('active', clock.nowMs(), null);
    expect((await row()).first_active_at_ms).toBe(launchedAtMs);
  });

  it('is what the cloud says, where it says it', async () => {
    const { launch, see, row, clock } = await openLife();
    await launch();
    const healthyAtMs = clock.nowMs() + 4 * minuteMs;
    clock.advance(hourMs);
    await see('active', clock.nowMs(), healthyAtMs);
    expect((await row()).first_active_at_ms).toBe(healthyAtMs);
  });

  it('comes with the price that the cloud bills, should it differ from the plan', async () => {
    const { books, launch, row, clock } = await openLife();
    await launch();
    const sighting = { intentId: machine.intentId, instanceId: 'i-1', status: 'active', firstHealthyAtMs: null };
    await books.instances.observe([{ ...sighting, priceCentsPerHour: 500 }], clock.nowMs());
    expect((await row()).price_cents_per_hour).toBe(500);
  });
});

describe('an intent', () => {
  it('is written with its lease reserved before anything is sent', async () => {
    const { books, instances, row, clock } = await openLife({ dailyUsd: 10 });
    await instances.openIntent(machine);
    expect(await row()).toMatchObject({
      status: 'intent',
      instance_id: null,
      owner,
      requested_at_ms: clock.nowMs(),
      launched_at_ms: null,
      reserved_nano_usd: usdToNano(0.6),
      lease_expires_at_ms: clock.nowMs() + hourMs,
      lease_cap_at_ms: clock.nowMs() + dayMs,
    });
    expect(await left(books)).toBe(9.4);
  });

  it('is refused, and not written, when its lease does not fit into the budget', async () => {
    const { instances } = await openLife({ dailyUsd: 0.59 });
    await expect(instances.openIntent(machine)).rejects.toMatchObject({
      code: 'budget_exhausted',
      message:
        'The daily budget of $0.59 has $0.59 left; a lease of 1 h of gpu_1x_a10 may cost $0.60 of it. Nothing was done.',
      next: expect.stringMatching(/^A lease of 0\.9 h would fit\./),
    });
    expect(await instances.known()).toEqual([]);
  });

  it('is refused to all but one when several want the last of the budget', async () => {
    const { instances } = await openLife({ dailyUsd: 1 });
    const intents = ['a', 'b', 'c'].map((intentId) => instances.openIntent({ ...machine, intentId }));
    const results = await Promise.allSettled(intents);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
  });

  it('gives its lease back when nothing was launched', async () => {
    const { books, instances } = await openLife({ dailyUsd: 10 });
    await instances.openIntent(machine);
    await instances.notLaunched(machine.intentId);
    expect(await left(books)).toBe(10);
    expect(await instances.live()).toEqual([]);
  });

  it('keeps its lease while nobody knows what came of it', async () => {
    const { books, instances, clock } = await openLife({ dailyUsd: 10 });
    await instances.openIntent(machine);
    await instances.unconfirmed(machine.intentId);
    clock.advance(10 * minuteMs);
    expect(await left(books)).toBe(9.4);
    expect(await instances.live()).toMatchObject([{ status: 'unconfirmed' }]);
  });

  it('is not given up by a list that does not show it', async () => {
    const { instances, see, row, clock } = await openLife();
    await instances.openIntent(machine);
    clock.advance(2 * hourMs);
    await see();
    expect(await row()).toMatchObject({ status: 'intent', gone_at_ms: null });
  });

  it('becomes a machine when a list shows it before the answer came', async () => {
    const { instances, see, row, clock } = await openLife();
    await instances.openIntent(machine);
    await instances.unconfirmed(machine.intentId);
    clock.advance(minuteMs);
    await see('booting');
    expect(await row()).toMatchObject({ status: 'booting', instance_id: 'i-1', launched_at_ms: clock.nowMs() });
  });

  it('that was given up becomes a machine again when it turns up late', async () => {
    const { instances, see, row, clock } = await openLife();
    await instances.openIntent(machine);
    await instances.notLaunched(machine.intentId);
    clock.advance(20 * minuteMs);
    await see('active');
    clock.advance(30 * minuteMs);
    expect(await row()).toMatchObject({ status: 'active', gone_at_ms: null });
    expect(await instances.live()).toHaveLength(1);
    expect(await row()).toMatchObject({ name: 'tandem-1' });
  });

  it('cannot be given up, or called unconfirmed, once its machine was seen', async () => {
    const { instances, see, row } = await openLife();
    await instances.openIntent(machine);
    await see('active');
    await instances.unconfirmed(machine.intentId);
    await instances.notLaunched(machine.intentId);
    expect(await row()).toMatchObject({ status: 'active', reserved_nano_usd: usdToNano(0.6) });
  });
});

describe('a machine', () => {
  it('costs nothing while it boots, though it may cost what its time is worth', async () => {
    const { launch, see, cost, clock } = await openLife();
    await launch();
    await see('booting');
    clock.advance(5 * minuteMs);
    expect(await cost()).toEqual({ minutes: 0, costNanoUsd: 0, upperNanoUsd: usdToNano(0.05) });
  });

  it('costs from the moment it is first seen active', async () => {
    const { launch, see, cost, row, clock } = await openLife();
    await launch();
    clock.advance(5 * minuteMs);
    await see('active');
    const activeAtMs = clock.nowMs();
    for (let polls = 0; polls < 3; polls += 1) {
      clock.advance(10 * minuteMs);
      await see('active');
    }
    expect(await row()).toMatchObject({ first_active_at_ms: activeAtMs, last_seen_at_ms: clock.nowMs() });
    expect(await cost()).toEqual({ minutes: 30, costNanoUsd: usdToNano(0.3), upperNanoUsd: usdToNano(0.35) });
  });

  it('goes on costing while it is unhealthy, and is not first active a second time', async () => {
    const { launch, see, row, cost, clock } = await openLife();
    await launch();
    await see('active');
    const activeAtMs = clock.nowMs();
    clock.advance(minuteMs);
    await see('unhealthy');
    clock.advance(minuteMs);
    await see('active');
    expect((await row()).first_active_at_ms).toBe(activeAtMs);
    expect((await cost()).minutes).toBe(2);
  });

  it('counts as running in a status that nobody has heard of', async () => {
    const { launch, see, cost, clock } = await openLife();
    await launch();
    await see('hibernating');
    clock.advance(minuteMs);
    expect((await cost()).minutes).toBe(1);
  });

  it('stops costing when its termination is asked for, and may cost until it is gone', async () => {
    const { launch, see, cost, instances, clock } = await openLife();
    await launch();
    await see('active');
    clock.advance(10 * minuteMs);
    await instances.terminateRequested(['i-1']);
    clock.advance(2 * minuteMs);
    await see('terminating');
    clock.advance(minuteMs);
    await see('terminated');
    clock.advance(hourMs);
    expect(await cost()).toEqual({ minutes: 10, costNanoUsd: usdToNano(0.1), upperNanoUsd: usdToNano(0.13) });
    expect(await instances.live()).toEqual([]);
  });

  it('has its end at the first of several requests to terminate it', async () => {
    const { launch, see, row, instances, clock } = await openLife();
    await launch();
    await see('active');
    await instances.terminateRequested(['i-1']);
    const firstMs = clock.nowMs();
    clock.advance(minuteMs);
    await instances.terminateRequested(['i-1', 'i-2']);
    expect((await row()).terminate_requested_at_ms).toBe(firstMs);
  });

  it('has run until it is asked for again, unless it was seen to end', async () => {
    const { launch, see, row, instances, clock } = await openLife();
    await launch();
    await see('active');
    await instances.terminateRequested(['i-1']);
    clock.advance(minuteMs);
    await see('active');
    const secondMs = clock.nowMs();
    await instances.terminateAskedAgain(['i-1']);
    expect((await row()).terminate_requested_at_ms).toBe(secondMs);
    await see('terminating');
    clock.advance(minuteMs);
    await instances.terminateAskedAgain(['i-1']);
    expect((await row()).terminate_requested_at_ms).toBe(secondMs);
  });

  it('costs on, without a gap, when its termination failed', async () => {
    const { launch, see, cost, instances, clock } = await openLife();
    await launch();
    await see('active');
    clock.advance(10 * minuteMs);
    await instances.terminateRequested(['i-1']);
    clock.advance(minuteMs);
    await instances.terminateFailed(['i-1']);
    clock.advance(4 * minuteMs);
    expect((await cost()).minutes).toBe(15);
  });

  it('is believed to end while it still shows for up to three minutes', async () => {
    const { launch, see, cost, instances, clock } = await openLife();
    await launch();
    await see('active');
    clock.advance(10 * minuteMs);
    await instances.terminateRequested(['i-1']);
    clock.advance(3 * minuteMs);
    await see('active');
    expect((await cost()).minutes).toBe(10);
  });

  it('costs on, without a gap, when its termination was ignored', async () => {
    const { launch, see, cost, row, instances, clock } = await openLife();
    await launch();
    await see('active');
    clock.advance(10 * minuteMs);
    await instances.terminateRequested(['i-1']);
    clock.advance(3 * minuteMs + 1);
    await see('active');
    expect((await row()).terminate_requested_at_ms).toBeNull();
    expect((await cost()).minutes).toBe(14);
  });

  it('stops costing at the first sight of an end that somebody else brought about', async () => {
    const { launch, see, cost, clock } = await openLife();
    await launch();
    await see('active');
    clock.advance(7 * minuteMs);
    await see('terminating');
    clock.advance(minuteMs);
    await see('terminated');
    expect(await cost()).toEqual({ minutes: 7, costNanoUsd: usdToNano(0.07), upperNanoUsd: usdToNano(0.08) });
  });

  it('that was preempted is gone', async () => {
    const { launch, see, row, cost, clock } = await openLife();
    await launch();
    await see('active');
    clock.advance(3 * minuteMs);
    await see('preempted');
    expect((await row()).gone_at_ms).toBe(clock.nowMs());
    expect((await cost()).minutes).toBe(3);
  });

  it('never costs anything when it ended before it was active', async () => {
    const { launch, see, cost, clock } = await openLife();
    await launch();
    clock.advance(4 * minuteMs);
    await see('terminated');
    clock.advance(hourMs);
    expect(await cost()).toEqual({ minutes: 0, costNanoUsd: 0, upperNanoUsd: usdToNano(0.04) });
  });
});

describe('a machine that a list does not show', () => {
  it('is not gone when the list was asked for before its launch', async () => {
    const { launch, see, row, clock } = await openLife();
    const listedAtMs = clock.nowMs();
    clock.advance(5 * secondMs);
    await launch();
    clock.advance(10 * minuteMs);
    await see(undefined, listedAtMs);
    expect((await row()).gone_at_ms).toBeNull();
  });

  it('is not gone when the list was asked for before its launch, even if its end was asked for since', async () => {
    const { launch, see, row, instances, clock } = await openLife();
    const listedAtMs = clock.nowMs();
    clock.advance(5 * secondMs);
    await launch();
    await instances.terminateRequested(['i-1']);
    await see(undefined, listedAtMs);
    expect((await row()).gone_at_ms).toBeNull();
  });

  it('is not gone within a minute of its launch', async () => {
    const { launch, see, row, clock } = await openLife();
    await launch();
    clock.advance(minuteMs);
    await see();
    expect((await row()).gone_at_ms).toBeNull();
  });

  it('is gone later', async () => {
    const { launch, see, row, instances, clock } = await openLife();
    await launch();
    clock.advance(minuteMs + 1);
    await see();
    expect(await row()).toMatchObject({ status: 'gone', gone_at_ms: clock.nowMs() });
    expect(await instances.live()).toEqual([]);
  });

  it('is gone at once when its termination was asked for', async () => {
    const { launch, see, row, instances, clock } = await openLife();
    await launch();
    clock.advance(secondMs);
    await instances.terminateRequested(['i-1']);
    await see();
    expect((await row()).gone_at_ms).toBe(clock.nowMs());
  });

  it('stays gone since the first list without it', async () => {
    const { launch, see, row, clock } = await openLife();
    await launch();
    clock.advance(2 * minuteMs);
    await see();
    const goneAtMs = clock.nowMs();
    clock.advance(hourMs);
    await see();
    expect((await row()).gone_at_ms).toBe(goneAtMs);
  });

  it('lives, and has cost all along, when a later list shows it again', async () => {
    const { launch, see, row, cost, instances, clock } = await openLife();
    await launch();
    await see('active');
    clock.advance(10 * minuteMs);
    await see();
    expect((await cost()).minutes).toBe(10);
    clock.advance(20 * minuteMs);
    await see('active');
    expect(await row()).toMatchObject({ status: 'active', gone_at_ms: null });
    expect((await cost()).minutes).toBe(30);
    expect(await instances.live()).toHaveLength(1);
  });

  it('cannot have cost more than at most when it shows once more as terminated', async () => {
    const { launch, see, cost, clock } = await openLife();
    await launch();
    await see('active');
    clock.advance(10 * minuteMs);
    await see();
    clock.advance(20 * minuteMs);
    await see('terminated');
    expect(await cost()).toEqual({ minutes: 10, costNanoUsd: usdToNano(0.1), upperNanoUsd: usdToNano(0.1) });
  });

  it('is looked for during a day and then forgotten', async () => {
    const { launch, see, instances, clock } = await openLife();
    await launch();
    clock.advance(2 * minuteMs);
    await see();
    clock.advance(dayMs - 1);
    expect(await instances.known()).toHaveLength(1);
    clock.advance(1);
    expect(await instances.known()).toEqual([]);
  });

  it('does not make others disappear', async () => {
    const { launch, see, rowOf, instances, clock } = await openLife();
    await launch();
    await instances.openIntent({ ...machine, intentId: 'intent-2' });
    await instances.launched('intent-2', 'i-2');
    clock.advance(2 * minuteMs);
    await see('active');
    expect((await rowOf('intent-1')).status).toBe('active');
    expect((await rowOf('intent-2')).status).toBe('gone');
  });
});

describe('the budget', () => {
  it('keeps a machine at its lease until it has cost more', async () => {
    const { books, launch, see, clock } = await openLife({ dailyUsd: 10 });
    await launch();
    await see('active');
    clock.advance(30 * minuteMs);
    expect(await left(books)).toBe(9.4);
    clock.advance(90 * minuteMs);
    expect(await left(books)).toBe(8.8);
  });

  it('has the unused part of the lease again when the machine ends', async () => {
    const { books, launch, see, instances, clock } = await openLife({ dailyUsd: 10 });
    await launch();
    await see('active');
    clock.advance(15 * minuteMs);
    await instances.terminateRequested(['i-1']);
    expect(await left(books)).toBe(9.85);
    await see();
    expect(await left(books)).toBe(9.85);
  });

  it('counts running machines against calls', async () => {
    const { books, launch, see, clock } = await openLife({ dailyUsd: 1 });
    await launch();
    await see('active');
    clock.advance(90 * minuteMs);
    const call = attempt({ reserveNanoUsd: usdToNano(0.11) });
    await expect(books.ledger.openAttempt(call)).rejects.toMatchObject({ code: 'budget_exhausted' });
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usdToNano(0.1) }));
  });

  it('counts calls against a launch', async () => {
    const { books, instances } = await openLife({ dailyUsd: 1 });
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usdToNano(0.5) }));
    await expect(instances.openIntent(machine)).rejects.toMatchObject({ code: 'budget_exhausted' });
  });

  it('counts a machine that runs past midnight on each day for its part', async () => {
    const clock = new ManualClock('2026-11-23T22:00:00Z');
    const { books, launch, see } = await openLife({ dailyUsd: 10, clock });
    await launch();
    await see('active');
    clock.advance(2.5 * hourMs);
    const { day, month } = await books.reports.budget();
    expect(day.instancesNanoUsd).toBe(usdToNano(0.3));
    expect(month.instancesNanoUsd).toBe(usdToNano(1.5));
  });

  it('does not count the machines of last month', async () => {
    const clock = new ManualClock('2026-10-31T12:00:00Z');
    const { books, launch, see } = await openLife({ clock });
    await launch();
    await see('active');
    clock.advance(hourMs);
    await see('terminated');
    clock.advance(dayMs);
    expect((await books.reports.budget()).month.instancesNanoUsd).toBe(0);
  });
});

describe('the cost of a life', () => {
  const anyMs = fc.integer({ min: 0, max: 3 * dayMs });

  /** Any row that the ledger can have written: times in their order, some of them missing. */
  const anyRow = fc
    .record({
      price: fc.integer({ min: 1, max: 5_000 }),
      requested: anyMs,
      steps: fc.tuple(anyMs, anyMs, anyMs),
      active: fc.boolean(),
      terminated: fc.boolean(),
      gone: fc.boolean(),
      goneBeforeTerminated: fc.boolean(),
    })
    .map(({ price, requested, steps, active, terminated, gone, goneBeforeTerminated }): InstanceRow => {
      const activeAt = requested + steps[0];
      const [first, second] = [activeAt + steps[1], activeAt + steps[1] + steps[2]];
      return {
        ...bareInstance,
        price_cents_per_hour: price,
        status: 'active',
        requested_at_ms: requested,
        launched_at_ms: requested,
        first_active_at_ms: active ? activeAt : null,
        terminate_requested_at_ms: terminated ? (goneBeforeTerminated ? second : first) : null,
        gone_at_ms: gone ? (goneBeforeTerminated ? first : second) : null,
      };
    });
  const anyNow = fc.integer({ min: 0, max: 15 * dayMs });
  const anySpans = fc.array(fc.integer({ min: 0, max: 15 * dayMs }), { minLength: 2, maxLength: 6 }).map((cuts) => {
    const sorted = cuts.toSorted((a, b) => a - b);
    return sorted.slice(1).map((toMs, index) => ({ fromMs: sorted[index] ?? 0, toMs }));
  });

  it('is the sum of its parts, to the nano-dollar and the minute', () => {
    fc.assert(
      fc.property(anyRow, anySpans, anyNow, (row, spans, nowMs) => {
        const parts = spans.map(({ fromMs, toMs }) => instanceCost(row, fromMs, toMs, nowMs));
        const whole = instanceCost(row, spans.at(0)?.fromMs ?? 0, spans.at(-1)?.toMs ?? 0, nowMs);
        for (const field of ['minutes', 'costNanoUsd', 'upperNanoUsd'] as const)
          expect(parts.reduce((sum, part) => sum + part[field], 0)).toBe(whole[field]);
      }),
    );
  });

  it('is never above what it can be at most, in any span', () => {
    fc.assert(
      fc.property(anyRow, anySpans, anyNow, (row, spans, nowMs) => {
        for (const { fromMs, toMs } of spans) {
          const { costNanoUsd, upperNanoUsd } = instanceCost(row, fromMs, toMs, nowMs);
          expect(upperNanoUsd).toBeGreaterThanOrEqual(costNanoUsd);
          expect(costNanoUsd).toBeGreaterThanOrEqual(0);
        }
      }),
    );
  });

  it('is at most what its whole time is worth, give or take the minute that rounding adds', () => {
    fc.assert(
      fc.property(anyRow, anyNow, (row, nowMs) => {
        const { upperNanoUsd } = instanceCost(row, 0, Number.MAX_SAFE_INTEGER, nowMs);
        const lifeMs = (row.gone_at_ms ?? nowMs) - row.requested_at_ms;
        expect(upperNanoUsd).toBeGreaterThanOrEqual(instanceCostNano(row.price_cents_per_hour, lifeMs) - 1);
        const more = lifeMs > 0 ? lifeMs + minuteMs : 0;
        expect(upperNanoUsd).toBeLessThanOrEqual(instanceCostNano(row.price_cents_per_hour, more) + 1);
      }),
    );
  });

  it('never falls while time goes on', () => {
    fc.assert(
      fc.property(anyRow, anyNow, anyMs, (row, nowMs, moreMs) => {
        const now = instanceCost(row, 0, nowMs, nowMs);
        const later = instanceCost(row, 0, nowMs + moreMs, nowMs + moreMs);
        expect(later.minutes).toBeGreaterThanOrEqual(now.minutes);
        expect(later.costNanoUsd).toBeGreaterThanOrEqual(now.costNanoUsd);
        expect(later.upperNanoUsd).toBeGreaterThanOrEqual(now.upperNanoUsd);
      }),
    );
  });

  it('over a day boundary is the cost of the evening and of the morning', async () => {
    const clock = new ManualClock('2026-11-23T23:50:30Z');
    const { launch, see, row, instances } = await openLife({ clock });
    await launch();
    await see('active');
    clock.advance(25 * minuteMs + 10 * secondMs);
    await instances.terminateRequested(['i-1']);
    const midnightMs = Date.parse('2026-11-24T00:00:00Z');
    const evening = instanceCost(await row(), 0, midnightMs, clock.nowMs());
    const morning = instanceCost(await row(), midnightMs, clock.nowMs(), clock.nowMs());
    expect([evening.minutes, morning.minutes]).toEqual([10, 16]);
    expect(evening.costNanoUsd + morning.costNanoUsd).toBe(usdToNano(0.26));
  });
});
