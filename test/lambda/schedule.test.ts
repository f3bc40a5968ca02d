import fc from 'fast-check';
import { DateTime } from 'luxon';
import { describe, expect, it } from 'vitest';
import type { FleetEntry } from '../../src/config/schema.ts';
import { nextChange, slotsWanted, type Window, windowsBetween } from '../../src/lambda/schedule.ts';
import { entryOf } from './entries.ts';

const minuteMs = 60_000;
const dayMs = 86_400_000;

function iso(windows: Window[], zone: string): string[] {
  const text = (ms: number) => DateTime.fromMillis(ms, { zone }).toFormat("MM-dd HH:mm'Z'Z");
  return windows.map(({ startMs, endMs }) => `${text(startMs)} ${text(endMs)}`);
}

/** Every minute whose wall-clock time is in a window is walked over; those of one window on one day make a span. */
function walk(entry: FleetEntry, fromMs: number, toMs: number): Window[] {
  const spans = new Map<string, Window>();
  for (let ms = fromMs; ms < toMs; ms += minuteMs) {
    const wall = DateTime.fromMillis(ms, { zone: entry.timeZone });
    const minute = wall.hour * 60 + wall.minute;
    // Of dates, not of moments: a day of the calendar is one day, however long.
    const date = DateTime.utc(wall.year, wall.month, wall.day);
    const yesterday = date.minus({ days: 1 });
    for (const [index, { weekdays, fromMinute, toMinute }] of entry.windows.entries()) {
      const crosses = toMinute <= fromMinute;
      const today = weekdays.includes(date.weekday) && minute >= fromMinute && (crosses || minute < toMinute);
      const began = crosses && weekdays.includes(yesterday.weekday) && minute < toMinute;
      for (const day of [...(today ? [date] : []), ...(began ? [yesterday] : [])]) {
        const key = `${index} ${day.toISODate()}`;
        spans.set(key, { startMs: spans.get(key)?.startMs ?? ms, endMs: ms + minuteMs });
      }
    }
  }
  return [...spans.values()];
}

/** Spans that touch or overlap, joined. */
function joined(windows: Window[]): Window[] {
  const all: Window[] = [];
  for (const window of windows.toSorted((one, other) => one.startMs - other.startMs)) {
    const last = all.at(-1);
    if (last && window.startMs <= last.endMs) last.endMs = Math.max(last.endMs, window.endMs);
    else all.push({ ...window });
  }
  return all;
}

const hoursOf = (windows: Window[]) => windows.map(({ startMs, endMs }) => (endMs - startMs) / 3_600_000);
const newYork = 'America/New_York';

function onDay(date: string, windows: FleetEntry['windows'], timeZone = newYork): Window[] {
  const start = DateTime.fromISO(date, { zone: timeZone });
  return windowsBetween(
    entryOf({ windows, timeZone }),
    start.toMillis(),
    start.plus({ days: 1 }).startOf('day').toMillis(),
  );
}

const daily = (from: string, to: string): FleetEntry['windows'] => {
  const minutes = (time: string) => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
  return [{ weekdays: [1, 2, 3, 4, 5, 6, 7], fromMinute: minutes(from), toMinute: minutes(to) }];
};

