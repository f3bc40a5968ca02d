import type { IANAZone } from 'luxon';

/**
 * From what clocks on the wall show to moments, for whole years in milliseconds: Luxon's dates take a hundred times as
 * long, and know one answer only for a time that comes twice. Days are counted from 1970-01-01.
 */

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
export const dayMs = 24 * hourMs;

/** The day that the calendar on the wall shows. */
export function dayAt(zone: IANAZone, ms: number): number {
  return Math.floor((ms + zone.offset(ms) * minuteMs) / dayMs);
}

/** 1 (Monday) to 7 of a day that is counted from 1970-01-01, which was a Thursday. */
export function weekdayOf(day: number): number {
  return ((((day + 3) % 7) + 7) % 7) + 1;
}

/** The first moment at which the clock on the wall shows `wallMs` (milliseconds as if it were UTC) or later. */
export function firstAt(zone: IANAZone, wallMs: number): number {
  const { before, after, changeMs } = offsetsAround(zone, wallMs);
  return wallMs - before < changeMs ? wallMs - before : Math.max(changeMs, wallMs - after);
}

/** The end of the last moment at which the clock on the wall shows less than `wallMs`. */
export function lastBefore(zone: IANAZone, wallMs: number): number {
  const { before, after, changeMs } = offsetsAround(zone, wallMs);
  return wallMs - after > changeMs ? wallMs - after : Math.min(changeMs, wallMs - before);
}

/** What clocks are ahead of UTC around a local time, and when that changes, if it does. In milliseconds. */
interface Offsets {
  before: number;
  after: number;
  changeMs: number;
}

const mostKnown = 5_000;
/** Schedules ask about the same few times again and again, and each answer takes several dates to be written out. */
const known = new Map<string, Offsets>();

function offsetsAround(zone: IANAZone, wallMs: number): Offsets {
  const key = `${zone.name} ${wallMs}`;
  const offsets = known.get(key) ?? readOffsets(zone, wallMs);
  if (known.size >= mostKnown) known.clear();
  known.set(key, offsets);
  return offsets;
}

function readOffsets(zone: IANAZone, wallMs: number): Offsets {
  const offsetAt = (ms: number) => zone.offset(ms) * minuteMs;
  // No place is further ahead of UTC than 14 hours, or further behind than 12.
  let low = wallMs - 15 * hourMs;
  let high = wallMs + 13 * hourMs;
  const before = offsetAt(low);
  const after = offsetAt(high);
  if (before === after) return { before, after, changeMs: high };
  while (high - low > minuteMs) {
    const middle = Math.floor((low + high) / 2 / minuteMs) * minuteMs;
    if (offsetAt(middle) === before) low = middle;
    else high = middle;
  }
  return { before, after, changeMs: high };
}
