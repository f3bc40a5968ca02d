import { type Expression, type SqlBool, sql } from 'kysely';
import type { Clock } from '../clock.ts';
import type { Budget, BudgetState } from './budget.ts';
import type { Calendar } from './calendar.ts';
import type { Database } from './database.ts';
import { gpuShares } from './gpu-shares.ts';
import { instanceCost, instancesWithin } from './instance-cost.ts';
import type { AttemptTable } from './tables.ts';

export const reportGroups = ['day', 'backend', 'model', 'kind'] as const;
export type ReportGroup = (typeof reportGroups)[number];

/** Milliseconds; null when nothing was answered. Exact (nearest rank), not interpolated. */
export interface Percentiles {
  p50Ms: number | null;
  p95Ms: number | null;
  p99Ms: number | null;
}

export interface ReportRow extends Percentiles {
  key: string;
  attempts: number;
  answered: number;
  /** Failed attempts (errors and interruptions) over all that ended. Cancelled ones are not failures. */
  errorRate: number;
  inputTokens: number;
  outputTokens: number;
  costNanoUsd: number;
  /** Attempts whose cost nobody can tell; it is in no sum. */
  unknownCost: number;
  /** What its machines cost (see `gpuShares`). */
  gpuCostNanoUsd: number;
}

export interface InstanceReport {
  name: string;
  instanceId: string | null;
  instanceType: string;
  status: string;
  minutes: number;
  costNanoUsd: number;
  upperNanoUsd: number;
}

export interface Report {
  fromMs: number;
  toMs: number;
  timeZone: string;
  groupBy: ReportGroup;
  requests: number;
  answered: number;
  errorRate: number;
  inputTokens: number;
  outputTokens: number;
  tokenCostNanoUsd: number;
  gpuCostNanoUsd: number;
  gpuUpperNanoUsd: number;
  gpuMinutes: number;
  /** Over the answers whose cost is known; null when there is none. */
  costPerRequestNanoUsd: number | null;
  /** What people waited, failed attempts included. */
  latency: Percentiles;
  /** Shares of answered requests, 0..1; null when nothing was answered. */
  serverlessShare: number | null;
  dedicatedShare: number | null;
  rows: ReportRow[];
  instances: InstanceReport[];
  /** Answers whose cost nobody can tell (no price, or the call broke off); they are in no sum. */
  unknownCost: { backend: string; model: string; attempts: number }[];
  /** Attempts whose tokens were estimated because the provider did not report them. */
  estimatedUsage: number;
  budget: BudgetState;
}

/** Reads the ledger; changes nothing. */
export class Reports {
  readonly #database: Database;
  readonly #budget: Budget;
  readonly #calendar: Calendar;
  readonly #clock: Clock;

  constructor(database: Database, budget: Budget, calendar: Calendar, clock: Clock) {
    this.#database = database;
    this.#budget = budget;
    this.#calendar = calendar;
    this.#clock = clock;
  }

  budget(): Promise<BudgetState> {
    return this.#budget.state(this.#database.read);
  }

  async report(fromMs: number, toMs: number, groupBy: ReportGroup): Promise<Report> {
    const nowMs = this.#clock.nowMs();
    const [requests, groups, latencies, elapsed, unknownCost, machines, budget] = await Promise.all([
      this.#countRequests(fromMs, toMs),
      this.#groups(fromMs, toMs, groupBy),
      this.#histogram(fromMs, toMs, groupBy, 'latency_ms'),
      this.#histogram(fromMs, toMs, null, 'elapsed_ms'),
      this.#unknownCost(fromMs, toMs),
      instancesWithin(this.#database.read, fromMs, toMs),
      this.budget(),
    ]);
    const instances = machines.map((row) => ({
      name: row.name,
      instanceId: row.instance_id,
      instanceType: row.instance_type,
      status: row.status,
      ...instanceCost(row, fromMs, toMs, nowMs),
    }));
    const total = (field: Exclude<keyof GroupRow, 'key'>) => groups.reduce((sum, row) => sum + row[field], 0);
    const gpuCostNanoUsd = instances.reduce((sum, instance) => sum + instance.costNanoUsd, 0);
    const answered = total('answered');
    const ended = requests.ended - requests.cancelled;
    const costNanoUsd = total('cost_nano_usd') + gpuCostNanoUsd;
    const known = answered - total('unknown_answers');
    const shares = gpuShares(groupBy, groups, machines, { fromMs, toMs, nowMs }, this.#calendar);
    return {
      fromMs,
      toMs,
      timeZone: this.#calendar.timeZone,
      groupBy,
      requests: requests.ended,
      answered,
      errorRate: ended > 0 ? Math.max(0, ended - answered) / ended : 0,
      inputTokens: total('input_tokens'),
      outputTokens: total('output_tokens'),
      tokenCostNanoUsd: total('cost_nano_usd'),
      gpuCostNanoUsd,
      gpuUpperNanoUsd: instances.reduce((sum, instance) => sum + instance.upperNanoUsd, 0),
      gpuMinutes: instances.reduce((sum, instance) => sum + instance.minutes, 0),
      costPerRequestNanoUsd: known > 0 ? Math.round(costNanoUsd / known) : null,
      latency: percentiles(elapsed),
      serverlessShare: answered > 0 ? total('serverless_answered') / answered : null,
      dedicatedShare: answered > 0 ? (answered - total('serverless_answered')) / answered : null,
      rows: [
        ...groups.map((row) => ({
          key: row.key,
          attempts: row.attempts,
          answered: row.answered,
          errorRate: row.attempts > row.cancelled ? row.failed / (row.attempts - row.cancelled) : 0,
          inputTokens: row.input_tokens,
          outputTokens: row.output_tokens,
          costNanoUsd: row.cost_nano_usd,
          unknownCost: row.unknown_cost,
          gpuCostNanoUsd: shares.get(row.key) ?? 0,
          ...percentiles(latencies.filter((bucket) => bucket.key === row.key)),
        })),
        ...[...shares]
          .filter(([key]) => !groups.some((row) => row.key === key))
          .map(([key, nanoUsd]) => idleRow(key, nanoUsd)),
      ].sort((one, other) => (one.key < other.key ? -1 : 1)),
      instances,
      unknownCost,
      estimatedUsage: total('estimated'),
      budget,
    };
  }

  async #countRequests(fromMs: number, toMs: number): Promise<{ ended: number; cancelled: number }> {
    const row = await this.#within(fromMs, toMs)
      .select([
        countIf(sql`ordinal = 1 AND status != 'open'`).as('ended'),
        countIf(sql`status = 'cancelled'`).as('cancelled'),
      ])
      .executeTakeFirstOrThrow();
    return row;
  }

  async #groups(fromMs: number, toMs: number, groupBy: ReportGroup): Promise<GroupRow[]> {
    const key = groupKey(groupBy);
    return this.#within(fromMs, toMs)
      .where('status', '!=', 'open')
      .select((select) => [
        key.as('key'),
        select.fn.countAll<number>().as('attempts'),
        countIf(sql`status = 'ok'`).as('answered'),
        countIf(sql`status = 'ok' AND kind = 'serverless'`).as('serverless_answered'),
        countIf(sql`status IN ('error', 'interrupted')`).as('failed'),
        countIf(sql`status = 'cancelled'`).as('cancelled'),
        countIf(sql`usage_source = 'estimate'`).as('estimated'),
        countIf(sql`cost_nano_usd IS NULL`).as('unknown_cost'),
        countIf(sql`cost_nano_usd IS NULL AND status = 'ok'`).as('unknown_answers'),
        sumOf('input_tokens').as('input_tokens'),
        sumOf('output_tokens').as('output_tokens'),
        sumOf('cost_nano_usd').as('cost_nano_usd'),
        sql<number>`coalesce(sum(CASE WHEN kind = 'dedicated' AND status = 'ok' THEN latency_ms END), 0)`.as(
          'dedicated_busy_ms',
        ),
      ])
      .groupBy(key)
      .orderBy(key)
      .execute();
  }

