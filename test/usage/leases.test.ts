import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { usdToNano } from '../../src/money.ts';
import { type InstanceRow, instanceClaimNano, instanceCost, worstCaseNano } from '../../src/usage/instance-cost.ts';
import { isAdopted, type LaunchIntent, type Orphan } from '../../src/usage/leases.ts';
import { ManualClock } from '../support/clock.ts';
import { bareInstance } from '../support/instance-row.ts';
import { type BooksOptions, openBooks } from './books.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** A dollar an hour. */
const machine: LaunchIntent = {
  intentId: 'intent-1',
  name: 'tandem-1',
  instanceType: 'gpu_1x_a10',
  region: 'us-east-1',
  priceCentsPerHour: 100,
  leaseMs: 4 * hourMs,
  capMs: dayMs,
};

async function openLeases(options: BooksOptions = {}) {
  const books = await openBooks({ dailyUsd: 50, monthlyUsd: 500, ...options });
  const { instances, clock, reports } = books;
  const rowOf = (intentId = machine.intentId) =>
    books.database.read.selectFrom('instance').selectAll().where('intent_id', '=', intentId).executeTakeFirstOrThrow();
  return {
    ...books,
    book: instances.leases,
    rowOf,
    launch: async (about: Partial<LaunchIntent> = {}) => {
      const intent = { ...machine, ...about };
      await instances.openIntent(intent);
      await instances.launched(intent.intentId, `i-${intent.intentId}`);
      return rowOf(intent.intentId);
    },
    see: (status = 'active') => {
      const sighting = { intentId: machine.intentId, instanceId: 'i-intent-1', priceCentsPerHour: 100 };
      return instances.observe([{ ...sighting, status, firstHealthyAtMs: null }], clock.nowMs());
    },
    leftUsd: async () => {
      const { day, month } = await reports.budget();
      return { day: day.leftNanoUsd / 1e9, month: month.leftNanoUsd / 1e9 };
    },
    renewal: async (hours: number) => {
      const row = await rowOf();
      const lease = { expiresAtMs: clock.nowMs() + hours * hourMs, capAtMs: row.lease_cap_at_ms ?? 0 };
      return { intentId: machine.intentId, fromExpiresAtMs: row.lease_expires_at_ms, lease };
    },
  };
}

describe('what a lease claims of the budget', () => {
  it('is its whole price, from the intent on', async () => {
    const { launch, leftUsd } = await openLeases();
    await launch();
    expect(await leftUsd()).toEqual({ day: 46, month: 496 });
  });

  it('falls by the boot, which is not billed, and never below what the machine has cost', async () => {
    const { launch, see, leftUsd, clock } = await openLeases();
    await launch();
    clock.advance(30 * minuteMs);
    await see('booting');
    expect((await leftUsd()).day).toBe(46.5);
    await see('active');
    clock.advance(hourMs);
    expect((await leftUsd()).day).toBe(46.5);
    clock.advance(4 * hourMs);
    expect((await leftUsd()).day).toBe(45);
  });

  it('is given back when the machine ends before its lease does', async () => {
    const { launch, see, leftUsd, clock, instances } = await openLeases();
    await launch();
    await see();
    clock.advance(hourMs);
    await instances.terminateRequested(['i-intent-1']);
    expect((await leftUsd()).day).toBe(49);
  });

  it('is shared out over midnight: today, tomorrow and the month have their parts', async () => {
    const { launch, leftUsd, clock } = await openLeases({ clock: new ManualClock('2026-11-23T21:00:00Z') });
    await launch();
    expect(await leftUsd()).toEqual({ day: 47, month: 496 });
    clock.advance(3 * hourMs);
    expect(await leftUsd()).toEqual({ day: 49, month: 496 });
  });

  it('at the end of a month is shared out over both', async () => {
    const { launch, leftUsd } = await openLeases({ clock: new ManualClock('2026-11-30T23:00:00Z') });
    await launch();
    expect(await leftUsd()).toEqual({ day: 49, month: 499 });
  });

  it('of a row of before there were leases is its first hour, as it was', async () => {
    const { launch, see, database, leftUsd, clock } = await openLeases();
    await launch({ leaseMs: hourMs });
    await database.write(async (queries) => {
      await queries.updateTable('instance').set({ lease_expires_at_ms: null, lease_cap_at_ms: null }).execute();
    });
    await see();
    clock.advance(30 * minuteMs);
    expect((await leftUsd()).day).toBe(49);
    clock.advance(hourMs);
    expect((await leftUsd()).day).toBe(48.5);
  });

  it('never grows while its lease lasts, whatever is seen and when', () => {
    const anyMinutes = fc.integer({ min: 0, max: 600 });
    fc.assert(
      fc.property(fc.tuple(anyMinutes, anyMinutes, anyMinutes), fc.integer({ min: 1, max: 600 }), (steps, lease) => {
        const [bootMs, , laterMs] = steps.toSorted((a, b) => a - b).map((minutes) => minutes * 61_001);
        const leased = { ...bareInstance, status: 'active', launched_at_ms: 0, last_seen_at_ms: 0 };
        const row: InstanceRow = { ...leased, lease_expires_at_ms: lease * minuteMs };
        const booted = { ...row, first_active_at_ms: bootMs ?? 0, last_seen_at_ms: bootMs ?? 0 };
        const atFirst = worstCaseNano(row, 0);
        const before = worstCaseNano(booted, bootMs ?? 0);
        const later = worstCaseNano(booted, Math.min(laterMs ?? 0, lease * minuteMs));
        expect(before).toBeLessThanOrEqual(atFirst);
        expect(later).toBeLessThanOrEqual(Math.max(before, 0));
      }),
    );
  });

  it('adds up over days to the nano-dollar', () => {
    const row: InstanceRow = {
      ...bareInstance,
      requested_at_ms: 5 * hourMs,
      lease_expires_at_ms: 5 * hourMs + 40 * hourMs,
    };
    const days = [0, 1, 2].map((day) => ({ startMs: day * dayMs, endMs: (day + 1) * dayMs }));
    const parts = days.map((day) => instanceClaimNano(row, day, 6 * hourMs));
    expect(parts.reduce((sum, part) => sum + part, 0)).toBe(worstCaseNano(row, 6 * hourMs));
    expect(worstCaseNano(row, 6 * hourMs)).toBe(40 * 1_290_000_000);
  });
});