describe('windows', () => {
  it('are nine hours from nine to six on every weekday, also in the week in which clocks change', () => {
    const entry = entryOf();
    const from = DateTime.fromISO('2026-10-30', { zone: newYork });
    const windows = windowsBetween(entry, from.toMillis(), from.plus({ days: 7 }).toMillis());
    expect(iso(windows, newYork)).toEqual([
      '10-30 09:00Z-4 10-30 18:00Z-4',
      '11-02 09:00Z-5 11-02 18:00Z-5',
      '11-03 09:00Z-5 11-03 18:00Z-5',
      '11-04 09:00Z-5 11-04 18:00Z-5',
      '11-05 09:00Z-5 11-05 18:00Z-5',
    ]);
    expect(hoursOf(windows)).toEqual([9, 9, 9, 9, 9]);
  });

  it('cross midnight, and count to the day on which they open', () => {
    const entry = entryOf({ windows: [{ weekdays: [5], fromMinute: 1320, toMinute: 120 }] });
    const from = DateTime.fromISO('2026-11-23', { zone: newYork });
    expect(iso(windowsBetween(entry, from.toMillis(), from.plus({ days: 7 }).toMillis()), newYork)).toEqual([
      '11-27 22:00Z-5 11-28 02:00Z-5',
    ]);
  });

  it('last as long as the clock on the wall is in them on the day of the change', () => {
    expect(hoursOf(onDay('2026-03-08', daily('00:00', '09:00')))).toEqual([8]);
    expect(hoursOf(onDay('2026-11-01', daily('00:00', '09:00')))).toEqual([10]);
  });

  it('begin after the hour that is skipped when they would begin in it', () => {
    expect(iso(onDay('2026-03-08', daily('02:30', '05:00')), newYork)).toEqual(['03-08 03:00Z-4 03-08 05:00Z-4']);
  });

  it('are left out when the hour that is skipped holds all of them', () => {
    expect(onDay('2026-03-08', daily('02:10', '02:50'))).toEqual([]);
  });

  it('begin at the first and end at the second of a time that comes twice', () => {
    expect(iso(onDay('2026-11-01', daily('01:30', '05:00')), newYork)).toEqual(['11-01 01:30Z-4 11-01 05:00Z-5']);
    expect(iso(onDay('2026-11-01', daily('00:30', '01:30')), newYork)).toEqual(['11-01 00:30Z-4 11-01 01:30Z-5']);
    expect(iso(onDay('2026-11-01', daily('00:30', '01:00')), newYork)).toEqual(['11-01 00:30Z-4 11-01 01:00Z-4']);
    expect(iso(onDay('2026-11-01', daily('02:00', '03:00')), newYork)).toEqual(['11-01 02:00Z-5 11-01 03:00Z-5']);
  });

  it('that follow each other never share a moment, also in an hour that comes twice', () => {
    const windows = onDay('2026-11-01', [...daily('01:00', '01:30'), ...daily('01:30', '02:00')]);
    expect(iso(windows, newYork)).toEqual(['11-01 01:00Z-4 11-01 01:30Z-5', '11-01 01:30Z-5 11-01 02:00Z-5']);
  });

  it('are right where clocks change at midnight, by half an hour, and never', () => {
    // Half an hour, at two o'clock.
    expect(hoursOf(onDay('2026-10-04', daily('01:00', '04:00'), 'Australia/Lord_Howe'))).toEqual([2.5]);
    // From 00:00 to 01:00: the day begins at one o'clock.
    expect(iso(onDay('2026-03-29', daily('00:00', '02:00'), 'Asia/Beirut'), 'Asia/Beirut')).toEqual([
      '03-29 01:00Z+3 03-29 02:00Z+3',
    ]);
    expect(hoursOf(onDay('2026-03-29', daily('00:00', '24:00'), 'Asia/Tokyo'))).toEqual([24]);
  });

  it('are whole, and only those that are open in the span', () => {
    const entry = entryOf({ windows: daily('09:00', '18:00'), timeZone: 'UTC' });
    const at = (time: string) => Date.parse(`2026-11-24T${time}Z`);
    const whole = [{ startMs: at('09:00'), endMs: at('18:00') }];
    expect(windowsBetween(entry, at('17:59'), at('18:00'))).toEqual(whole);
    expect(windowsBetween(entry, at('08:00'), at('09:00:01'))).toEqual(whole);
    const night = entryOf({ windows: daily('20:00', '10:00'), timeZone: 'UTC' });
    expect(windowsBetween(night, at('00:30'), at('09:30'))).toEqual([
      { startMs: at('20:00') - dayMs, endMs: at('10:00') },
    ]);
    expect(windowsBetween(entry, at('18:00'), at('20:00'))).toEqual([]);
    expect(windowsBetween(entry, at('08:00'), at('09:00'))).toEqual([]);
  });

  it('are those that a walk over every minute finds', () => {
    const zones = [
      'America/New_York',
      'Europe/Berlin',
      'Australia/Lord_Howe',
      'Asia/Beirut',
      'America/Santiago',
      'Africa/Casablanca',
      'Pacific/Apia',
      'Asia/Kathmandu',
      'UTC',
    ];
    // Days around which clocks change somewhere, and any day.
    const day = fc.oneof(
      fc.constantFrom('2026-03-08', '2026-03-29', '2026-11-01', '2026-10-25', '2026-10-04', '2026-04-05', '2026-09-06'),
      fc.constantFrom('2026-02-15', '2026-03-22', '2026-04-04', '2027-02-07', '2011-12-30', '2011-09-24'),
      fc.integer({ min: 0, max: 700 }).map((days) => new Date(Date.UTC(2026, 0, 1) + days * dayMs).toISOString()),
    );
    const minute = fc.oneof(
      fc.integer({ min: 0, max: 1439 }),
      fc.integer({ min: 0, max: 48 }).map((half) => (half * 5) % 1440),
    );
    const window = fc
      .record({
        weekdays: fc.uniqueArray(fc.integer({ min: 1, max: 7 }), { minLength: 1 }),
        fromMinute: minute,
        toMinute: fc.oneof(minute, fc.constant(1440)),
      })
      .filter(({ fromMinute, toMinute }) => fromMinute !== toMinute);
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        day,
        fc.array(window, { minLength: 1, maxLength: 2 }),
        (timeZone, date, windows) => {
          const entry = entryOf({ timeZone, windows });
          const fromMs = Date.parse(date) - dayMs / 2;
          const toMs = fromMs + 2 * dayMs;
          // Walked from earlier to later than asked for, so that windows are whole.
          const walked = walk(entry, fromMs - 1.2 * dayMs, toMs + 1.2 * dayMs);
          const open = ({ startMs, endMs }: Window) => startMs < toMs && endMs > fromMs;
          const found = windowsBetween(entry, fromMs, toMs);
          const cut = ({ startMs, endMs }: Window) => ({
            startMs: Math.max(startMs, fromMs),
            endMs: Math.min(endMs, toMs),
          });
          expect(joined(found.map(cut))).toEqual(joined(walked.filter(open).map(cut)));
          for (const [index, later] of found.slice(1).entries())
            expect(later.startMs).toBeGreaterThanOrEqual(found[index]?.endMs ?? Number.POSITIVE_INFINITY);
          expect(found.every(({ startMs, endMs }) => startMs < endMs)).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
  }, 60_000);

  it('are the same whatever span is asked for', () => {
    const entry = entryOf({ windows: [...daily('01:00', '01:30'), ...daily('01:30', '02:00')] });
    const from = Date.parse('2026-10-31T00:00Z');
    const all = windowsBetween(entry, from, from + 4 * dayMs);
    for (let ms = from; ms < from + 3 * dayMs; ms += 7 * minuteMs)
      for (const window of windowsBetween(entry, ms, ms + minuteMs)) expect(all).toContainEqual(window);
  });
});

describe('slots', () => {
  const entry = entryOf({ name: 'analysts', count: 2 });
  const at = (time: string) => Date.parse(`2026-11-24T${time}-05:00`);
  const window = { startMs: at('09:00'), endMs: at('18:00') };
  const lead = 15 * minuteMs;

  it('are wanted from the lead time before the window until its end', () => {
    const wanted = [
      { slot: 'analysts/1@2026-11-24T14:00:00Z', index: 1, window },
      { slot: 'analysts/2@2026-11-24T14:00:00Z', index: 2, window },
    ];
    expect(slotsWanted(entry, at('08:45') - 1, lead)).toEqual([]);
    expect(slotsWanted(entry, at('08:45'), lead)).toEqual(wanted);
    expect(slotsWanted(entry, at('18:00') - 1, lead)).toEqual(wanted);
    expect(slotsWanted(entry, at('18:00'), lead)).toEqual([]);
  });

  it('are those of two windows while one is open and the next is near', () => {
    const twice = entryOf({ windows: [...daily('08:00', '12:00'), ...daily('12:00', '18:00')] });
    expect(slotsWanted(twice, at('11:50'), lead).map(({ slot }) => slot)).toEqual([
      'analysts/1@2026-11-24T13:00:00Z',
      'analysts/1@2026-11-24T17:00:00Z',
    ]);
  });
});

describe('the next change', () => {
  const at = (time: string) => Date.parse(`${time}-05:00`);

  it('is the opening of the next window, or the end of the one that is open', () => {
    const entry = entryOf();
    expect(nextChange(entry, at('2026-11-24T08:59'))).toEqual({ atMs: at('2026-11-24T09:00'), what: 'opens' });
    expect(nextChange(entry, at('2026-11-24T09:00'))).toEqual({ atMs: at('2026-11-24T18:00'), what: 'closes' });
    expect(nextChange(entry, at('2026-11-27T18:00'))).toEqual({ atMs: at('2026-11-30T09:00'), what: 'opens' });
  });

  it('is the end of the last of windows that follow each other', () => {
    const entry = entryOf({ windows: [...daily('08:00', '12:00'), ...daily('12:00', '18:00')] });
    expect(nextChange(entry, at('2026-11-24T09:00'))).toEqual({ atMs: at('2026-11-24T18:00'), what: 'closes' });
  });

  it('is none for what is always open', () => {
    const entry = entryOf({ windows: [...daily('00:00', '12:00'), ...daily('12:00', '24:00')] });
    expect(nextChange(entry, at('2026-11-24T09:00'))).toBeNull();
  });

  it('is found in the week after, when the hour that is skipped takes this week away', () => {
    const entry = entryOf({ windows: [{ weekdays: [7], fromMinute: 130, toMinute: 170 }] });
    expect(nextChange(entry, at('2026-03-01T12:00'))).toEqual({
      atMs: Date.parse('2026-03-15T02:10-04:00'),
      what: 'opens',
    });
  });
});
