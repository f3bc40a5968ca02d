import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import { formatUsd } from '../money.ts';
import type { Principal } from '../principal.ts';
import type { Bookings } from './bookings.ts';
import type { Calendar, Period } from './calendar.ts';
import { type Queries, select } from './database.ts';
import { type InstanceRow, instanceClaimNano, instanceCost, instancesWithin } from './instance-cost.ts';
import type { BudgetPeriodTable } from './tables.ts';

export interface BudgetLimits {
  dailyNanoUsd: number;
  monthlyNanoUsd: number;
}

/** One budget period: what was spent, what is promised to calls under way, what is left. */
export interface PeriodBudget {
  period: Period;
  unit: 'daily' | 'monthly';
  limitNanoUsd: number;
  tokensNanoUsd: number;
  /** The minutes of machines so far. */
  instancesNanoUsd: number;
  /** What machines may yet cost until their leases end. */
  heldNanoUsd: number;
  /** The most that calls under way can cost. */
  reservedNanoUsd: number;
  leftNanoUsd: number;
}

export interface BudgetState {
  day: PeriodBudget;
  month: PeriodBudget;
}

/** One limit as a transaction finds it: all of Tandem's, or one token's. */
export interface Allowance {
  /** `daily budget`, `monthly budget of token NAME`. */
  name: string;
  period: Period;
  limitNanoUsd: number;
  /** Below 0 when more was spent than was reserved. */
  leftNanoUsd: number;
  /** Whose it is; undefined: everybody's. */
  principalId?: string;
}

interface Reading {
  allowances: Allowance[];
  takenAt: number;
  /** The last transaction that knew it to be right; null: it was read outside of any, or time alone changes it. */
  turn: number | null;
}

/** For how long a reading serves routing decisions; other processes spend too. The ledger checks again. */
const readingServesMs = 250;

const counterOfPrincipal =
  'SELECT period, settled_nano_usd, reserved_nano_usd FROM principal_period WHERE principal_id = ? AND period = ?';

/** Limits per day and month over tokens and GPU minutes together. A limit of 0 means that nothing may be spent. */
export class Budget {
  readonly #limits: BudgetLimits;
  readonly #calendar: Calendar;
  readonly #clock: Clock;
  #reading: Reading | undefined;
  #bookings = 0;

  constructor(limits: BudgetLimits, calendar: Calendar, clock: Clock) {
    this.#limits = limits;
    this.#calendar = calendar;
    this.#clock = clock;
  }

  async state(queries: Queries): Promise<BudgetState> {
    const { day, month } = await this.#state(queries);
    return { day, month };
  }