describe('room for a lease', () => {
  it('is needed today, and the refusal says how long a lease would fit', async () => {
    const { instances } = await openLeases({ dailyUsd: 2.55 });
    await expect(instances.openIntent(machine)).rejects.toMatchObject({
      code: 'budget_exhausted',
      message:
        'The daily budget of $2.55 has $2.55 left; a lease of 4 h of gpu_1x_a10 may cost $4.00 of it. Nothing was done.',
      next: expect.stringMatching(/^A lease of 2\.5 h would fit\./),
    });
    await instances.openIntent({ ...machine, leaseMs: 2.5 * hourMs });
  });

  it('is needed tomorrow too, where the lease reaches into it', async () => {
    const { launch, instances } = await openLeases({ dailyUsd: 5, clock: new ManualClock('2026-11-23T22:00:00Z') });
    await launch({ leaseMs: 6 * hourMs });
    // Today has $3 left and tomorrow $1; it would take $2 of each.
    await expect(instances.openIntent({ ...machine, intentId: 'second' })).rejects.toMatchObject({
      message: expect.stringMatching(
        /^The daily budget of \$5\.00 for 2026-11-24 has \$1\.00 left; a lease of 4 h .* may cost \$2\.00 of it/,
      ),
      next: expect.stringMatching(/^A lease of 3 h would fit\./),
    });
    await launch({ intentId: 'second', leaseMs: 3 * hourMs });
  });

  it('is needed in the month', async () => {
    const { instances } = await openLeases({ monthlyUsd: 3 });
    await expect(instances.openIntent(machine)).rejects.toMatchObject({
      message: expect.stringMatching(/^The monthly budget of \$3\.00 has \$3\.00 left/),
    });
  });

  it('is not there at all on a budget of nothing', async () => {
    const { book } = await openLeases({ dailyUsd: 0 });
    await expect(book.quote(machine)).rejects.toMatchObject({ next: expect.stringMatching(/^No lease of it fits\./) });
  });

  it('is shown beforehand, and nothing is written', async () => {
    const { book, instances } = await openLeases();
    expect(await book.quote(machine)).toBe(usdToNano(4));
    expect(await instances.known()).toEqual([]);
  });

  it('goes to one of two launches that want the last of it', async () => {
    const { instances } = await openLeases({ dailyUsd: 7 });
    const intents = ['a', 'b'].map((intentId) => instances.openIntent({ ...machine, intentId }));
    expect((await Promise.allSettled(intents)).map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it('holds: machines that live to the end of their leases do not cost more than the budget', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ price: fc.integer({ min: 1, max: 900 }), hours: fc.integer({ min: 1, max: 20 }) }), {
          minLength: 1,
          maxLength: 6,
        }),
        async (wishes) => {
          const { instances, clock, launch } = await openLeases({ dailyUsd: 20, monthlyUsd: 60 });
          for (const [index, { price, hours }] of wishes.entries()) {
            const about = { intentId: `i${index}`, priceCentsPerHour: price, leaseMs: hours * hourMs };
            await launch(about).catch(() => undefined);
            clock.advance(37 * minuteMs);
          }
          const rows = await instances.known();
          clock.advance(2 * dayMs);
          for (const day of ['2026-11-23', '2026-11-24', '2026-11-25']) {
            const startMs = Date.parse(day);
            const spent = rows
              .map((row) => ({ ...row, first_active_at_ms: row.requested_at_ms, gone_at_ms: row.lease_expires_at_ms }))
              .map((row) => instanceCost(row, startMs, startMs + dayMs, clock.nowMs()).costNanoUsd)
              .reduce((sum, cost) => sum + cost, 0);
            expect(spent).toBeLessThanOrEqual(usdToNano(20));
          }
        },
      ),
      { numRuns: 15 },
    );
  });
});

