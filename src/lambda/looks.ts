/** For so long a machine is looked at, with no longer gap, before it is taken for bad. */
const patienceMs = 60_000;
const longestGapMs = 3 * 60_000;

/**
 * Since when this process has watched machines that are not ready. While it slept, or was not there, they may have
 * become ready, and a clock that was put forward says nothing about them.
 */
export class Looks {
  readonly #looks = new Map<string, { sinceMs: number; lastMs: number }>();

  /** Notes a look. Whether there were enough of them to judge the machine. */
  look(intentId: string, nowMs: number): boolean {
    const before = this.#looks.get(intentId);
    const sinceMs = before && Math.abs(nowMs - before.lastMs) <= longestGapMs ? before.sinceMs : nowMs;
    this.#looks.set(intentId, { sinceMs, lastMs: nowMs });
    return nowMs - sinceMs >= patienceMs;
  }

  keepOnly(intentIds: readonly string[]): void {
    for (const intentId of this.#looks.keys()) if (!intentIds.includes(intentId)) this.#looks.delete(intentId);
  }
}
