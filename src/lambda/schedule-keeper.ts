import type { Clock } from '../clock.ts';
import type { FleetEntry } from '../config/schema.ts';
import type { Log } from '../log.ts';
import type { DeploymentBook, DeploymentRow } from '../usage/deployments.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import { newDeploymentId, specOfEntry } from './deployment-spec.ts';
import { leadMsOf } from './rates.ts';
import { placeOf, slotsWanted, windowMarginMs, windowsBetween } from './schedule.ts';

export interface ScheduleParts {
  entries: readonly FleetEntry[];
  book: DeploymentBook;
  instances: InstanceLedger;
  capMs: number;
  clock: Clock;
  log: Log;
}

/** Opens a deployment for every place in a window that is due; they end by themselves when their window does. */
export class ScheduleKeeper {
  readonly #parts: ScheduleParts;

  constructor(parts: ScheduleParts) {
    this.#parts = parts;
  }

  get hasEntries(): boolean {
    return this.#parts.entries.length > 0;
  }

  async step(): Promise<void> {
    const { entries, book, clock } = this.#parts;
    await this.#followConfiguration();
    for (const entry of entries) {
      const nowMs = clock.nowMs();
      const leadMs = await this.leadMs(entry);
      for (const { slot, index, window } of slotsWanted(entry, nowMs, leadMs)) {
        // It would be ready when it has to go.
        if (window.endMs - nowMs < leadMs) continue;
        const name = entry.count === 1 ? entry.name : `${entry.name}-${index}`;
        const spec = specOfEntry(entry, this.#parts.capMs);
        await book.openSlot({ id: newDeploymentId(), name, spec, intentId: null, slot, untilMs: window.endMs, nowMs });
      }
    }
  }

  /** A window that was moved, or whose entry was removed, ends when the configuration says so now. */
  async #followConfiguration(): Promise<void> {
    const { entries, book, clock } = this.#parts;
    const nowMs = clock.nowMs();
    for (const row of await book.live()) {
      const place = row.slot === null ? null : placeOf(row.slot);
      if (!place || row.until_ms === null) continue;
      const entry = entries.find(({ name, count }) => name === place.name && place.index <= count);
      const windows = entry ? windowsBetween(entry, place.startMs, place.startMs + 1) : [];
      const window = windows.find(({ startMs }) => startMs === place.startMs);
      const untilMs = window?.endMs ?? Math.min(nowMs, row.until_ms);
      if (untilMs === row.until_ms) continue;
      if (untilMs > row.until_ms) await this.#renew(row, untilMs);
      await book.note(row, { until_ms: untilMs });
    }
  }

  /** The lease of a machine was drawn to its window; where that ends later by now, so does the lease, up to its cap. */
  async #renew({ name, intent_id: intentId }: DeploymentRow, untilMs: number): Promise<void> {
    const { instances, log } = this.#parts;
    const machine = (await instances.live()).find((row) => row.intent_id === intentId);
    const fromExpiresAtMs = machine?.lease_expires_at_ms ?? null;
    const capAtMs = machine?.lease_cap_at_ms ?? fromExpiresAtMs;
    if (intentId === null || fromExpiresAtMs === null || capAtMs === null) return;
    const expiresAtMs = Math.min(capAtMs, untilMs + windowMarginMs);
    if (expiresAtMs <= fromExpiresAtMs) return;
    await instances.leases
      .renew({ intentId, fromExpiresAtMs, lease: { expiresAtMs, capAtMs } })
      .catch((error: unknown) => log.warn({ error, deployment: name }, 'a window was made longer, and its lease not'));
  }

  /** How long before a window its machines are asked for: as long as the slowest of the last boots took. */
  async leadMs(entry: Pick<FleetEntry, 'types'>): Promise<number> {
    const learned = await Promise.all(
      entry.types.map(async (type) => leadMsOf(type, await this.#parts.book.bootTimesMs(type))),
    );
    return Math.max(...learned);
  }
}
