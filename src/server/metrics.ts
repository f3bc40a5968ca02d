import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { ErrorCode } from '../errors.ts';
import { nanoToUsd } from '../money.ts';
import type { AttemptReport } from '../router/attempt.ts';
import type { Backend, Health, Operation } from '../router/types.ts';
import type { BudgetState } from '../usage/budget.ts';

/** Seconds; answers of models take from a few milliseconds (a cache, a test) to minutes. */
const durationBuckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** What is asked when somebody reads the metrics. */
export interface MetricsSources {
  backends(): readonly Backend[];
  healthOf(backend: string): Health;
  budget(): Promise<BudgetState>;
  /** The statuses of the machines that live. */
  instanceStatuses(): Promise<readonly string[]>;
  requestsUnderWay(): number;
}

/** Everything that `GET /metrics` tells, in Prometheus' text format. Labels name backends and models, never callers. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests = this.#counter('tandem_requests_total', 'Requests that are over.', ['operation', 'outcome']);
  readonly #requestSeconds = this.#histogram('tandem_request_duration_seconds', 'What callers waited.', ['operation']);
  readonly #attempts = this.#counter('tandem_attempts_total', 'Upstream calls.', ['backend', 'model', 'outcome']);
  readonly #attemptSeconds = this.#histogram('tandem_attempt_duration_seconds', 'What upstream calls took.', [
    'backend',
    'model',
  ]);
  readonly #firstTokenSeconds = this.#histogram('tandem_time_to_first_token_seconds', 'Until the first token.', [
    'backend',
    'model',
  ]);
  readonly #tokens = this.#counter('tandem_tokens_total', 'Tokens, reported or estimated.', [
    'backend',
    'model',
    'direction',
  ]);
  readonly #cost = this.#counter('tandem_cost_usd_total', 'Known cost of calls, GPU time apart.', ['backend', 'model']);
  readonly #unknownCost = this.#counter('tandem_unknown_cost_attempts_total', 'Calls whose cost nobody can tell.', [
    'backend',
    'model',
  ]);

  constructor(sources: MetricsSources) {
    collectDefaultMetrics({ register: this.#registry });
    this.#gauge('tandem_requests_under_way', 'Requests that are being answered.', [], (gauge) =>
      gauge.set(sources.requestsUnderWay()),
    );
    this.#gauge(
      'tandem_backend_usable',
      '1: takes requests; 0: its breaker is open, or it has no key.',
      ['backend'],
      (gauge) => {
        for (const { id, unusable } of sources.backends())
          gauge.set({ backend: id }, unusable === null && sources.healthOf(id).usable ? 1 : 0);
      },
    );
    this.#gauge('tandem_budget_left_usd', 'What may still be spent.', ['period'], async (gauge) => {
      const { day, month } = await sources.budget();
      gauge.set({ period: 'day' }, nanoToUsd(day.leftNanoUsd));
      gauge.set({ period: 'month' }, nanoToUsd(month.leftNanoUsd));
    });
    this.#gauge('tandem_instances', 'Machines that Tandem launched and that live.', ['status'], async (gauge) => {
      gauge.reset();
      for (const status of await sources.instanceStatuses()) gauge.inc({ status });
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  read(): Promise<string> {
    return this.#registry.metrics();
  }

  readonly request = (operation: Operation, outcome: ErrorCode | 'ok', durationMs: number): void => {
    this.#requests.inc({ operation, outcome });
    this.#requestSeconds.observe({ operation }, durationMs / 1000);
  };

  readonly attempt = (report: AttemptReport): void => {
    const { backend, model, usage, costNanoUsd, firstTokenMs, error } = report;
    const source = { backend, model };
    this.#attempts.inc({ backend, model, outcome: error?.code ?? 'ok' });
    this.#attemptSeconds.observe(source, report.latencyMs / 1000);
    if (firstTokenMs !== null) this.#firstTokenSeconds.observe(source, firstTokenMs / 1000);
    if (usage) {
      this.#tokens.inc({ backend, model, direction: 'input' }, usage.inputTokens);
      this.#tokens.inc({ backend, model, direction: 'output' }, usage.outputTokens);
    }
    if (costNanoUsd === null) this.#unknownCost.inc(source);
    else if (costNanoUsd > 0) this.#cost.inc(source, nanoToUsd(costNanoUsd));
  };

  #counter<Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #histogram<Label extends string>(name: string, help: string, labelNames: Label[]): Histogram<Label> {
    return new Histogram({ name, help, labelNames, buckets: durationBuckets, registers: [this.#registry] });
  }

  #gauge<Label extends string>(
    name: string,
    help: string,
    labelNames: Label[],
    fill: (gauge: Gauge<Label>) => void | Promise<void>,
  ): void {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [this.#registry],
      collect() {
        return fill(this);
      },
    });
  }
}
