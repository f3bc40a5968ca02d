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
  /** What is left of the first hours that launches reserved. */
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

/** For how long a reading serves routing decisions; other processes spend too. The ledger checks again. */
const readingServesMs = 250;

const countersOf = 'SELECT period, settled_nano_usd, reserved_nano_usd FROM budget_period WHERE period IN (?, ?)';
const counterOfPrincipal =
  'SELECT period, settled_nano_usd, reserved_nano_usd FROM principal_period WHERE principal_id = ? AND period = ?';

/** Limits per day and month over tokens and GPU minutes together. A limit of 0 means that nothing may be spent. */
export class Budget {
  readonly #limits: BudgetLimits;
  readonly #calendar: Calendar;
  readonly #clock: Clock;
  #reading: { allowances: Allowance[]; takenAt: number } | undefined;
  #bookings = 0;

  constructor(limits: BudgetLimits, calendar: Calendar, clock: Clock) {
    this.#limits = limits;
    this.#calendar = calendar;
    this.#clock = clock;
  }

  async state(queries: Queries): Promise<BudgetState> {
    const nowMs = this.#clock.nowMs();
    const { day, month } = this.#calendar.at(nowMs);
    const counters = await select<BudgetPeriodTable>(queries, countersOf, [day.name, month.name]);
    const machines = await instancesWithin(queries, month.startMs, month.endMs);
    const stateOf = (period: Period, unit: PeriodBudget['unit'], limitNanoUsd: number): PeriodBudget => {
      const counter = counters.find((row) => row.period === period.name);
      const tokensNanoUsd = counter?.settled_nano_usd ?? 0;
      const reservedNanoUsd = counter?.reserved_nano_usd ?? 0;
      const sumOf = (amount: (row: InstanceRow) => number) => machines.reduce((sum, row) => sum + amount(row), 0);
      const claimedNanoUsd = sumOf((row) => instanceClaimNano(row, period, nowMs));
      const instancesNanoUsd = sumOf((row) => instanceCost(row, period.startMs, period.endMs, nowMs).costNanoUsd);
      const heldNanoUsd = claimedNanoUsd - instancesNanoUsd;
      const leftNanoUsd = Math.max(0, limitNanoUsd - tokensNanoUsd - reservedNanoUsd - claimedNanoUsd);
      return { period, unit, limitNanoUsd, tokensNanoUsd, instancesNanoUsd, heldNanoUsd, reservedNanoUsd, leftNanoUsd };
    };
    return {
      day: stateOf(day, 'daily', this.#limits.dailyNanoUsd),
      month: stateOf(month, 'monthly', this.#limits.monthlyNanoUsd),
    };
  }

  /** The day's and the month's allowance, read now. */
  async allowances(queries: Queries): Promise<Allowance[]> {
    const bookings = this.#bookings;
    const { day, month } = await this.state(queries);
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
    if (bookings === this.#bookings) this.#reading = { allowances, takenAt: performance.now() };
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
    const nowMs = this.#clock.nowMs();
    const reading = this.#reading;
    const serves =
      reading &&
      performance.now() - reading.takenAt < readingServesMs &&
      reading.allowances.every(({ period }) => nowMs >= period.startMs && nowMs < period.endMs);
    return serves ? leastLeft(reading.allowances) : this.allowances(queries).then(leastLeft);
  }

  /** Takes bookings of this process into the last reading. Call it inside the transaction that writes them. */
  booked(bookings: Bookings): void {
    this.#bookings += 1;
    for (const allowance of this.#reading?.allowances ?? [])
      allowance.leftNanoUsd -= bookings.takenNanoUsd(allowance.period.name);
  }

  /** The last reading does not hold any more. */
  forget(): void {
    this.#reading = undefined;
  }

  /**
   * Throws `budget_exhausted` when `amountNanoUsd` does not fit into what is left. An unknown amount (null) fits as
   * long as anything is left. Call it inside the write transaction that then spends or reserves the amount.
   */
  async requireRoom(queries: Queries, amountNanoUsd: number | null, purpose: string): Promise<void> {
    if (amountNanoUsd === 0) return;
    const allowances = await this.allowances(queries);
    this.forget();
    const refusal = this.refusal(allowances, amountNanoUsd, purpose);
    if (refusal) throw refusal;
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

function leastLeft(allowances: readonly Allowance[]): number {
  return Math.max(0, Math.min(...allowances.map(({ leftNanoUsd }) => leftNanoUsd)));
}
