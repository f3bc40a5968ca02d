import type { FleetEntry } from '../config/schema.ts';
import { instanceCostNano } from '../money.ts';
import { Calendar, type Period } from '../usage/calendar.ts';
import type { Quote, Rate } from './rates.ts';
import { windowsBetween } from './schedule.ts';

/** What a schedule does and costs, before it does it. Pure. */

const hourMs = 3_600_000;
const daysOfPlan = 7;

export interface QuotedEntry {
  entry: FleetEntry;
  quote: Quote;
}

/** The machines of one window, from their launch to their end. */
export interface Stay {
  entry: FleetEntry;
  rate: Rate;
  /** The launch, which is before the window opens. */
  startMs: number;
  endMs: number;
}

export interface Cost {
  /** With the machines that are wanted most. */
  costNanoUsd: number;
  /** With the dearest that may come instead. */
  worstNanoUsd: number;
}

export interface PlannedHour extends Cost {
  startMs: number;
  /** The most at one time. */
  machines: number;
}

export interface PlannedDay extends Cost {
  period: Period;
  /** 24, but for days on which clocks change. */
  hours: PlannedHour[];
  /** Cut to this day. */
  stays: (Stay & { costNanoUsd: number })[];
}

export interface WeekPlan extends Cost {
  days: PlannedDay[];
  /** The whole calendar month that `nowMs` is in. */
  month: Cost & { period: Period };
}

/** Today and the six days after it, whole days of the budget's calendar. */
export function planWeek(entries: readonly QuotedEntry[], nowMs: number, timeZone: string): WeekPlan {
  const calendar = new Calendar(timeZone);
  const { month } = calendar.at(nowMs);
  const days: PlannedDay[] = [];
  for (let atMs = nowMs; days.length < daysOfPlan; ) {
    const { day } = calendar.at(atMs);
    days.push(planDay(entries, day));
    atMs = day.endMs;
  }
  return {
    days,
    costNanoUsd: sum(days.map(({ costNanoUsd }) => costNanoUsd)),
    worstNanoUsd: sum(days.map(({ worstNanoUsd }) => worstNanoUsd)),
    month: { period: month, ...costOf(entries, month) },
  };
}

function planDay(entries: readonly QuotedEntry[], period: Period): PlannedDay {
  const { startMs: dayStartMs, endMs: dayEndMs } = period;
  const usual = staysWithin(entries, 'usual', dayStartMs, dayEndMs);
  const worst = staysWithin(entries, 'worst', dayStartMs, dayEndMs);
  const hours: PlannedHour[] = [];
  for (let startMs = dayStartMs; startMs < dayEndMs; startMs += hourMs) {
    const endMs = Math.min(startMs + hourMs, dayEndMs);
    hours.push({
      startMs,
      machines: mostAtOnce(usual, startMs, endMs),
      costNanoUsd: costBetween(usual, startMs, endMs),
      worstNanoUsd: costBetween(worst, startMs, endMs),
    });
  }
  const stays = usual.map((stay) => ({
    ...stay,
    startMs: Math.max(stay.startMs, dayStartMs),
    endMs: Math.min(stay.endMs, dayEndMs),
    costNanoUsd: costBetween([stay], dayStartMs, dayEndMs),
  }));
  return {
    period,
    hours,
    stays: stays.toSorted((one, other) => one.startMs - other.startMs),
    costNanoUsd: costBetween(usual, dayStartMs, dayEndMs),
    worstNanoUsd: costBetween(worst, dayStartMs, dayEndMs),
  };
}

function costOf(entries: readonly QuotedEntry[], { startMs, endMs }: Period): Cost {
  return {
    costNanoUsd: costBetween(staysWithin(entries, 'usual', startMs, endMs), startMs, endMs),
    worstNanoUsd: costBetween(staysWithin(entries, 'worst', startMs, endMs), startMs, endMs),
  };
}

/** The stays of which some is in the span, whole. */
export function staysWithin(
  entries: readonly QuotedEntry[],
  which: 'usual' | 'worst',
  fromMs: number,
  toMs: number,
): Stay[] {
  return entries.flatMap(({ entry, quote }) => {
    const rate = quote[which];
    return windowsBetween(entry, fromMs, toMs + rate.leadMs).map((window) => ({
      entry,
      rate,
      startMs: window.startMs - rate.leadMs,
      endMs: window.endMs,
    }));
  });
}

/** What stays cost within a span. The parts of a stay add up to the whole, to the nano-dollar. */
export function costBetween(stays: readonly Stay[], fromMs: number, toMs: number): number {
  return sum(
    stays.map(({ entry, rate, startMs, endMs }) => {
      const untilMs = (ms: number) => instanceCostNano(rate.centsPerHour, Math.min(ms, endMs) - startMs);
      return entry.count * (untilMs(toMs) - untilMs(fromMs));
    }),
  );
}

function mostAtOnce(stays: readonly Stay[], fromMs: number, toMs: number): number {
  const within = stays.filter(({ startMs, endMs }) => startMs < toMs && endMs > fromMs);
  // The number rises only where one begins.
  const counts = within.map(({ startMs }) => {
    const atMs = Math.max(startMs, fromMs);
    return sum(within.filter((stay) => stay.startMs <= atMs && stay.endMs > atMs).map(({ entry }) => entry.count));
  });
  return Math.max(0, ...counts);
}

export function sum(amounts: readonly number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0);
}