describe('a renewal', () => {
  it('moves the end of the lease, and claims the budget for it', async () => {
    const { launch, book, renewal, rowOf, leftUsd, clock } = await openLeases();
    await launch();
    await book.renew(await renewal(10));
    expect((await rowOf()).lease_expires_at_ms).toBe(clock.nowMs() + 10 * hourMs);
    expect((await leftUsd()).day).toBe(40);
  });

  it('says beforehand what the machine will have cost at its end', async () => {
    const { launch, see, book, renewal, rowOf, clock } = await openLeases();
    const { lease_expires_at_ms: before } = await launch();
    await see();
    clock.advance(2 * hourMs);
    expect(await book.quoteRenewal(await renewal(5))).toBe(usdToNano(7));
    expect((await rowOf()).lease_expires_at_ms).toBe(before);
  });

  it('gives budget back when it makes the lease shorter', async () => {
    const { launch, book, renewal, leftUsd } = await openLeases({ dailyUsd: 4 });
    await launch();
    await book.renew(await renewal(1));
    expect((await leftUsd()).day).toBe(3);
  });

  it('needs room for what it adds, and for no more', async () => {
    const { launch, book, renewal, rowOf, clock } = await openLeases({ dailyUsd: 6 });
    await launch();
    await expect(book.renew(await renewal(7))).rejects.toMatchObject({ code: 'budget_exhausted' });
    expect((await rowOf()).lease_expires_at_ms).toBe(clock.nowMs() + 4 * hourMs);
    await book.renew(await renewal(6));
  });

  it('never goes beyond the cap, whoever asks', async () => {
    const { launch, book, renewal, rowOf } = await openLeases({ dailyUsd: 500 });
    const { lease_cap_at_ms: capAtMs } = await launch();
    await book.renew(await renewal(100));
    expect((await rowOf()).lease_expires_at_ms).toBe(capAtMs);
  });

  it.each([
    ['has expired', async ({ clock }: Awaited<ReturnType<typeof openLeases>>) => clock.advance(4 * hourMs)],
    [
      'is being ended',
      async ({ instances }: Awaited<ReturnType<typeof openLeases>>) => instances.terminateRequested(['i-intent-1']),
    ],
    [
      'is being ended, and nobody has answered,',
      async ({ instances }: Awaited<ReturnType<typeof openLeases>>) => {
        await instances.terminateRequested(['i-intent-1']);
        await instances.terminateUnanswered('i-intent-1');
      },
    ],
  ])('is refused when the lease %s meanwhile', async (_what, happens) => {
    const leases = await openLeases();
    const { lease_expires_at_ms: before } = await leases.launch();
    const planned = await leases.renewal(8);
    await happens(leases);
    await expect(leases.book.renew(planned)).rejects.toMatchObject({ code: 'conflict' });
    expect((await leases.rowOf()).lease_expires_at_ms).toBe(before);
  });

  it('is refused when another one came first', async () => {
    const { launch, book, renewal } = await openLeases();
    await launch();
    const planned = await renewal(8);
    await book.renew(await renewal(6));
    await expect(book.renew(planned)).rejects.toMatchObject({ code: 'conflict' });
  });
});

