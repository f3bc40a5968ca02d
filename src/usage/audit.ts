import type { Clock } from '../clock.ts';
import type { Principal } from '../principal.ts';
import type { Database } from './database.ts';
import type { AuditOutcome, AuditTable, ConfirmedBy } from './tables.ts';

export type AuditRow = Omit<AuditTable, 'id'> & { id: number };

export interface AuditedAct {
  principal: Pick<Principal, 'id' | 'name'>;
  /** A tool's name or a route. */
  action: string;
  effect: 'spend' | 'destroy';
  /** What it is done to. No prompts, no scripts, no secrets: what is written here stays. */
  subject: unknown;
}

/** The row of one act, as long as it is open. */
export interface AuditEntry {
  /** Written before the act goes on; throws when it cannot be, and then the act must not happen. */
  confirmed(by: ConfirmedBy, plan: unknown): Promise<void>;
  close(outcome: Exclude<AuditOutcome, 'begun'>, result?: unknown): Promise<void>;
}

/** Who did what that costs or destroys, and on whose yes. Rows are written before the act and never taken back. */
export class AuditTrail {
  readonly #database: Database;
  readonly #clock: Clock;

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** Throws what the database throws: whoever cannot be recorded does nothing. */
  async begin({ principal, action, effect, subject }: AuditedAct): Promise<AuditEntry> {
    const { id } = await this.#database.write((queries) =>
      queries
        .insertInto('audit')
        .values({
          at_ms: this.#clock.nowMs(),
          principal_id: principal.id,
          principal_name: principal.name,
          action,
          effect,
          subject: JSON.stringify(subject),
          plan: null,
          confirmed_by: 'none',
          outcome: 'begun',
          result: null,
          closed_at_ms: null,
        })
        .returning('id')
        .executeTakeFirstOrThrow(),
    );
    const set = async (changes: Partial<AuditRow>): Promise<void> => {
      await this.#database.write((queries) =>
        queries.updateTable('audit').set(changes).where('id', '=', id).executeTakeFirstOrThrow(),
      );
    };
    return {
      confirmed: (by, plan) => set({ confirmed_by: by, plan: JSON.stringify(plan) }),
      close: (outcome, result) =>
        set({
          outcome,
          closed_at_ms: this.#clock.nowMs(),
          ...(result !== undefined && { result: JSON.stringify(result) }),
        }),
    };
  }

  /** The latest, oldest of them first. */
  async last(limit: number): Promise<AuditRow[]> {
    const rows = await this.#database.read.selectFrom('audit').selectAll().orderBy('id', 'desc').limit(limit).execute();
    return rows.reverse();
  }
}
