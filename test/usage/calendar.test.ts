import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Calendar } from '../../src/usage/calendar.ts';

const hourMs = 60 * 60_000;
const at = (text: string) => Date.parse(text);

describe('a day', () => {
  it('runs from midnight to midnight of the time zone', () => {
    const { day } = new Calendar('Asia/Tokyo').at(at('2026-11-23T16:00:00Z'));
    expect(day).toEqual({
      name: '2026-11-24',
      startMs: at('2026-11-23T15:00:00Z'),
      endMs: at('2026-11-24T15:00:00Z'),
    });
  });

  it('has 23 hours in New York when clocks go forward', () => {
    const { day } = new Calendar('America/New_York').at(at('2026-03-08T12:00:00Z'));
    expect(day.name).toBe('2026-03-08');
    expect(day.startMs).toBe(at('2026-03-08T05:00:00Z'));
    expect(day.endMs - day.startMs).toBe(23 * hourMs);
  });

  it('has 25 hours in New York when clocks go back', () => {
    const { day } = new Calendar('America/New_York').at(at('2026-11-01T12:00:00Z'));
    expect(day.name).toBe('2026-11-01');
    expect(day.startMs).toBe(at('2026-11-01T04:00:00Z'));
    expect(day.endMs - day.startMs).toBe(25 * hourMs);
  });

  it('holds both of the hours that a clock shows twice', () => {
    const calendar = new Calendar('America/New_York');
    expect(calendar.at(at('2026-11-01T05:30:00Z')).day.name).toBe('2026-11-01');
    expect(calendar.at(at('2026-11-01T06:30:00Z')).day.name).toBe('2026-11-01');
  });

  it('ends at midnight where clocks went forward at the midnight before', () => {
    const calendar = new Calendar('Africa/Cairo');
    const { day } = calendar.at(at('2026-04-24T12:00:00Z'));
    expect(day).toEqual({
      name: '2026-04-24',
      startMs: at('2026-04-23T22:00:00Z'),
      endMs: at('2026-04-24T21:00:00Z'),
    });
    expect(calendar.at(at('2026-04-24T21:30:00Z')).day.name).toBe('2026-04-25');
  });

  it('begins at the first midnight where clocks go back from one to midnight', () => {
    const { day, month } = new Calendar('America/Havana').at(at('2026-11-01T17:00:00Z'));
    expect(day).toEqual({
      name: '2026-11-01',
      startMs: at('2026-11-01T04:00:00Z'),
      endMs: at('2026-11-02T05:00:00Z'),
    });
    expect(month.startMs).toBe(day.startMs);
  });

  it('begins anew at its last millisecond plus one', () => {
    const calendar = new Calendar('UTC');
    expect(calendar.at(at('2026-11-23T23:59:59.999Z')).day.name).toBe('2026-11-23');
    expect(calendar.at(at('2026-11-24T00:00:00.000Z')).day.name).toBe('2026-11-24');
  });
});

describe('a month', () => {
  it('runs from its first midnight to the next one', () => {
    const { month } = new Calendar('America/New_York').at(at('2026-03-08T12:00:00Z'));
    expect(month).toEqual({ name: '2026-03', startMs: at('2026-03-01T05:00Z'), endMs: at('2026-04-01T04:00Z') });
  });

  it('turns with the year', () => {
    const calendar = new Calendar('UTC');
    expect(calendar.at(at('2026-12-31T23:59:59Z')).month.name).toBe('2026-12');
    expect(calendar.at(at('2027-01-01T00:00:00Z')).month.name).toBe('2027-01');
  });
});

describe('days and months anywhere', () => {
  // Among them half hours, the date line, and clocks that change at midnight.
  const zones = ['UTC', 'America/New_York', 'Asia/Kolkata', 'Pacific/Kiritimati', 'Pacific/Pago_Pago', 'Asia/Beirut'];
  const midnightZones = [
    'Africa/Cairo',
    'America/Santiago',
    'America/Havana',
    'Atlantic/Azores',
    'Australia/Lord_Howe',
  ];
  const anyZone = fc.constantFrom(...zones, ...midnightZones);
  const anyMoment = fc.integer({ min: at('2025-01-01'), max: at('2029-01-01') });

  it('hold the moment that was asked for and are named by the local date', () => {
    fc.assert(
      fc.property(anyZone, anyMoment, (zone, ms) => {
        const { day, month } = new Calendar(zone).at(ms);
        const local = new Intl.DateTimeFormat('sv-SE', { timeZone: zone }).format(ms);
        expect(day.name).toBe(local);
        expect(month.name).toBe(local.slice(0, 7));
        for (const { startMs, endMs } of [day, month]) expect(startMs <= ms && ms < endMs).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('follow each other without a gap', () => {
    fc.assert(
      fc.property(anyZone, anyMoment, (zone, ms) => {
        const { day, month } = new Calendar(zone).at(ms);
        expect(new Calendar(zone).at(day.endMs).day.startMs).toBe(day.endMs);
        expect(new Calendar(zone).at(month.endMs).month.startMs).toBe(month.endMs);
      }),
      { numRuns: 150 },
    );
  });

  it('follow each other in zones whose clocks change at midnight, on every day of a year', () => {
    for (const zone of midnightZones) {
      const calendar = new Calendar(zone);
      let endMs = calendar.at(at('2026-01-01T12:00:00Z')).day.startMs;
      for (let days = 0; days < 365; days += 1) {
        const { day } = calendar.at(endMs + 12 * hourMs);
        expect(`${zone} ${day.name} ${day.startMs}`).toBe(`${zone} ${day.name} ${endMs}`);
        expect(calendar.startOfDayBefore(day.endMs, 1)).toBe(day.startMs);
        endMs = day.endMs;
      }
    }
  });

  it('do not depend on what was asked for before', () => {
    fc.assert(
      fc.property(anyZone, fc.array(anyMoment, { minLength: 2, maxLength: 5 }), (zone, moments) => {
        const used = new Calendar(zone);
        for (const ms of moments) expect(used.at(ms)).toEqual(new Calendar(zone).at(ms));
      }),
      { numRuns: 50 },
    );
  });
});

describe('days before', () => {
  it('begin at local midnight, across a change of clocks', () => {
    const calendar = new Calendar('America/New_York');
    expect(calendar.startOfDayBefore(at('2026-03-09T12:00:00Z'), 6)).toBe(at('2026-03-03T05:00:00Z'));
    expect(calendar.startOfDayBefore(at('2026-03-09T12:00:00Z'), 0)).toBe(at('2026-03-09T04:00:00Z'));
  });
});

describe('texts', () => {
  const calendar = new Calendar('America/New_York');

  it('reads a date as local midnight and a time as local time', () => {
    expect(calendar.parse('2026-11-01')).toBe(at('2026-11-01T04:00:00Z'));
    expect(calendar.parse('2026-11-02T09:00')).toBe(at('2026-11-02T14:00:00Z'));
  });

  it('obeys the offset of a time that has one', () => {
    expect(calendar.parse('2026-11-01T09:00:00Z')).toBe(at('2026-11-01T09:00:00Z'));
  });

  it.each(['', 'yesterday', '2026-02-30', '2026-13-01', '11/01/2026'])('does not take %j for a date', (text) => {
    expect(calendar.parse(text)).toBeNull();
  });

  it('writes local time', () => {
    expect(calendar.format(at('2026-11-24T05:00:00Z'))).toBe('2026-11-24 00:00');
  });
});