describe('the end of a lease', () => {
  it('is marked with its reason, and again with a later time when it is asked for again', async () => {
    const { launch, book, rowOf, clock } = await openLeases();
    const { lease_expires_at_ms: expiresAtMs } = await launch();
    clock.advance(4 * hourMs);
    const lease = { intentId: machine.intentId, expiresAtMs: expiresAtMs ?? 0 };
    expect(await book.expire(lease, 'lease')).toBe(true);
    clock.advance(minuteMs);
    expect(await book.expire(lease, 'lease')).toBe(true);
    expect(await rowOf()).toMatchObject({ end_reason: 'lease', terminate_requested_at_ms: clock.nowMs() });
  });

  it.each(['unanswered', 'failed'] as const)(
    'stays where it was seen to begin, also when it is asked for again and that is %s',
    async (how) => {
      const { launch, book, see, rowOf, instances, clock } = await openLeases();
      const { lease_expires_at_ms: expiresAtMs } = await launch();
      await see('active');
      clock.advance(4 * hourMs);
      const lease = { intentId: machine.intentId, expiresAtMs: expiresAtMs ?? 0 };
      await book.expire(lease, 'lease');
      const endsAtMs = clock.nowMs();
      await see('terminating');
      // The list cannot be read for longer than a machine takes to end.
      clock.advance(11 * minuteMs);
      expect(await book.expire(lease, 'lease')).toBe(true);
      if (how === 'unanswered') await instances.terminateUnanswered('i-intent-1');
      else await instances.terminateFailed(['i-intent-1']);
      expect(await rowOf()).toMatchObject({ end_reason: 'lease', terminate_requested_at_ms: endsAtMs });
    },
  );

  it('is none when the lease was renewed meanwhile', async () => {
    const { launch, book, renewal, rowOf } = await openLeases();
    const { lease_expires_at_ms: expiresAtMs } = await launch();
    await book.renew(await renewal(8));
    expect(await book.expire({ intentId: machine.intentId, expiresAtMs: expiresAtMs ?? 0 }, 'lease')).toBe(false);
    expect((await rowOf()).terminate_requested_at_ms).toBeNull();
  });
});

describe('a machine that nobody knew', () => {
  const orphanAt = (nowMs: number): Orphan => ({
    intentId: 'adopted-i-9',
    instanceId: 'i-9',
    name: 'found',
    instanceType: 'gpu_1x_a10',
    region: 'us-east-1',
    status: 'active',
    priceCentsPerHour: 100,
    startedAtMs: nowMs - 3 * hourMs,
    isActive: true,
    lease: { expiresAtMs: nowMs + 2 * hourMs, capAtMs: nowMs + 10 * hourMs },
  });

  it('is taken in with all that it has cost, once', async () => {
    const { book, rowOf, leftUsd, clock } = await openLeases();
    const orphan = orphanAt(clock.nowMs());
    expect(await Promise.all([book.adopt(orphan, false), book.adopt(orphan, false)])).toEqual([true, false]);
    const row = await rowOf('adopted-i-9');
    expect(isAdopted(row)).toBe(true);
    expect(instanceCost(row, 0, clock.nowMs(), clock.nowMs()).costNanoUsd).toBe(usdToNano(3));
    expect((await leftUsd()).day).toBe(45);
  });

  it('is taken in whatever the budget says, unless somebody chose its lease', async () => {
    const { book, clock } = await openLeases({ dailyUsd: 1 });
    const orphan = orphanAt(clock.nowMs());
    await expect(book.adopt(orphan, true)).rejects.toMatchObject({ code: 'budget_exhausted' });
    expect(await book.adopt(orphan, false)).toBe(true);
  });

  it('lives again in its own row when it was given up long ago, with the lease that it had', async () => {
    const { launch, book, rowOf, clock, database } = await openLeases();
    const { lease_expires_at_ms: expiresAtMs } = await launch();
    await database.write(async (queries) => {
      await queries.updateTable('instance').set({ status: 'gone', gone_at_ms: clock.nowMs() }).execute();
    });
    clock.advance(3 * dayMs);
    expect(await book.adopt({ ...orphanAt(clock.nowMs()), instanceId: 'i-intent-1' }, false)).toBe(true);
    expect(await rowOf()).toMatchObject({ status: 'active', gone_at_ms: null, lease_expires_at_ms: expiresAtMs });
  });
});
