import type { Clock } from '../clock.ts';
import { shadowPrincipalId } from '../principal.ts';
import type { Budget, BudgetState } from './budget.ts';
import type { Calendar } from './calendar.ts';
import type { Cell } from './cells.ts';
import { sumSpan } from './chunks.ts';
import type { Database } from './database.ts';
import { gpuShares } from './gpu-shares.ts';
import { instanceCost, instancesWithin } from './instance-cost.ts';
import { type Percentiles, percentiles } from './percentiles.ts';

export const reportGroups = ['day', 'backend', 'model', 'kind', 'principal'] as const;
export type ReportGroup = (typeof reportGroups)[number];

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
  /** What comparisons with stronger models cost; part of the sums of tokens and money, and not of the requests. */
  shadow: { attempts: number; costNanoUsd: number; unknownCost: number };
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
    const [{ cells, elapsedMs }, machines, budget] = await Promise.all([
      sumSpan(this.#database.read, { fromMs, toMs }),
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
    const all = total(cells);
    const shadow = total(cells.filter(isShadow));
    const asked = cells.filter((cell) => !isShadow(cell));
    const { requests, cancelled, unknownAnswers } = total(asked);
    const answered = requestsAnswered(asked);
    const gpuCostNanoUsd = instances.reduce((sum, instance) => sum + instance.costNanoUsd, 0);
    const ended = requests - cancelled;
    const known = answered - unknownAnswers;
    const serverless = requestsAnswered(asked.filter(({ kind }) => kind === 'serverless'));
    const groups = groupOf(cells, (cell) => keyOf(cell, groupBy));
    const shares = gpuShares(groupBy, cells, machines, { fromMs, toMs, nowMs }, this.#calendar);
    return {
      fromMs,
      toMs,
      timeZone: this.#calendar.timeZone,
      groupBy,
      requests,
      answered,
      errorRate: ended > 0 ? Math.max(0, ended - answered) / ended : 0,
      inputTokens: all.inputTokens,
      outputTokens: all.outputTokens,
      tokenCostNanoUsd: all.costNanoUsd,
      gpuCostNanoUsd,
      gpuUpperNanoUsd: instances.reduce((sum, instance) => sum + instance.upperNanoUsd, 0),
      gpuMinutes: instances.reduce((sum, instance) => sum + instance.minutes, 0),
      costPerRequestNanoUsd: known > 0 ? Math.round((all.costNanoUsd + gpuCostNanoUsd) / known) : null,
      latency: percentiles(elapsedMs),
      shadow: { attempts: shadow.attempts, costNanoUsd: shadow.costNanoUsd, unknownCost: shadow.unknownCost },
      serverlessShare: answered > 0 ? serverless / answered : null,
      dedicatedShare: answered > 0 ? (answered - serverless) / answered : null,
      rows: [...new Set([...groups.keys(), ...shares.keys()])]
        .map((key) => rowOf(key, groups.get(key) ?? [], shares.get(key) ?? 0, groupBy))
        .sort(byKey),
      instances,
      unknownCost: [...groupOf(cells, (cell) => `${cell.backend}\0${cell.model}`)]
        .map(([key, group]) => ({ key, attempts: total(group).unknownCost }))
        .filter(({ attempts }) => attempts > 0)
        .sort(byKey)
        .map(({ key, attempts }) => {
          const [backend = '', model = ''] = key.split('\0');
          return { backend, model, attempts };
        }),
      estimatedUsage: all.estimated,
      budget,
    };
  }
}

function isShadow({ principalId }: Cell): boolean {
  return principalId === shadowPrincipalId;
}

/** Keys are texts of ours or of a configuration; code units sort them as the database would. */
function byKey(one: { key: string }, other: { key: string }): number {
  return one.key < other.key ? -1 : 1;
}

function keyOf(cell: Cell, groupBy: ReportGroup): string {
  if (groupBy === 'model') return `${cell.backend}/${cell.model}`;
  return groupBy === 'principal' ? cell.principalId : cell[groupBy];
}

function groupOf(cells: readonly Cell[], key: (cell: Cell) => string): Map<string, Cell[]> {
  const groups = new Map<string, Cell[]>();
  for (const cell of cells) {
    const known = groups.get(key(cell));
    if (known) known.push(cell);
    else groups.set(key(cell), [cell]);
  }
  return groups;
}

/** Under these, answers are counted by request; under the others, where they came from. */
const byRequest: readonly ReportGroup[] = ['day', 'principal'];

/** A row without cells is a machine that no attempt went to. */
function rowOf(key: string, cells: readonly Cell[], gpuCostNanoUsd: number, groupBy: ReportGroup): ReportRow {
  const sums = total(cells);
  return {
    key,
    attempts: sums.attempts,
    answered: byRequest.includes(groupBy) ? requestsAnswered(cells) : sums.answered,
    errorRate: sums.attempts > sums.cancelled ? sums.failed / (sums.attempts - sums.cancelled) : 0,
    inputTokens: sums.inputTokens,
    outputTokens: sums.outputTokens,
    costNanoUsd: sums.costNanoUsd,
    unknownCost: sums.unknownCost,
    gpuCostNanoUsd,
    ...percentiles(cells.map(({ latenciesMs }) => latenciesMs)),
  };
}

/** A request with two answers, the first of which was found wanting, is one, where its first answer came from. */
function requestsAnswered(cells: readonly Cell[]): number {
  return cells.reduce((sum, { answered, seconds }) => sum + answered - seconds, 0);
}

function total(cells: readonly Cell[]) {
  const sums = {
    requests: 0,
    attempts: 0,
    answered: 0,
    failed: 0,
    cancelled: 0,
    estimated: 0,
    unknownCost: 0,
    unknownAnswers: 0,
    inputTokens: 0,
    outputTokens: 0,
    costNanoUsd: 0,
  };
  for (const cell of cells) {
    sums.requests += cell.requests;
    sums.attempts += cell.attempts;
    sums.answered += cell.answered;
    sums.failed += cell.failed;
    sums.cancelled += cell.cancelled;
    sums.estimated += cell.estimated;
    sums.unknownCost += cell.unknownCost;
    sums.unknownAnswers += cell.unknownAnswers;
    sums.inputTokens += cell.inputTokens;
    sums.outputTokens += cell.outputTokens;
    sums.costNanoUsd += cell.costNanoUsd;
  }
  return sums;
}
