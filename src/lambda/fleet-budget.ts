import { DateTime, IANAZone } from 'luxon';
import type { Config } from '../config/index.ts';
import type { FleetEntry } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import { formatUsd, hourlyNano } from '../money.ts';
import { type Prices, priceSnapshot, quoteFor } from './rates.ts';
import { windowMarginMs } from './schedule.ts';
import { dayAt, dayMs, firstAt } from './wall-clock.ts';
import { costBetween, type QuotedEntry, type Stay, staysWithin, sum } from './week-plan.ts';

type Budgets = Config['budgets'];

/** Months differ in their weekdays, and in some the clocks change: a plan must fit into all whole months of so long. */
const checkedDays = 400;

/** Spans of the calendar by name, with what each entry costs in them. */
type Sums = Map<string, Map<FleetEntry, number>>;

/**
 * What is wrong with the money of a schedule: prices that nobody knows, and the first day and month, from the present
 * ones on, that cost more than the budget when the dearest machines come that may. Empty: it fits.
 */
export function checkFleetBudget(
  fleet: readonly FleetEntry[],
  budgets: Budgets,
  prices: Prices,
  nowMs: number,
): string[] {
  const unpriced = fleet.flatMap((entry, index) => {
    const types = entry.types.filter((type) => !prices.has(type));
    if (entry.maxCentsPerHour !== null || types.length === 0) return [];
    return [
      `fleet[${index}].maxHourlyUsd: needed, since the price of ${types.join(', ')} is not known; give the most that one machine of ${entry.name} may cost per hour`,
    ];
  });
  const entries = fleet.flatMap((entry): QuotedEntry[] => {
    const quote = quoteFor(entry, prices);
    return quote ? [{ entry, quote }] : [];
  });
  const { days, months } = sumsOfYear(entries, budgets.timeZone, nowMs);
  const tooDear = [
    { sums: days, limitNanoUsd: budgets.dailyNanoUsd, key: 'budgets.dailyUsd', when: "'on' cccc yyyy-MM-dd" },
    { sums: months, limitNanoUsd: budgets.monthlyNanoUsd, key: 'budgets.monthlyUsd', when: "'in' LLLL yyyy" },
  ].flatMap(({ sums, limitNanoUsd, key, when }) => {
    const found = [...sums].find(([, costs]) => sum([...costs.values()]) > limitNanoUsd);
    if (!found) return [];
    const [name, costs] = found;
    const date = DateTime.fromISO(name, { zone: 'utc', locale: 'en-US' }).toFormat(when);
    return [
      `fleet: ${whatItCosts(costs, entries)} ${date}, more than ${key} allows (${formatUsd(limitNanoUsd)}); ask for fewer machines, shorter windows, cheaper types or a lower maxHourlyUsd, or raise the budget`,
    ];
  });
  return [...unpriced, ...tooDear];
}

/** Throws `config_invalid` when the schedule does not fit into the budgets at the prices that come with Tandem. */
export function requireAffordableFleet({ fleet, budgets }: Pick<Config, 'fleet' | 'budgets'>, nowMs: number): void {
  if (fleet.length === 0) return;
  refuse(
    checkFleetBudget(fleet, budgets, priceSnapshot().prices, nowMs),
    'Mend it and start again; `tandem plan` shows what it would do and cost.',
  );
}

/** Throws `config_invalid` with all problems, when there are any. */
export function refuse(problems: readonly string[], next: string): void {
  if (problems.length === 0) return;
  const list = problems.map((problem) => `  - ${problem}\n`).join('');
  throw new AppError('config_invalid', `The fleet in tandem.yaml cannot be kept:\n${list}`, { next });
}

/** By the local days and months in which the stays are; the present month is a whole one. */
function sumsOfYear(entries: readonly QuotedEntry[], timeZone: string, nowMs: number): { days: Sums; months: Sums } {
  const zone = IANAZone.create(timeZone);
  const today = dayAt(zone, nowMs);
  const [firstDay, lastDay] = [startOfMonth(today), startOfMonth(today + checkedDays)];
  const days: Sums = new Map();
  const months: Sums = new Map();
  // A launch has to have room in its days until its lease ends, and is refused without it.
  const stays = staysWithin(entries, 'worst', startOf(zone, firstDay), startOf(zone, lastDay)).map((stay) => ({
    ...stay,
    endMs: stay.endMs + windowMarginMs,
  }));
  let [next, open]: [number, Stay[]] = [0, []];
  stays.sort((one, other) => one.startMs - other.startMs);
  for (let day = firstDay; day < lastDay; day += 1) {
    const [startMs, endMs] = [startOf(zone, day), startOf(zone, day + 1)];
    open = open.filter((stay) => stay.endMs > startMs);
    for (let stay = stays[next]; stay && stay.startMs < endMs; stay = stays[next]) {
      open.push(stay);
      next += 1;
    }
    const name = new Date(day * dayMs).toISOString().slice(0, 10);
    for (const stay of open) {
      if (day >= today) add(days, name, stay, costBetween([stay], startMs, endMs));
      // Of all windows of a month but the last, the end has come by then, and nothing is held beyond it.
      const bare = { ...stay, endMs: stay.endMs - windowMarginMs };
      add(months, name.slice(0, 7), stay, costBetween([bare], startMs, endMs));
    }
  }
  return { days, months };
}

function startOf(zone: IANAZone, day: number): number {
  return firstAt(zone, day * dayMs);
}

function startOfMonth(day: number): number {
  return day + 1 - new Date(day * dayMs).getUTCDate();
}

function add(sums: Sums, name: string, { entry }: Stay, costNanoUsd: number): void {
  const costs = sums.get(name) ?? new Map<FleetEntry, number>();
  costs.set(entry, (costs.get(entry) ?? 0) + costNanoUsd);
  sums.set(name, costs);
}

/** `analysts would cost up to $77.22 for 2 x gpu_1x_h100_sxm5 at $4.29 per hour`; of several entries the sum and each. */
function whatItCosts(costs: ReadonlyMap<FleetEntry, number>, entries: readonly QuotedEntry[]): string {
  const parts = [...costs]
    .toSorted(([, one], [, other]) => other - one)
    .map(([entry, costNanoUsd]) => {
      const worst = entries.find((quoted) => quoted.entry === entry)?.quote.worst;
      const rate = worst && `${worst.type} at ${formatUsd(hourlyNano(worst.centsPerHour))} per hour`;
      return { name: entry.name, cost: `${formatUsd(costNanoUsd)} for ${entry.count} x ${rate}` };
    });
  const [only, ...more] = parts;
  if (only && more.length === 0) return `${only.name} would cost up to ${only.cost}`;
  const names = parts.map(({ name }) => name).join(' and ');
  const total = formatUsd(sum([...costs.values()]));
  return `${names} would cost up to ${total} together (${parts.map(({ name, cost }) => `${name} ${cost}`).join('; ')})`;
}
