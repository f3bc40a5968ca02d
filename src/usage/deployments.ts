import { AppError } from '../errors.ts';
import type { Database, Queries } from './database.ts';
import type { DeploymentState, DeploymentTable, ModelTier } from './tables.ts';

export type DeploymentRow = DeploymentTable;

/** All that is needed to launch a deployment's machine, and the next one in its place. No secret is in it. */
export interface DeploymentSpec {
  model: string;
  engine: 'vllm' | 'sglang';
  /** What the model is called in requests. */
  alias: string;
  tier: ModelTier;
  maxContext: number | null;
  hfTokenEnv: string | null;
  extraArgs: readonly string[];
  endpoint: 'tunnel' | 'direct';
  allowCidr: string | null;
  /** Instance types in order of preference. */
  types: readonly string[];
  /** Null: any. */
  regions: readonly string[] | null;
  maxPriceCentsPerHour: number | null;
  sshKeyName: string | null;
  imageFamily: string | null;
  filesystem: string | null;
  leaseMs: number;
  /** Null: it is not ended for want of work. */
  idleMs: number | null;
  /** The entry of the configuration's `fleet` that it belongs to. */
  fleet: string | null;
}

export interface NewDeployment {
  id: string;
  name: string;
  spec: DeploymentSpec;
  /** With a machine on its way it boots, else it waits for one. */
  intentId: string | null;
  slot?: string | null;
  untilMs?: number | null;
  nowMs: number;
}

export function specOf(row: Pick<DeploymentRow, 'spec'>): DeploymentSpec {
  return JSON.parse(row.spec) as DeploymentSpec;
}

/** What is to be served: rows that any process may take further, each step by compare-and-set. */
export class DeploymentBook {
  /** Told after every change of a state by this process, so that its router need not wait to see it. */
  onChange: () => Promise<void> = async () => undefined;
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Writes the row, inside the transaction of its first intent where there is one. Throws `duplicate_name`. */
  async open(wanted: NewDeployment, queries?: Queries): Promise<void> {
    if (!queries) return this.#database.write((own) => this.open(wanted, own));
    const named = await queries
      .selectFrom('deployment')
      .select('id')
      .where('name', '=', wanted.name)
      .where('state', '!=', 'ended')
      .execute();
    if (named.length > 0) {
      throw new AppError('duplicate_name', `There is already a deployment "${wanted.name}".`, {
        next: 'Give another name, or terminate that one first.',
      });
    }
    await queries.insertInto('deployment').values(newRow(wanted)).execute();
  }

  /** The same for a place in a schedule: false when somebody has filled it, or its name is still taken. */
  openSlot(wanted: NewDeployment): Promise<boolean> {
    return this.#database.write(async (queries) => {
      const [result] = await queries.insertInto('deployment').orIgnore().values(newRow(wanted)).execute();
      return (result?.numInsertedOrUpdatedRows ?? 0n) > 0n;
    });
  }

  /** All that have not ended, the oldest first. */
  live(): Promise<DeploymentRow[]> {
    return this.#database.read
      .selectFrom('deployment')
      .selectAll()
      .where('state', '!=', 'ended')
      .orderBy('created_at_ms')
      .orderBy('name')
      .execute();
  }

  /** The latest that ended since. */
  endedSince(sinceMs: number): Promise<DeploymentRow[]> {
    return this.#database.read
      .selectFrom('deployment')
      .selectAll()
      .where('state', '=', 'ended')
      .where('state_since_ms', '>=', sinceMs)
      .orderBy('state_since_ms', 'desc')
      .execute();
  }

  /**
   * Takes a row from the state (and machine) in which it was read to another. False: somebody else was faster, and
   * nothing was changed.
   */
  async move(
    row: Pick<DeploymentRow, 'id' | 'state' | 'intent_id'>,
    to: DeploymentState,
    nowMs: number,
    changes: Partial<DeploymentRow> = {},
    queries?: Queries,
  ): Promise<boolean> {
    const work = async (own: Queries) => {
      const [result] = await own
        .updateTable('deployment')
        .set({ ...changes, state: to, ...(to !== row.state && { state_since_ms: nowMs }) })
        .where('id', '=', row.id)
        .where('state', '=', row.state)
        .where('intent_id', row.intent_id === null ? 'is' : '=', row.intent_id)
        .execute();
      return (result?.numUpdatedRows ?? 0n) > 0n;
    };
    if (queries) return work(queries);
    const moved = await this.#database.write(work);
    await this.onChange();
    return moved;
  }

  /** Notes what was seen of it, or is wanted; its state stays. */
  async note(
    { id }: Pick<DeploymentRow, 'id'>,
    seen: Partial<Pick<DeploymentRow, 'base_url' | 'busy_at_ms' | 'tokens_served' | 'failing_since_ms' | 'until_ms'>>,
  ): Promise<void> {
    await this.#database.write(async (queries) => {
      await queries.updateTable('deployment').set(seen).where('id', '=', id).execute();
    });
  }

  /** Asks for the end of those on these machines, so that nothing replaces them. Returns their names. */
  async endAsked(intentIds: readonly string[], nowMs: number): Promise<string[]> {
    const names = await this.#database.write(async (queries) => {
      const rows = await queries
        .updateTable('deployment')
        .set({ state: 'ending', state_since_ms: nowMs, reason: 'asked', base_url: null })
        .where('intent_id', 'in', intentIds)
        .where('state', 'not in', ['ending', 'ended'])
        .returning('name')
        .execute();
      return rows.map(({ name }) => name);
    });
    await this.onChange();
    return names;
  }

  /** From launch to ready, in milliseconds, of the last machines of a type that became ready. */
  async bootTimesMs(instanceType: string): Promise<number[]> {
    const rows = await this.#database.read
      .selectFrom('deployment')
      .innerJoin('instance', 'instance.intent_id', 'deployment.intent_id')
      .select(['deployment.ready_at_ms', 'instance.requested_at_ms'])
      .where('instance.instance_type', '=', instanceType)
      .where('deployment.ready_at_ms', 'is not', null)
      .orderBy('deployment.ready_at_ms', 'desc')
      .limit(bootTimesKept)
      .execute();
    return rows.map(({ ready_at_ms: readyAtMs, requested_at_ms: requestedAtMs }) => (readyAtMs ?? 0) - requestedAtMs);
  }
}

const bootTimesKept = 10;

function newRow({ id, name, spec, intentId, slot = null, untilMs = null, nowMs }: NewDeployment): DeploymentRow {
  return {
    id,
    name,
    slot,
    state: intentId === null ? 'waiting' : 'booting',
    state_since_ms: nowMs,
    reason: null,
    spec: JSON.stringify(spec),
    intent_id: intentId,
    machines: intentId === null ? 0 : 1,
    base_url: null,
    until_ms: untilMs,
    created_at_ms: nowMs,
    ready_at_ms: null,
    busy_at_ms: null,
    tokens_served: null,
    failing_since_ms: null,
  };
}
