import { IANAZone } from 'luxon';
import type { FleetEntry } from '../config/schema.ts';
import { dayAt, dayMs, firstAt, lastBefore, weekdayOf } from './wall-clock.ts';

/** When a schedule wants machines. Pure: everything follows from the entry and the times that are given. */

const minuteMs = 60_000;
/** By so much a machine's lease ends after its window, should draining take long. */
export const windowMarginMs = 10 * minuteMs;
/** Longer than any window and than any week whose only window falls into an hour that the clocks skip. */
const lookAheadMs = 15 * dayMs;
/** Windows that began so long ago can still be open, or cut one that is. */
const lookBackDays = 4;

export interface Window {
  startMs: number;
  /** Exclusive. */
  endMs: number;
}

/** One place in one window. */
export interface Slot {
  /** `NAME/INDEX@2026-11-24T14:00:00Z`: the same at each look, as long as the entry stays as it is. */
  slot: string;
  /** From 1. */
  index: number;
  window: Window;
}

/**
 * The windows that are open at some time from `fromMs` until before `toMs`, whole, in order; no two share a moment.
 * A window is open while the clock on the wall is between its times. Where clocks change, one that begins in an hour
 * that is skipped begins after it; of a time that comes twice, a window begins at the first and ends at the second.
 */
export function windowsBetween(entry: FleetEntry, fromMs: number, toMs: number): Window[] {
  const zone = IANAZone.create(entry.timeZone);
  const found: Window[] = [];
  for (let day = dayAt(zone, fromMs) - lookBackDays; day <= dayAt(zone, toMs) + 1; day += 1) {
    for (const { weekdays, fromMinute, toMinute } of entry.windows) {
      if (!weekdays.includes(weekdayOf(day))) continue;
      const lastDay = toMinute > fromMinute ? day : day + 1;
      const startMs = firstAt(zone, day * dayMs + fromMinute * minuteMs);
      const endMs = lastBefore(zone, lastDay * dayMs + toMinute * minuteMs);
      if (startMs < endMs) found.push({ startMs, endMs });
    }
  }
  return withoutOverlap(found).filter(({ startMs, endMs }) => startMs < toMs && endMs > fromMs);
}

/** The places that want a machine now: a machine is wanted `leadMs` before its window opens, to be ready then. */
export function slotsWanted(entry: FleetEntry, nowMs: number, leadMs: number): Slot[] {
  return windowsBetween(entry, nowMs, nowMs + leadMs + 1).flatMap((window) => {
    const start = `${new Date(window.startMs).toISOString().slice(0, 19)}Z`;
    return Array.from({ length: entry.count }, (_, at) => ({
      slot: `${entry.name}/${at + 1}@${start}`,
      index: at + 1,
      window,
    }));
  });
}

/** What a slot says; null: nothing that `slotsWanted` has made. */
export function placeOf(slot: string): { name: string; index: number; startMs: number } | null {
  const [, name = '', index, start = ''] = /^(.+)\/(\d+)@(.+)$/.exec(slot) ?? [];
  const startMs = Date.parse(start);
  return Number.isNaN(startMs) ? null : { name, index: Number(index), startMs };
}

/** When it next opens or closes; windows that follow each other without a gap count as one. Null: it always is open. */
export function nextChange(entry: FleetEntry, nowMs: number): { atMs: number; what: 'opens' | 'closes' } | null {
  const [next, ...later] = windowsBetween(entry, nowMs, nowMs + lookAheadMs);
  if (!next) return null;
  if (next.startMs > nowMs) return { atMs: next.startMs, what: 'opens' };
  let { endMs } = next;
  for (const window of later) if (window.startMs === endMs) endMs = window.endMs;
  return endMs >= nowMs + lookAheadMs ? null : { atMs: endMs, what: 'closes' };
}

/** Hours that come twice can make two windows of one that follows the other overlap: the later one waits. */
function withoutOverlap(windows: Window[]): Window[] {
  let endMs = Number.NEGATIVE_INFINITY;
  return windows
    .toSorted((one, other) => one.startMs - other.startMs || one.endMs - other.endMs)
    .flatMap((window) => {
      const startMs = Math.max(window.startMs, endMs);
      endMs = Math.max(window.endMs, endMs);
      return startMs < window.endMs ? [{ startMs, endMs: window.endMs }] : [];
    });
}
