import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import { formatUsd } from '../money.ts';
import type { Calendar, Period } from './calendar.ts';
import type { Queries } from './database.ts';
import { type InstanceRow, instanceClaimNano, instanceCost, instancesWithin } from './instance-cost.ts';

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

/** Limits per day and month over tokens and GPU minutes together. A limit of 0 means that nothing may be spent. */
export class Budget {
  readonly #limits: BudgetLimits;
  readonly #calendar: Calendar;
  readonly #clock: Clock;

  constructor(limits: BudgetLimits, calendar: Calendar, clock: Clock) {
    this.#limits = limits;
    this.#calendar = calendar;
    this.#clock = clock;
  }

  async state(queries: Queries): Promise<BudgetState> {
    const nowMs = this.#clock.nowMs();
    const { day, month } = this.#calendar.at(nowMs);
    const counters = await queries
      .selectFrom('budget_period')
      .selectAll()
      .where('period', 'in', [day.name, month.name])
      .execute();
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

  /**
   * Throws `budget_exhausted` when `amountNanoUsd` does not fit into what is left. An unknown amount (null) fits as
   * long as anything is left. Call it inside the write transaction that then spends or reserves the amount.
   */
  async requireRoom(queries: Queries, amountNanoUsd: number | null, purpose: string): Promise<void> {
    if (amountNanoUsd === 0) return;
    const { day, month } = await this.state(queries);
    for (const budget of [day, month]) {
      if (amountNanoUsd === null ? budget.leftNanoUsd > 0 : budget.leftNanoUsd >= amountNanoUsd) continue;
      const resets = `${this.#calendar.format(budget.period.endMs)} ${this.#calendar.timeZone}`;
      throw new AppError(
        'budget_exhausted',
        `The ${budget.unit} budget of ${formatUsd(budget.limitNanoUsd)} has ${formatUsd(budget.leftNanoUsd)} left; ${purpose} may cost ${
          amountNanoUsd === null ? 'an unknown amount' : `up to ${formatUsd(amountNanoUsd)}`
        }. Nothing was sent.`,
        {
          next: `It resets at ${resets}. Ask for less (max_tokens, a cheaper model or GPU), or raise budgets in tandem.yaml.`,
        },
      );
    }
  }

  /** Moves the counters of the day and month that the row of `day` belongs to. */
  async book(
    queries: Queries,
    day: string,
    change: { settledNanoUsd?: number; reservedNanoUsd?: number },
  ): Promise<void> {
    const settled = change.settledNanoUsd ?? 0;
    const reserved = change.reservedNanoUsd ?? 0;
    if (settled === 0 && reserved === 0) return;
    for (const period of [day, day.slice(0, 7)]) {
      await queries
        .insertInto('budget_period')
        .values({ period, settled_nano_usd: settled, reserved_nano_usd: reserved })
        .onConflict((conflict) =>
          conflict.column('period').doUpdateSet((row) => ({
            settled_nano_usd: row('budget_period.settled_nano_usd', '+', settled),
            reserved_nano_usd: row('budget_period.reserved_nano_usd', '+', reserved),
          })),
        )
        .execute();
    }
  }

  today(): string {
    return this.#calendar.at(this.#clock.nowMs()).day.name;
  }
}
