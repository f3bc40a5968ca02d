import { z } from 'zod';
import { AppError } from '../errors.ts';
import { nanoToUsd } from '../money.ts';
import type { PeriodBudget } from '../usage/budget.ts';
import type { Percentiles } from '../usage/percentiles.ts';
import { type Report, reportGroups } from '../usage/report.ts';
import { bar, milliseconds, percent, table, usd } from './text.ts';
import { defineTool, type ToolContext } from './tool.ts';

const periods = { today: 0, '7d': 6, '30d': 29 } as const;

export const costReport = defineTool({
  name: 'cost_report',
  title: 'Cost report',
  effect: 'read',
  scope: 'read',
  openWorld: false,
  description:
    'What prompts and GPUs cost in a period: requests, tokens, cost per request, latency, errors, share per backend, GPU minutes, budget left.',
  input: z.strictObject({
    period: z.enum(['today', '7d', '30d']).optional(),
    from: z.string().optional().describe('ISO date or time, instead of period'),
    to: z.string().optional(),
    group_by: z.enum(reportGroups).optional(),
  }),
  output: z.object({
    period: z.looseObject({}),
    totals: z.looseObject({ requests: z.int(), cost_usd: z.number() }),
    groups: z.array(z.looseObject({ key: z.string() })),
    gpu: z.looseObject({}),
    budget: z.looseObject({}),
    unknown_cost: z.array(z.looseObject({})),
  }),
  async handler(input, context) {
    const { fromMs, toMs } = spanOf(input, context);
    return present(await context.reports.report(fromMs, toMs, input.group_by ?? 'backend'), context);
  },
  render: (output) => render(output as unknown as Presented),
});

function spanOf(
  input: { period?: keyof typeof periods | undefined; from?: string | undefined; to?: string | undefined },
  { calendar, clock }: ToolContext,
) {
  const nowMs = clock.nowMs();
  if (input.period !== undefined && (input.from !== undefined || input.to !== undefined)) {
    throw new AppError('invalid_input', 'Both period and from/to are given.', {
      next: 'Give either period (today, 7d, 30d) or from and to.',
    });
  }
  if (input.from === undefined && input.to === undefined) {
    return { fromMs: calendar.startOfDayBefore(nowMs, periods[input.period ?? 'today']), toMs: nowMs + 1 };
  }
  const parse = (name: string, text: string): number => {
    const ms = calendar.parse(text);
    if (ms === null)
      throw new AppError('invalid_input', `${name} is not a date: "${text}".`, {
        next: 'Give an ISO date (2026-11-01) or time (2026-11-01T09:00).',
      });
    return ms;
  };
  // A day as the end means the whole of it.
  const toMs =
    input.to === undefined
      ? nowMs + 1
      : isDay(input.to)
        ? calendar.at(parse('to', input.to)).day.endMs
        : parse('to', input.to);
  const fromMs = input.from === undefined ? calendar.startOfDayBefore(toMs, 29) : parse('from', input.from);
  if (fromMs >= toMs)
    throw new AppError('invalid_input', 'from is not before to.', { next: 'Give an earlier from or a later to.' });
  return { fromMs, toMs };
}

/** What is unknown is never shown as nothing. */
function known(amount: number, unknownAttempts: number): string {
  if (unknownAttempts === 0) return usd(amount);
  return amount === 0 ? 'unknown' : `${usd(amount)} + unknown`;
}

function isDay(text: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(text);
}

export type Presented = ReturnType<typeof present>;

export function present(report: Report, { calendar }: Pick<ToolContext, 'calendar'>) {
  return {
    period: { from: calendar.format(report.fromMs), to: calendar.format(report.toMs), time_zone: report.timeZone },
    totals: {
      requests: report.requests,
      answered: report.answered,
      error_rate: report.errorRate,
      input_tokens: report.inputTokens,
      output_tokens: report.outputTokens,
      token_cost_usd: nanoToUsd(report.tokenCostNanoUsd),
      gpu_cost_usd: nanoToUsd(report.gpuCostNanoUsd),
      cost_usd: nanoToUsd(report.tokenCostNanoUsd + report.gpuCostNanoUsd),
      cost_per_request_usd: nanoToUsd(report.costPerRequestNanoUsd),
      ...latency(report.latency),
      serverless_share: report.serverlessShare,
      dedicated_share: report.dedicatedShare,
      tokens_estimated_attempts: report.estimatedUsage,
      shadow_attempts: report.shadow.attempts,
      shadow_cost_usd: nanoToUsd(report.shadow.costNanoUsd),
      shadow_unknown_cost_attempts: report.shadow.unknownCost,
    },
    group_by: report.groupBy,
    groups: report.rows.map((row) => ({
      key: row.key,
      answered: row.answered,
      attempts: row.attempts,
      error_rate: row.errorRate,
      input_tokens: row.inputTokens,
      output_tokens: row.outputTokens,
      token_cost_usd: nanoToUsd(row.costNanoUsd),
      gpu_cost_usd: nanoToUsd(row.gpuCostNanoUsd),
      unknown_cost_attempts: row.unknownCost,
      cost_per_request_usd:
        row.answered > row.unknownCost
          ? nanoToUsd(Math.round((row.costNanoUsd + row.gpuCostNanoUsd) / (row.answered - row.unknownCost)))
          : null,
      ...latency(row),
    })),
    gpu: {
      minutes: report.gpuMinutes,
      cost_usd: nanoToUsd(report.gpuCostNanoUsd),
      upper_bound_usd: nanoToUsd(report.gpuUpperNanoUsd),
      instances: report.instances.map((instance) => ({
        name: instance.name,
        id: instance.instanceId,
        instance_type: instance.instanceType,
        status: instance.status,
        minutes: instance.minutes,
        cost_usd: nanoToUsd(instance.costNanoUsd),
        upper_bound_usd: nanoToUsd(instance.upperNanoUsd),
      })),
    },
    budget: { daily: budget(report.budget.day, calendar), monthly: budget(report.budget.month, calendar) },
    unknown_cost: report.unknownCost,
  };
}

