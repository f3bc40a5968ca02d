import type { ReportGroup } from '../../src/usage/report.ts';
import type { AttemptTable } from '../../src/usage/tables.ts';

/** What a report says of attempts, counted row by row with no regard to speed. GPU time is not in it. */
export function naiveReport(rows: AttemptTable[], fromMs: number, toMs: number, groupBy: ReportGroup) {
  const ended = rows.filter((row) => row.status !== 'open' && row.started_at_ms >= fromMs && row.started_at_ms < toMs);
  const keyOf = (row: AttemptTable) =>
    ({
      day: row.day,
      backend: row.backend,
      model: `${row.backend}/${row.model}`,
      kind: row.kind,
      principal: row.principal_id,
    })[groupBy];
  const isAnswer = ({ status }: AttemptTable) => status === 'ok';
  const first = (row: AttemptTable) =>
    rows.find(
      (other) =>
        isAnswer(other) &&
        other.request_id === row.request_id &&
        other.principal_id === row.principal_id &&
        other.ordinal === row.ordinal - 1,
    );
  const answered = ended.filter((row) => isAnswer(row) && !first(row));
  const waited = ended.filter((row) => isAnswer(row) || (row.status === 'error' && first(row)));
  const unknownAnswers = ended.filter(
    (row) => isAnswer(row) && row.cost_nano_usd === null && first(row)?.cost_nano_usd !== null,
  ).length;
  const requests = ended.filter(({ ordinal }) => ordinal === 1).length;
  const counted = requests - ended.filter(({ status }) => status === 'cancelled').length;
  const costNanoUsd = sum(ended, 'cost_nano_usd');
  const known = answered.length - unknownAnswers;
  const share = (kind: string) =>
    answered.length > 0 ? answered.filter((row) => row.kind === kind).length / answered.length : null;
  const unknown = ended.filter((row) => row.cost_nano_usd === null);
  const unknownModels = unique(unknown.map((row) => JSON.stringify([row.backend, row.model])));
  return {
    requests,
    answered: answered.length,
    errorRate: counted > 0 ? Math.max(0, counted - answered.length) / counted : 0,
    inputTokens: sum(ended, 'input_tokens'),
    outputTokens: sum(ended, 'output_tokens'),
    tokenCostNanoUsd: costNanoUsd,
    costPerRequestNanoUsd: known > 0 ? Math.round(costNanoUsd / known) : null,
    latency: percentilesOf(waited, 'elapsed_ms'),
    serverlessShare: share('serverless'),
    dedicatedShare: share('dedicated'),
    estimatedUsage: ended.filter((row) => row.usage_source === 'estimate').length,
    unknownCost: unknownModels.map((text) => {
      const [backend, model] = JSON.parse(text) as [string, string];
      const attempts = unknown.filter((row) => row.backend === backend && row.model === model).length;
      return { backend, model, attempts };
    }),
    rows: unique(ended.map(keyOf)).map((key) => {
      const own = ended.filter((row) => keyOf(row) === key);
      const failed = own.filter(({ status }) => status === 'error' || status === 'interrupted').length;
      const tried = own.filter(({ status }) => status !== 'cancelled').length;
      const answers = own.filter(({ status }) => status === 'ok');
      return {
        key,
        attempts: own.length,
        answered: (groupBy === 'day' || groupBy === 'principal' ? answers.filter((row) => !first(row)) : answers)
          .length,
        errorRate: tried > 0 ? failed / tried : 0,
        inputTokens: sum(own, 'input_tokens'),
        outputTokens: sum(own, 'output_tokens'),
        costNanoUsd: sum(own, 'cost_nano_usd'),
        unknownCost: own.filter((row) => row.cost_nano_usd === null).length,
        gpuCostNanoUsd: 0,
        ...percentilesOf(answers, 'latency_ms'),
      };
    }),
  };
}

/** The smallest value that at least `percent` of all do not exceed, by its definition. */
export function nearestRank(values: number[], percent: number): number | null {
  const reached = values.filter(
    (value) => 100 * values.filter((other) => other <= value).length >= percent * values.length,
  );
  return reached.length > 0 ? Math.min(...reached) : null;
}

function percentilesOf(rows: AttemptTable[], field: 'latency_ms' | 'elapsed_ms') {
  const values = rows.flatMap((row) => row[field] ?? []);
  return { p50Ms: nearestRank(values, 50), p95Ms: nearestRank(values, 95), p99Ms: nearestRank(values, 99) };
}

function sum(rows: AttemptTable[], field: 'cost_nano_usd' | 'input_tokens' | 'output_tokens'): number {
  return rows.reduce((total, row) => total + (row[field] ?? 0), 0);
}

function unique(values: string[]): string[] {
  return [...new Set(values)].sort();
}
