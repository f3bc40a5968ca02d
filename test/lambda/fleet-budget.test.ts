import { describe, expect, it, onTestFinished } from 'vitest';
import { checkFleetBudget } from '../../src/lambda/fleet-budget.ts';
import { priceSnapshot } from '../../src/lambda/rates.ts';
import { windowMarginMs } from '../../src/lambda/schedule.ts';
import { usdToNano } from '../../src/money.ts';
import { Budget } from '../../src/usage/budget.ts';
import { Calendar } from '../../src/usage/calendar.ts';
import { openDatabase } from '../../src/usage/database.ts';
import { InstanceLedger } from '../../src/usage/instances.ts';
import { ManualClock } from '../support/clock.ts';
import { temporaryFolder } from '../support/folder.ts';
import { entryOf } from './entries.ts';

const hourMs = 3_600_000;

/** A Monday, four in the afternoon in New York. */
const nowMs = Date.parse('2026-11-23T21:00:00Z');
const prices = new Map([
  ['small', 100],
  ['large', 400],
]);

function budgetsOf(dailyUsd: number, monthlyUsd = 1_000_000, timeZone = 'America/New_York') {
  return { dailyNanoUsd: usdToNano(dailyUsd), monthlyNanoUsd: usdToNano(monthlyUsd), timeZone };
}

const check = (entries: Parameters<typeof entryOf>[0][], budgets: ReturnType<typeof budgetsOf>) =>
  checkFleetBudget(entries.map(entryOf), budgets, prices, nowMs);

describe('a schedule against the budgets', () => {
  it('fits when no day and no month costs more than its budget, the time before windows included', () => {
    // Nine hours and a quarter, and the ten minutes that a lease is longer, to the cent.
    expect(check([{ types: ['small'] }], budgetsOf(9.42))).toEqual([]);
    expect(check([{ types: ['small'] }], budgetsOf(9.41))).toHaveLength(1);
    // The most weekdays of a month are 23.
    expect(check([{ types: ['small'] }], budgetsOf(50, 23 * 9.25))).toEqual([]);
    expect(check([{ types: ['small'] }], budgetsOf(50, 23 * 9.25 - 0.01))).toHaveLength(1);
  });

  it('that fits leaves room for the leases of all its machines, when they are launched', async () => {
    const clock = new ManualClock('2026-11-23T13:45:00Z');
    const database = await openDatabase(`${temporaryFolder()}/tandem.db`);
    onTestFinished(() => database.close());
    const budgets = budgetsOf(16 * 9.42);
    expect(check([{ types: ['small'], count: 16 }], budgets)).toEqual([]);
    const budget = new Budget(budgets, new Calendar(budgets.timeZone), clock);
    const { leases } = new InstanceLedger(database, budget, clock);
    const machine = { name: 'box', instanceType: 'small', region: 'here', priceCentsPerHour: 100, capMs: 24 * hourMs };
    const leaseMs = 9.25 * hourMs + windowMarginMs;
    for (let index = 0; index < 16; index += 1) await leases.open({ ...machine, leaseMs, intentId: String(index) });
  });

  it('names the entry, the day, what it would cost and the budget that it breaks', () => {
    expect(check([{ types: ['small'], count: 2 }], budgetsOf(10))).toEqual([
      'fleet: analysts would cost up to $18.83 for 2 x small at $1.00 per hour on Monday 2026-11-23, more than budgets.dailyUsd allows ($10.00); ask for fewer machines, shorter windows, cheaper types or a lower maxHourlyUsd, or raise the budget',
    ]);
    expect(check([{ types: ['small'] }], budgetsOf(50, 200))).toEqual([
      expect.stringMatching(
        /^fleet: analysts would cost up to \$212\.75 .* in December 2026, .*budgets\.monthlyUsd allows \(\$200\.00\)/,
      ),
    ]);
  });

  it('takes the dearest machine that may come', () => {
    expect(check([{ types: ['small', 'large'] }], budgetsOf(30))).toEqual([
      expect.stringContaining('1 x large at $4.00'),
    ]);
    expect(check([{ types: ['small', 'large'], maxCentsPerHour: 399 }], budgetsOf(30))).toEqual([]);
  });

  it('takes the limit of the entry for what a type without a known price may cost', () => {
    expect(check([{ types: ['small', 'new'], maxCentsPerHour: 300 }], budgetsOf(28.24))).toEqual([
      expect.stringContaining('$28.25 for 1 x new at $3.00'),
    ]);
    expect(check([{ types: ['small', 'new'] }], budgetsOf(1_000))).toEqual([
      'fleet[0].maxHourlyUsd: needed, since the price of new is not known; give the most that one machine of analysts may cost per hour',
    ]);
  });

  it('adds up entries, and names each with its part, the dearest first', () => {
    const entries = [{ types: ['small'] }, { name: 'night', types: ['large'] }];
    expect(check(entries, budgetsOf(46))).toEqual([
      expect.stringMatching(
        /^fleet: night and analysts would cost up to \$47\.08 together \(night \$37\.67 for .*; analysts \$9\.42 for/,
      ),
    ]);
    expect(check(entries, budgetsOf(47.09))).toEqual([]);
  });

  it('reports a broken day and a broken month together', () => {
    expect(check([{ types: ['large'] }], budgetsOf(1, 1))).toHaveLength(2);
  });

  it('finds the one day in the year on which clocks make a window longer', () => {
    const night = { windows: [{ weekdays: [6], fromMinute: 1350, toMinute: 480 }], types: ['small'] };
    // From midnight to ten past eight: nine hours and more when an hour comes twice.
    expect(check([night], budgetsOf(8.17))).toEqual([expect.stringContaining('on Sunday 2027-11-07')]);
    expect(check([night], budgetsOf(9.17))).toEqual([]);
  });

  it('counts the days of the budget, which may be in another time zone than the windows', () => {
    // From nine to six in New York is two days in Tokyo.
    const entry = { types: ['small'], windows: [{ weekdays: [1], fromMinute: 540, toMinute: 1080 }] };
    expect(check([entry], budgetsOf(8.5, 1_000_000, 'Asia/Tokyo'))).toEqual([]);
    expect(check([entry], budgetsOf(8.5, 1_000_000, 'Europe/Berlin'))).toHaveLength(1);
  });

  it('takes the plan of the house with the usual budgets: two GH200 on weekdays from nine to six', () => {
    const entry = entryOf({ types: ['gpu_1x_gh200', 'gpu_1x_h100_sxm5'], count: 2, maxCentsPerHour: 350 });
    expect(checkFleetBudget([entry], budgetsOf(50, 1_000), priceSnapshot().prices, nowMs)).toEqual([]);
  });
});