function latency(times: Percentiles) {
  return { p50_ms: times.p50Ms, p95_ms: times.p95Ms, p99_ms: times.p99Ms };
}

function budget(period: PeriodBudget, calendar: ToolContext['calendar']) {
  return {
    limit_usd: nanoToUsd(period.limitNanoUsd),
    spent_usd: nanoToUsd(period.tokensNanoUsd + period.instancesNanoUsd),
    reserved_usd: nanoToUsd(period.reservedNanoUsd),
    held_for_instances_usd: nanoToUsd(period.heldNanoUsd),
    left_usd: nanoToUsd(period.leftNanoUsd),
    resets_at: calendar.format(period.period.endMs),
  };
}

export function render({
  period,
  totals,
  group_by: groupBy,
  groups,
  gpu,
  budget: left,
  unknown_cost: unknown,
}: Presented): string {
  const unknowns = unknown.reduce((sum, row) => sum + row.attempts, 0);
  const largest = Math.max(0, ...groups.map((group) => group.token_cost_usd + group.gpu_cost_usd));
  const rows = groups.map((group) => [
    group.key,
    String(group.answered),
    String(group.attempts),
    percent(group.error_rate),
    String(group.input_tokens),
    String(group.output_tokens),
    known(group.token_cost_usd, group.unknown_cost_attempts),
    usd(group.gpu_cost_usd),
    group.cost_per_request_usd === null ? '–' : usd(group.cost_per_request_usd),
    milliseconds(group.p50_ms),
    milliseconds(group.p95_ms),
    milliseconds(group.p99_ms),
  ]);
  const chart = groups.map((group) => [
    group.key,
    known(group.token_cost_usd + group.gpu_cost_usd, group.unknown_cost_attempts),
    bar(group.token_cost_usd + group.gpu_cost_usd, largest),
  ]);
  const machines = gpu.instances.map(
    (machine) =>
      `- ${machine.name} (${machine.instance_type}, ${machine.status}): ${machine.minutes} min, ${usd(machine.cost_usd)}, at most ${usd(machine.upper_bound_usd)}`,
  );
  return [
    `${period.from} to ${period.to} (${period.time_zone})`,
    `${totals.requests} requests, ${totals.answered} answered, ${percent(totals.error_rate)} failed; ${totals.input_tokens} tokens in, ${totals.output_tokens} out.`,
    `Cost ${known(totals.cost_usd, unknowns)} = tokens ${known(totals.token_cost_usd, unknowns)} + GPU time ${usd(totals.gpu_cost_usd)}; ${totals.cost_per_request_usd === null ? 'no answer of known cost' : `${usd(totals.cost_per_request_usd)} per answered request`}.`,
    `Latency P50 ${milliseconds(totals.p50_ms)}, P95 ${milliseconds(totals.p95_ms)}, P99 ${milliseconds(totals.p99_ms)}; serverless ${percent(totals.serverless_share)}, dedicated ${percent(totals.dedicated_share)}.`,
    ...(groups.length > 0
      ? [
          '',
          table(
            [
              groupBy,
              'answered',
              'attempts',
              'errors',
              'tokens in',
              'out',
              'tokens cost',
              'GPU time',
              'per request',
              'P50',
              'P95',
              'P99',
            ],
            rows,
          ),
          '',
          table([groupBy, 'cost', ''], chart),
        ]
      : []),
    '',
    `GPU time: ${gpu.minutes} min, ${usd(gpu.cost_usd)} (estimate from first active; at most ${usd(gpu.upper_bound_usd)}; Lambda's invoice is authoritative).`,
    ...machines,
    `Budget: ${usd(left.daily.left_usd)} of ${usd(left.daily.limit_usd)} left today (resets ${left.daily.resets_at}), ${usd(left.monthly.left_usd)} of ${usd(left.monthly.limit_usd)} this month (resets ${left.monthly.resets_at}); ${usd(left.daily.reserved_usd)} reserved by calls under way, ${usd(left.daily.held_for_instances_usd)} held until leases of instances end.`,
    ...(totals.shadow_attempts > 0
      ? [
          `Shadow comparisons: ${totals.shadow_attempts} attempts, ${known(totals.shadow_cost_usd, totals.shadow_unknown_cost_attempts)}. They are in the cost, and no requests.`,
        ]
      : []),
    ...(totals.tokens_estimated_attempts > 0
      ? [`Tokens of ${totals.tokens_estimated_attempts} attempts are estimated: the provider reported none.`]
      : []),
    ...unknown.map((row) => `Unknown cost, in no sum: ${row.attempts} attempts on ${row.backend}/${row.model}.`),
  ].join('\n');
}
