import type { Clock } from '../clock.ts';
import { formatUsd } from '../money.ts';
import type { Budget, PeriodBudget } from './budget.ts';
import type { Calendar } from './calendar.ts';
import { type Database, type Queries, select } from './database.ts';
import type { NoticeBook } from './notice-book.ts';

const errorWindowMs = 15 * 60_000;
const fewestAttempts = 20;
const errorShare = 0.05;
/** A busy gateway makes hundreds of thousands of attempts in that time; the latest of them say it as well. */
const mostAttempts = 5_000;
/** Reading so many takes 20 ms, in which nothing else runs. */
const lookEveryMs = 60_000;

/** `cancelled` is the caller's will, `interrupted` our own end. */
const latestAttempts = `
SELECT backend, CASE status WHEN 'error' THEN ifnull(error_code, 'no reason given') END AS problem, count(*) AS attempts
FROM (
  SELECT backend, status, error_code FROM attempt
  WHERE started_at_ms > ? AND started_at_ms <= ? ORDER BY started_at_ms DESC LIMIT ${mostAttempts}
)
WHERE status IN ('ok', 'error') GROUP BY backend, problem ORDER BY attempts DESC`;

/** The backend answered, and what it said is the caller's to mend. */
const callersFaults: readonly string[] = ['upstream_rejected', 'context_too_long', 'content_filtered'];

interface Outcomes {
  backend: string;
  /** Null: answered. */
  problem: string | null;
  attempts: number;
}

/** Sees what people should know before they ask: budgets that run out, and backends that fail. */
export class Alerts {
  readonly #database: Database;
  readonly #budget: Budget;
  readonly #calendar: Calendar;
  readonly #notices: NoticeBook;
  readonly #clock: Clock;
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: { database: Database; budget: Budget; calendar: Calendar; notices: NoticeBook; clock: Clock }) {
    this.#database = parts.database;
    this.#budget = parts.budget;
    this.#calendar = parts.calendar;
    this.#notices = parts.notices;
    this.#clock = parts.clock;
  }

  /** Tells what is new. Throws what the database throws. */
  async check(): Promise<void> {
    const { day, month } = await this.#budget.state(this.#database.read);
    await this.#checkBudget(day);
    await this.#checkBudget(month);
    await this.#checkErrors(this.#database.read);
  }

  async #checkBudget(budget: PeriodBudget): Promise<void> {
    const { unit, period, limitNanoUsd, tokensNanoUsd, instancesNanoUsd, heldNanoUsd } = budget;
    // Nothing may be spent, and nothing runs out.
    if (limitNanoUsd === 0) return;
    const spentNanoUsd = tokensNanoUsd + instancesNanoUsd;
    // What calls under way may cost comes and goes within seconds, and would raise false alarms.
    const takenNanoUsd = spentNanoUsd + Math.max(0, heldNanoUsd);
    const resets = `It resets at ${this.#calendar.format(period.endMs)} ${this.#calendar.timeZone}.`;
    // Raised, it may be used up a second time.
    const key = `${period.name}:${limitNanoUsd}`;
    const limit = `${unit} budget of ${formatUsd(limitNanoUsd)}`;
    // The last cents are never spent: no call fits into them.
    if (takenNanoUsd >= 0.99 * limitNanoUsd) {
      const machines = heldNanoUsd > 0 ? ` and ${formatUsd(heldNanoUsd)} is promised to machines` : '';
      await this.#notices.tell(
        'budget_100',
        `budget_100:${key}`,
        `The ${limit} is used up: ${formatUsd(spentNanoUsd)} is spent${machines}. New calls and launches are refused. ${resets} To go on before, raise budgets in tandem.yaml and start Tandem again; machines that run can be ended with terminate_instance.`,
      );
    } else if (spentNanoUsd >= 0.8 * limitNanoUsd) {
      const percent = Math.floor((spentNanoUsd / limitNanoUsd) * 100);
      await this.#notices.tell(
        'budget_80',
        `budget_80:${key}`,
        `${percent} % of the ${limit} is spent: ${formatUsd(tokensNanoUsd)} on tokens, ${formatUsd(instancesNanoUsd)} on machines. ${resets} cost_report says what it went on; when it is used up, calls and launches are refused.`,
      );
    }
  }

  async #checkErrors(queries: Queries): Promise<void> {
    const nowMs = this.#clock.nowMs();
    // The clock may be set back.
    if (Math.abs(nowMs - this.#lookedAtMs) < lookEveryMs) return;
    this.#lookedAtMs = nowMs;
    const outcomes = await select<Outcomes>(queries, latestAttempts, [nowMs - errorWindowMs, nowMs]);
    const hour = new Date(nowMs).toISOString().slice(0, 13);
    for (const backend of new Set(outcomes.map((outcome) => outcome.backend))) {
      const own = outcomes.filter((outcome) => outcome.backend === backend);
      const failed = own.filter(({ problem }) => problem !== null && !callersFaults.includes(problem));
      const attempts = sumOf(own);
      const errors = sumOf(failed);
      if (attempts < fewestAttempts || errors <= errorShare * attempts) continue;
      const percent = Math.round((errors / attempts) * 1_000) / 10;
      await this.#notices.tell(
        'error_rate',
        `error_rate:${backend}:${hour}`,
        `Backend ${backend} failed in ${errors} of ${attempts} attempts (${percent} %) of the last 15 minutes, most often with ${failed[0]?.problem}. Requests go to other backends where they can. Run \`tandem doctor\`, and look at the status page of the provider or the log of the model server.`,
      );
    }
  }
}

function sumOf(outcomes: Outcomes[]): number {
  return outcomes.reduce((sum, { attempts }) => sum + attempts, 0);
}