  /** How many answers took exactly so many milliseconds: small enough to read whole, exact enough for any percentile. */
  async #histogram(
    fromMs: number,
    toMs: number,
    groupBy: ReportGroup | null,
    field: 'latency_ms' | 'elapsed_ms',
  ): Promise<Bucket[]> {
    const key = groupKey(groupBy);
    return this.#within(fromMs, toMs)
      .where('status', '=', 'ok')
      .where(field, 'is not', null)
      .select((select) => [
        key.as('key'),
        sql<number>`${sql.ref(field)}`.as('ms'),
        select.fn.countAll<number>().as('count'),
      ])
      .groupBy([key, field])
      .orderBy(field)
      .execute();
  }

  async #unknownCost(fromMs: number, toMs: number): Promise<Report['unknownCost']> {
    return this.#within(fromMs, toMs)
      .where('cost_nano_usd', 'is', null)
      .where('status', '!=', 'open')
      .select((select) => ['backend', 'model', select.fn.countAll<number>().as('attempts')])
      .groupBy(['backend', 'model'])
      .orderBy('backend')
      .execute();
  }

  #within(fromMs: number, toMs: number) {
    return this.#database.read
      .selectFrom('attempt')
      .where('started_at_ms', '>=', fromMs)
      .where('started_at_ms', '<', toMs);
  }
}

interface GroupRow {
  key: string;
  attempts: number;
  answered: number;
  serverless_answered: number;
  failed: number;
  cancelled: number;
  estimated: number;
  unknown_cost: number;
  unknown_answers: number;
  input_tokens: number;
  output_tokens: number;
  cost_nano_usd: number;
  dedicated_busy_ms: number;
}

interface Bucket {
  key: string;
  ms: number;
  count: number;
}

/** A machine that no attempt went to. */
function idleRow(key: string, gpuCostNanoUsd: number): ReportRow {
  const nothing = {
    attempts: 0,
    answered: 0,
    errorRate: 0,
    inputTokens: 0,
    outputTokens: 0,
    costNanoUsd: 0,
    unknownCost: 0,
  };
  return { key, ...nothing, gpuCostNanoUsd, ...percentiles([]) };
}

function groupKey(groupBy: ReportGroup | null) {
  if (groupBy === null) return sql<string>`''`;
  return groupBy === 'model' ? sql<string>`backend || '/' || model` : sql<string>`${sql.ref(groupBy)}`;
}

function countIf(condition: Expression<SqlBool> | ReturnType<typeof sql>) {
  return sql<number>`count(CASE WHEN ${condition} THEN 1 END)`;
}

function sumOf(field: keyof AttemptTable) {
  return sql<number>`coalesce(sum(${sql.ref(field)}), 0)`;
}

/** Nearest rank: the smallest time that at least p of all answers did not exceed. Buckets come sorted. */
function percentiles(buckets: Bucket[]): Percentiles {
  const total = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
  const at = (share: number): number | null => {
    let below = 0;
    for (const bucket of buckets) {
      below += bucket.count;
      if (below >= Math.ceil(share * total)) return bucket.ms;
    }
    return null;
  };
  return { p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99) };
}
