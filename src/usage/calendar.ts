import { DateTime } from 'luxon';

/** A span of local time that a budget covers. `endMs` is exclusive and is when the budget is whole again. */
export interface Period {
  /** `YYYY-MM-DD` or `YYYY-MM`. */
  name: string;
  startMs: number;
  endMs: number;
}

/** Days and months as the budget's time zone has them: 23 to 25 hours a day when clocks change. */
export class Calendar {
  readonly timeZone: string;
  #today: { day: Period; month: Period } | undefined;

  constructor(timeZone: string) {
    this.timeZone = timeZone;
  }

  at(ms: number): { day: Period; month: Period } {
    const known = this.#today;
    if (known && ms >= known.day.startMs && ms < known.day.endMs) return known;
    const moment = DateTime.fromMillis(ms, { zone: this.timeZone });
    this.#today = { day: period(moment, 'day', 'yyyy-MM-dd'), month: period(moment, 'month', 'yyyy-MM') };
    return this.#today;
  }

  /** The days and the months from `fromMs` until `toMs`, those that they begin and end in included. */
  between(fromMs: number, toMs: number): { days: Period[]; months: Period[] } {
    const days: Period[] = [];
    const months = new Map<string, Period>();
    for (let ms = fromMs; days.length === 0 || ms < toMs; ) {
      const { day, month } = this.at(ms);
      days.push(day);
      months.set(month.name, month);
      ms = day.endMs;
    }
    return { days, months: [...months.values()] };
  }

  /** The start of the local day `days` before the one that `ms` is in. */
  startOfDayBefore(ms: number, days: number): number {
    const today = startOf(DateTime.fromMillis(ms, { zone: this.timeZone }), 'day');
    return startOf(today.minus({ days }), 'day').toMillis();
  }

  /** A date (`2026-11-01`, local midnight) or an ISO time. `null` when it is neither. */
  parse(text: string): number | null {
    if (!/^\d{4}-\d\d-\d\d/.test(text)) return null;
    const moment = DateTime.fromISO(text, { zone: this.timeZone });
    return moment.isValid ? moment.toMillis() : null;
  }

  /** `2026-11-24 00:00`. */
  format(ms: number): string {
    return DateTime.fromMillis(ms, { zone: this.timeZone }).toFormat('yyyy-MM-dd HH:mm');
  }
}

function period(moment: DateTime, unit: 'day' | 'month', format: string): Period {
  const start = startOf(moment, unit);
  // The start of the next, and not a day later: where clocks go forward at midnight, a day begins at 01:00.
  const end = startOf(start.plus({ [unit]: 1 }), unit);
  return { name: start.toFormat(format), startMs: start.toMillis(), endMs: end.toMillis() };
}

/** Where clocks go back to midnight there are two of them, and Luxon takes the second. */
function startOf(moment: DateTime, unit: 'day' | 'month'): DateTime {
  const start = moment.startOf(unit);
  const hourBefore = start.minus({ hours: 1 });
  return hourBefore.day === start.day ? hourBefore : start;
}
