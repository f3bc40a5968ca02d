import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { quoteFor } from '../../src/lambda/rates.ts';
import { windowsBetween } from '../../src/lambda/schedule.ts';
import { planWeek, type QuotedEntry } from '../../src/lambda/week-plan.ts';
import { entryOf } from './entries.ts';

const minuteMs = 60_000;
const newYork = 'America/New_York';
const prices = new Map([
  ['small', 100],
  ['large', 437],
]);
const leads = new Map([
  ['small', 15 * minuteMs],
  ['large', 25 * minuteMs],
]);

function quoted(own: Parameters<typeof entryOf>[0] = {}): QuotedEntry {
  const entry = entryOf({ types: ['small'], ...own });
  const quote = quoteFor(entry, prices, (type) => leads.get(type) ?? 0);
  if (!quote) throw new Error('no price');
  return { entry, quote };
}

const machinesOf = (hours: readonly { machines: number }[]) => hours.map(({ machines }) => machines).join('');
const usdOf = (nanoUsd: number) => Math.round(nanoUsd / 1e7) / 100;

describe('the plan of a week', () => {
  // A Monday.
  const nowMs = Date.parse('2026-11-23T21:00:00Z');

  it('has the machines and the dollars of every hour of seven whole days, from today', () => {
    const plan = planWeek([quoted({ count: 2 })], nowMs, newYork);
    expect(plan.days.map(({ period }) => period.name)).toEqual([
      '2026-11-23',
      '2026-11-24',
      '2026-11-25',
      '2026-11-26',
      '2026-11-27',
      '2026-11-28',
      '2026-11-29',
    ]);
    const [monday, , , , , saturday] = plan.days;
    expect(machinesOf(monday?.hours ?? [])).toBe('000000002222222222000000');
    expect(monday?.hours.slice(7, 11).map(({ costNanoUsd }) => usdOf(costNanoUsd))).toEqual([0, 0.5, 2, 2]);
    expect(usdOf(monday?.costNanoUsd ?? 0)).toBe(18.5);
    expect(saturday).toMatchObject({ costNanoUsd: 0, worstNanoUsd: 0, stays: [] });
    expect(usdOf(plan.costNanoUsd)).toBe(92.5);
  });

  it('counts the whole calendar month', () => {
    const { month } = planWeek([quoted()], nowMs, newYork);
    // 21 weekdays.
    expect({ name: month.period.name, usd: usdOf(month.costNanoUsd) }).toEqual({ name: '2026-11', usd: 194.25 });
  });

  it('has for the worst case the dearest type, and its lead', () => {
    const plan = planWeek([quoted({ types: ['small', 'large'] })], nowMs, newYork);
    expect(usdOf(plan.days[0]?.worstNanoUsd ?? 0)).toBe(41.15);
    expect(usdOf(plan.costNanoUsd)).toBe(46.25);
    expect(plan.worstNanoUsd).toBeGreaterThan(plan.costNanoUsd);
    expect(plan.month.worstNanoUsd).toBeGreaterThan(plan.month.costNanoUsd);
  });

  it('cuts at midnight what goes on after it, and counts it to both days', () => {
    const night = quoted({ windows: [{ weekdays: [2], fromMinute: 1320, toMinute: 120 }] });
    const { days } = planWeek([night], nowMs, newYork);
    expect(days.map(({ stays }) => stays.length)).toEqual([0, 1, 1, 0, 0, 0, 0]);
    expect(machinesOf(days[1]?.hours ?? [])).toBe('000000000000000000000111');
    expect(machinesOf(days[2]?.hours ?? [])).toBe('110000000000000000000000');
    expect(days[1]?.stays[0]?.endMs).toBe(days[2]?.stays[0]?.startMs);
  });

  it('counts the time before a window to the day in which it is', () => {
    const early = quoted({ windows: [{ weekdays: [2], fromMinute: 0, toMinute: 120 }] });
    const [monday] = planWeek([early], nowMs, newYork).days;
    expect(usdOf(monday?.costNanoUsd ?? 0)).toBe(0.25);
    expect(machinesOf(monday?.hours.slice(22) ?? [])).toBe('01');
  });

  it('shows the most machines that run at one time in an hour, not all that run in it', () => {
    const windows = (fromMinute: number, toMinute: number) => [{ weekdays: [2], fromMinute, toMinute }];
    const apart = [
      quoted({ name: 'a', count: 3, windows: windows(600, 610) }),
      quoted({ name: 'b', windows: windows(650, 659) }),
    ];
    const [, tuesday] = planWeek(apart, nowMs, newYork).days;
    expect(machinesOf(tuesday?.hours.slice(9, 12) ?? [])).toBe('330');
    const together = [...apart, quoted({ name: 'c', windows: windows(620, 640) })];
    expect(machinesOf(planWeek(together, nowMs, newYork).days[1]?.hours.slice(9, 12) ?? [])).toBe('340');
  });

  it.each([
    ['23 hours on the day on which clocks go forward', '2026-03-08', 23],
    ['25 hours on the day on which they go back', '2026-11-01', 25],
  ])('has %s', (_, date, hours) => {
    const [day] = planWeek([quoted()], Date.parse(`${date}T12:00:00Z`), newYork).days;
    expect(day?.hours).toHaveLength(hours);
  });

  it('adds up: minutes walked one by one cost what hours, days and stays say', () => {
    const minute = fc.integer({ min: 0, max: 1439 });
    const own = fc
      .record({
        count: fc.integer({ min: 1, max: 3 }),
        types: fc.constantFrom<string[][]>(['small'], ['large'], ['small', 'large']),
        timeZone: fc.constantFrom(newYork, 'Asia/Kathmandu', 'Europe/Berlin'),
        windows: fc.tuple(
          fc.record({
            weekdays: fc.uniqueArray(fc.integer({ min: 1, max: 7 }), { minLength: 1 }),
            fromMinute: minute,
            toMinute: minute,
          }),
        ),
      })
      .filter(({ windows: [window] }) => window.fromMinute !== window.toMinute);
    fc.assert(
      fc.property(
        fc.array(own, { minLength: 1, maxLength: 2 }),
        fc.integer({ min: 0, max: 400 }),
        fc.constantFrom(newYork, 'Australia/Lord_Howe', 'UTC'),
        (all, day, timeZone) => {
          const entries = all.map(quoted);
          const plan = planWeek(entries, Date.parse('2026-01-01T03:00Z') + day * 86_400_000, timeZone);
          const fromMs = plan.days[0]?.period.startMs ?? 0;
          const toMs = plan.days.at(-1)?.period.endMs ?? 0;
          let walkedNanoUsd = 0;
          for (const { entry, quote } of entries) {
            const { leadMs, centsPerHour } = quote.usual;
            for (const window of windowsBetween(entry, fromMs, toMs + leadMs))
              for (let ms = window.startMs - leadMs; ms < window.endMs; ms += minuteMs)
                if (ms >= fromMs && ms < toMs) walkedNanoUsd += (entry.count * centsPerHour * 1e7) / 60;
          }
          // Parts of a minute's price are rounded once for each piece.
          expect(Math.abs(plan.costNanoUsd - walkedNanoUsd)).toBeLessThan(100);
          for (const { costNanoUsd, worstNanoUsd, hours, stays } of plan.days) {
            const total = (parts: { costNanoUsd: number }[]) => parts.reduce((sum, part) => sum + part.costNanoUsd, 0);
            expect(total(hours)).toBe(costNanoUsd);
            expect(total(stays)).toBe(costNanoUsd);
            expect(worstNanoUsd).toBeGreaterThanOrEqual(costNanoUsd);
            expect(hours.every((hour) => hour.machines > 0 === hour.costNanoUsd > 0)).toBe(true);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