  /** `isStill`: no machine lives, whose minutes would count on. */
  async #state(queries: Queries): Promise<BudgetState & { isStill: boolean }> {
    const nowMs = this.#clock.nowMs();
    const periods = this.#calendar.at(nowMs);
    const { read, isStill } = await this.#reader(queries, [periods.day], [periods.month], nowMs);
    return { day: read(periods.day, 'daily'), month: read(periods.month, 'monthly'), isStill };
  }

  /** Every day and month from now until then: what leases will cost tomorrow is claimed of tomorrow. */
  async until(queries: Queries, untilMs: number): Promise<PeriodBudget[]> {
    const nowMs = this.#clock.nowMs();
    const { days, months } = this.#calendar.between(nowMs, untilMs);
    const { read } = await this.#reader(queries, days, months, nowMs);
    return [...days.map((day) => read(day, 'daily')), ...months.map((month) => read(month, 'monthly'))];
  }

  /** Reads all that these periods need, at once. */
  async #reader(
    queries: Queries,
    days: readonly Period[],
    months: readonly Period[],
    nowMs: number,
  ): Promise<{ read: (period: Period, unit: PeriodBudget['unit']) => PeriodBudget; isStill: boolean }> {
    const names = [...days, ...months].map(({ name }) => name);
    const counters = await select<BudgetPeriodTable>(
      queries,
      `SELECT period, settled_nano_usd, reserved_nano_usd FROM budget_period WHERE period IN (${names.map(() => '?')})`,
      names,
    );
    const [first, last] = [months.at(0), months.at(-1)];
    const machines = first && last ? await instancesWithin(queries, first.startMs, last.endMs) : [];
    const limits = { daily: this.#limits.dailyNanoUsd, monthly: this.#limits.monthlyNanoUsd };
    const read = (period: Period, unit: PeriodBudget['unit']) => {
      const counter = counters.find((row) => row.period === period.name);
      const tokensNanoUsd = counter?.settled_nano_usd ?? 0;
      const reservedNanoUsd = counter?.reserved_nano_usd ?? 0;
      const sumOf = (amount: (row: InstanceRow) => number) => machines.reduce((sum, row) => sum + amount(row), 0);
      const claimedNanoUsd = sumOf((row) => instanceClaimNano(row, period, nowMs));
      const instancesNanoUsd = sumOf((row) => instanceCost(row, period.startMs, period.endMs, nowMs).costNanoUsd);
      const heldNanoUsd = claimedNanoUsd - instancesNanoUsd;
      const limitNanoUsd = limits[unit];
      const leftNanoUsd = Math.max(0, limitNanoUsd - tokensNanoUsd - reservedNanoUsd - claimedNanoUsd);
      return { period, unit, limitNanoUsd, tokensNanoUsd, instancesNanoUsd, heldNanoUsd, reservedNanoUsd, leftNanoUsd };
    };
    return { read, isStill: machines.length === 0 };
  }

  /**
   * The day's and the month's allowance as they are now. In the transaction with this `turn` they are read only where
   * something but bookings was written since the last one: reading them costs more than writing a row.
   */
  async allowances(queries: Queries, turn: number | null = null): Promise<Allowance[]> {
    const known = this.#reading;
    if (known && turn !== null && known.turn === turn - 1 && this.#isOfNow(known)) {
      this.#reading = { ...known, takenAt: performance.now(), turn };
      return known.allowances;
    }
    const bookings = this.#bookings;
    const { day, month, isStill } = await this.#state(queries);
    const allowances = [day, month].map((budget) => ({
      name: `${budget.unit} budget`,
      period: budget.period,
      limitNanoUsd: budget.limitNanoUsd,
      leftNanoUsd:
        budget.limitNanoUsd -
        budget.tokensNanoUsd -
        budget.reservedNanoUsd -
        budget.instancesNanoUsd -
        budget.heldNanoUsd,
    }));
    // Bookings made while it was read may be missing in it.
    if (bookings === this.#bookings)
      this.#reading = { allowances, takenAt: performance.now(), turn: isStill ? turn : null };
    return allowances;
  }

  /** Whether anything was ever booked on a budget of its own. */
  async hasOwn(queries: Queries, principalId: string): Promise<boolean> {
    return (
      (await select(queries, 'SELECT 1 FROM principal_period WHERE principal_id = ? LIMIT 1', [principalId])).length > 0
    );
  }

  /** What one token may still spend, read now; null when it has no budget of its own. */
  async allowanceOf(queries: Queries, { id, name, budget }: Principal): Promise<Allowance | null> {
    if (budget === null) return null;
    const period = this.#calendar.at(this.#clock.nowMs())[budget.per];
    const [counter] = await select<BudgetPeriodTable>(queries, counterOfPrincipal, [id, period.name]);
    const takenNanoUsd = (counter?.settled_nano_usd ?? 0) + (counter?.reserved_nano_usd ?? 0);
    return {
      name: `${budget.per === 'day' ? 'daily' : 'monthly'} budget of token ${name}`,
      period,
      limitNanoUsd: budget.limitNanoUsd,
      leftNanoUsd: budget.limitNanoUsd - takenNanoUsd,
      principalId: id,
    };
  }

  /**
   * What may still be spent, as of a moment ago: this process's own bookings are in it at once, those of others
   * within 250 ms. At once when it is known, which it is nearly always.
   */
  leftNanoUsd(queries: Queries): number | Promise<number> {
    const reading = this.#reading;
    const serves = reading && performance.now() - reading.takenAt < readingServesMs && this.#isOfNow(reading);
    return serves ? leastLeft(reading.allowances) : this.allowances(queries).then(leastLeft);
  }

  #isOfNow({ allowances }: Reading): boolean {
    const nowMs = this.#clock.nowMs();
    return allowances.every(({ period }) => nowMs >= period.startMs && nowMs < period.endMs);
  }

  /** Takes bookings of this process into the last reading. Call it inside the transaction that writes them. */
  booked(bookings: Bookings, turn: number): void {
    this.#bookings += 1;
    const reading = this.#reading;
    if (reading) reading.turn = reading.turn === turn || reading.turn === turn - 1 ? turn : null;
    for (const allowance of this.#reading?.allowances ?? [])
      allowance.leftNanoUsd -= bookings.takenNanoUsd(allowance.period.name);
  }

  /** The last reading does not hold any more. */
  forget(): void {
    this.#reading = undefined;
  }

  /**
   * Throws `budget_exhausted` when what a machine's row claims more than it did (null: nothing yet) does not fit into
   * every day and month until its lease ends, and says how long a lease from now on would. Call it inside the write
   * transaction that then writes the row.
   */
  async requireRoomForLease(queries: Queries, before: InstanceRow | null, after: InstanceRow): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const endMs = after.lease_expires_at_ms ?? nowMs;
    const budgets = await this.until(queries, endMs);
    this.forget();
    const moreIn = (period: Period, row: InstanceRow) =>
      instanceClaimNano(row, period, nowMs) - (before ? instanceClaimNano(before, period, nowMs) : 0);
    const shortFor = (row: InstanceRow) =>
      budgets.find(({ period, leftNanoUsd }) => moreIn(period, row) > Math.max(0, leftNanoUsd));
    const short = shortFor(after);
    if (!short) return;
    const { period, unit, limitNanoUsd, leftNanoUsd } = short;
    const fits = longest(
      Math.floor((endMs - nowMs) / leaseStepMs),
      (steps) => shortFor({ ...after, lease_expires_at_ms: nowMs + steps * leaseStepMs }) === undefined,
    );
    const when = period.startMs > nowMs ? ` for ${period.name}` : '';
    throw new AppError(
      'budget_exhausted',
      `The ${unit} budget of ${formatUsd(limitNanoUsd)}${when} has ${formatUsd(leftNanoUsd)} left; a lease of ${hours(endMs - nowMs)} h of ${after.instance_type} may cost ${formatUsd(moreIn(period, after))} of it. Nothing was done.`,
      {
        next: `${fits > 0 ? `A lease of ${hours(fits * leaseStepMs)} h would fit.` : 'No lease of it fits.'} Or choose a cheaper type, terminate something, or raise budgets in tandem.yaml.`,
      },
    );
  }

  /** The `budget_exhausted` of the first allowance that has no room, `pending` already taken from it. */
  refusal(
    allowances: readonly Allowance[],
    amountNanoUsd: number | null,
    purpose: string,
    pending?: Bookings,
  ): AppError | null {
    if (amountNanoUsd === 0) return null;
    for (const { name, period, limitNanoUsd, leftNanoUsd, principalId } of allowances) {
      const left = Math.max(0, leftNanoUsd - (pending?.takenNanoUsd(period.name, principalId) ?? 0));
      if (amountNanoUsd === null ? left > 0 : left >= amountNanoUsd) continue;
      const amount = amountNanoUsd === null ? 'an unknown amount' : `up to ${formatUsd(amountNanoUsd)}`;
      const raise = principalId === undefined ? 'raise budgets in tandem.yaml' : 'give the token a larger budget';
      return new AppError(
        'budget_exhausted',
        `The ${name} of ${formatUsd(limitNanoUsd)} has ${formatUsd(left)} left; ${purpose} may cost ${amount}. Nothing was sent.`,
        {
          next: `It resets at ${this.#calendar.format(period.endMs)} ${this.#calendar.timeZone}. Ask for less (max_tokens, a cheaper model or GPU), or ${raise}.`,
        },
      );
    }
    return null;
  }

  dayAt(ms: number): string {
    return this.#calendar.at(ms).day.name;
  }
}

/** Leases are offered in steps of six minutes: a tenth of an hour. */
const leaseStepMs = 6 * 60_000;

/** The largest number up to `most` that fits, where all below one that fits do; 0 when none does. */
function longest(most: number, fits: (steps: number) => boolean): number {
  let [low, high] = [0, most];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

function hours(ms: number): number {
  return Math.round((ms / 3_600_000) * 100) / 100;
}

function leastLeft(allowances: readonly Allowance[]): number {
  return Math.max(0, Math.min(...allowances.map(({ leftNanoUsd }) => leftNanoUsd)));
}
