import { sql } from 'kysely';
import { AppError } from '../errors.ts';
import type { Database, Queries } from './database.ts';
import type { HuntTable } from './tables.ts';

export type HuntRow = HuntTable;

/** The machine that is wanted. A deployment's hunt leaves all but the first three to its spec. */
export interface HuntWish {
  /** In order of preference. */
  types: readonly string[];
  /** Null: any. */
  regions: readonly string[] | null;
  maxPriceCentsPerHour: number | null;
  name: string | null;
  sshKeyName: string | null;
  imageFamily: string | null;
  filesystems: readonly string[];
  userData: string | null;
  /** Null: the usual lease. */
  leaseHours: number | null;
}

/** Of a deployment's hunt. */
export const restOfWish = {
  name: null,
  sshKeyName: null,
  imageFamily: null,
  filesystems: [],
  userData: null,
  leaseHours: null,
} satisfies Partial<HuntWish>;
/** A boot script may hold anything: it is kept for as long as it may be needed, and no longer. */
const withoutScript = sql<string>`json_set(wish, '$.userData', NULL)`;

export interface NewHunt {
  id: string;
  deploymentId: string | null;
  ordinal: number | null;
  wish: HuntWish;
  untilMs: number;
  nowMs: number;
}

export function wishOf(row: Pick<HuntRow, 'wish'>): HuntWish {
  return JSON.parse(row.wish) as HuntWish;
}

/** Machines that are wanted as soon as there is capacity: rows, so that a hunt survives whoever began it. */
export class HuntBook {
  /** Called after a hunt is written: it wants keeping. */
  onOpen: () => Promise<void> = async () => undefined;
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** False: there is a hunt for this machine already. `also` runs in the same transaction. */
  async open(hunt: NewHunt, also?: (queries: Queries) => Promise<void>): Promise<boolean> {
    const isNew = await this.#database.write(async (queries) => {
      await also?.(queries);
      const [result] = await queries.insertInto('hunt').orIgnore().values(newRow(hunt)).execute();
      return (result?.numInsertedOrUpdatedRows ?? 0n) > 0n;
    });
    await this.onOpen();
    return isNew;
  }

  /** All that may still lead to a machine, the oldest first. */
  live(): Promise<HuntRow[]> {
    return this.#database.read
      .selectFrom('hunt')
      .selectAll()
      .where('state', 'in', ['hunting', 'launching'])
      .orderBy('created_at_ms')
      .orderBy('id')
      .execute();
  }

  async endedSince(sinceMs: number): Promise<HuntRow[]> {
    return this.#database.read
      .selectFrom('hunt')
      .selectAll()
      .where('ended_at_ms', '>=', sinceMs)
      .orderBy('ended_at_ms', 'desc')
      .execute();
  }

  /** The hunt for a deployment's machine, whatever became of it. */
  async of(deploymentId: string, ordinal: number): Promise<HuntRow | undefined> {
    return this.#database.read
      .selectFrom('hunt')
      .selectAll()
      .where('deployment_id', '=', deploymentId)
      .where('ordinal', '=', ordinal)
      .executeTakeFirst();
  }

  /**
   * The one launch of a hunt: called inside the transaction that writes the intent. Throws `conflict` when another
   * process has launched, or somebody has cancelled, and the intent is not written either.
   */
  async claim({ id }: Pick<HuntRow, 'id'>, intentId: string, queries: Queries): Promise<void> {
    const [result] = await queries
      .updateTable('hunt')
      .set({ state: 'launching', intent_id: intentId })
      .where('id', '=', id)
      .where('state', '=', 'hunting')
      .execute();
    if ((result?.numUpdatedRows ?? 0n) === 0n)
      throw new AppError('conflict', `The hunt ${id} is no longer looking for a machine.`);
  }

  /** From the state, and the launch, in which it was read. False: somebody else was faster. */
  move(row: Pick<HuntRow, 'id' | 'state' | 'intent_id'>, changes: Partial<HuntRow>): Promise<boolean> {
    return this.#database.write(async (queries) => {
      const [result] = await queries
        .updateTable('hunt')
        .set({ ...changes, ...(changes.ended_at_ms != null && { wish: withoutScript }) })
        .where('id', '=', row.id)
        .where('state', '=', row.state)
        // It may be launching again by now: that launch is not the one that was read.
        .where('intent_id', row.intent_id === null ? 'is' : '=', row.intent_id)
        .execute();
      return (result?.numUpdatedRows ?? 0n) > 0n;
    });
  }

  /** Ends the hunts for a deployment that is no longer wanted. One whose launch is under way goes on to its machine. */
  async cancelFor(deploymentId: string, nowMs: number): Promise<void> {
    await this.#database.write(async (queries) => {
      await queries
        .updateTable('hunt')
        .set({ state: 'cancelled', ended_at_ms: nowMs, wish: withoutScript })
        .where('deployment_id', '=', deploymentId)
        .where('state', '=', 'hunting')
        .execute();
    });
  }
}

function newRow({ id, deploymentId, ordinal, wish, untilMs, nowMs }: NewHunt): HuntRow {
  return {
    id,
    deployment_id: deploymentId,
    ordinal,
    wish: JSON.stringify(wish),
    state: 'hunting',
    intent_id: null,
    until_ms: untilMs,
    tries: 0,
    next_try_at_ms: nowMs,
    problem: null,
    created_at_ms: nowMs,
    ended_at_ms: null,
  };
}
