import type { RunEach } from './database.ts';

/** Nano-dollars that a batch adds to a period's counters; what it gives back is negative. */
interface Amounts {
  settledNanoUsd: number;
  reservedNanoUsd: number;
}

const bookPeriod = `
INSERT INTO budget_period (period, settled_nano_usd, reserved_nano_usd) VALUES (?, ?, ?)
ON CONFLICT (period) DO UPDATE SET
  settled_nano_usd = budget_period.settled_nano_usd + excluded.settled_nano_usd,
  reserved_nano_usd = budget_period.reserved_nano_usd + excluded.reserved_nano_usd`;

const bookPrincipal = `
INSERT INTO principal_period (principal_id, period, settled_nano_usd, reserved_nano_usd) VALUES (?, ?, ?, ?)
ON CONFLICT (principal_id, period) DO UPDATE SET
  settled_nano_usd = principal_period.settled_nano_usd + excluded.settled_nano_usd,
  reserved_nano_usd = principal_period.reserved_nano_usd + excluded.reserved_nano_usd`;

/** What the rows of one transaction change in the budgets, gathered so that each counter is written once. */
export class Bookings {
  readonly #periods = new Map<string, Amounts>();
  readonly #principals = new Map<string, Map<string, Amounts>>();

  /** Moves the counters of the day and month that the row of `day` belongs to, and of its principal if it has a budget. */
  add(principalId: string | null, day: string, settledNanoUsd: number, reservedNanoUsd: number): void {
    if (settledNanoUsd === 0 && reservedNanoUsd === 0) return;
    const month = day.slice(0, 7);
    addTo(this.#periods, day, settledNanoUsd, reservedNanoUsd);
    addTo(this.#periods, month, settledNanoUsd, reservedNanoUsd);
    if (principalId === null) return;
    const own = this.#principals.get(principalId) ?? new Map<string, Amounts>();
    this.#principals.set(principalId, own);
    addTo(own, day, settledNanoUsd, reservedNanoUsd);
    addTo(own, month, settledNanoUsd, reservedNanoUsd);
  }

  /** What is left less in `period`, for all or for one principal. */
  takenNanoUsd(period: string, principalId?: string): number {
    const counters = principalId === undefined ? this.#periods : this.#principals.get(principalId);
    const amounts = counters?.get(period);
    return amounts ? amounts.settledNanoUsd + amounts.reservedNanoUsd : 0;
  }

  async write(runEach: RunEach): Promise<void> {
    if (this.#periods.size === 0) return;
    const row = ([period, amounts]: [string, Amounts]) =>
      [period, amounts.settledNanoUsd, amounts.reservedNanoUsd] as const;
    await runEach(bookPeriod, [...this.#periods].map(row));
    await runEach(
      bookPrincipal,
      [...this.#principals].flatMap(([id, own]) => [...own].map((counter) => [id, ...row(counter)])),
    );
  }
}

function addTo(counters: Map<string, Amounts>, period: string, settledNanoUsd: number, reservedNanoUsd: number): void {
  const amounts = counters.get(period);
  if (!amounts) {
    counters.set(period, { settledNanoUsd, reservedNanoUsd });
    return;
  }
  amounts.settledNanoUsd += settledNanoUsd;
  amounts.reservedNanoUsd += reservedNanoUsd;
}
