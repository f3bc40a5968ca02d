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

  /** The start of the local day `days` before the one that `ms` is in. */
  startOfDayBefore(ms: number, days: number): number {
    return DateTime.fromMillis(ms, { zone: this.timeZone }).startOf('day').minus({ days }).toMillis();
  }

  /** A date (`2026-11-01`, local midnight) or an ISO time. `null` when it is neither. */
  parse(text: string): number | null {
    const moment = DateTime.fromISO(text, { zone: this.timeZone });
    return moment.isValid ? moment.toMillis() : null;
  }

  /** `2026-11-24 00:00`. */
  format(ms: number): string {
    return DateTime.fromMillis(ms, { zone: this.timeZone }).toFormat('yyyy-MM-dd HH:mm');
  }
}

function period(moment: DateTime, unit: 'day' | 'month', format: string): Period {
  const start = moment.startOf(unit);
  return { name: start.toFormat(format), startMs: start.toMillis(), endMs: start.plus({ [unit]: 1 }).toMillis() };
}
