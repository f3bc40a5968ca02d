import { z } from 'zod';
import { nanoToUsd } from '../money.ts';
import { reasonOf, whyOf } from '../router/explain.ts';
import { type CascadePlan, candidateName } from '../router/types.ts';
import { promptInput, toModelRequest } from './prompt-input.ts';
import { milliseconds, table, usd } from './text.ts';
import { defineTool } from './tool.ts';

export const routeExplain = defineTool({
  name: 'route_explain',
  title: 'Explain the routing',
  effect: 'read',
  scope: 'infer',
  openWorld: true,
  description:
    'Say where complete would run this prompt and why, with predicted cost and latency of every candidate, without calling a model. Also a cost estimate.',
  input: z.strictObject(promptInput),
  output: z.object({
    score: z.number(),
    features: z.array(z.looseObject({})),
    why: z.string(),
    input_tokens: z.int(),
    expected_output_tokens: z.int(),
    order: z.array(z.string()),
    candidates: z.array(z.looseObject({})),
    would_change: z.array(z.string()),
    cascade: z.looseObject({}).optional(),
  }),
  async handler(input, context) {
    const { decision, wouldChange } = await context.router.explain(toModelRequest(input, context), context.signal);
    const detailed = input.response_format === 'detailed';
    return {
      score: decision.complexity.score,
      features: decision.complexity.features
        .filter((feature) => detailed || feature.contribution !== 0)
        .map((feature) => ({ ...feature })),
      why: whyOf(decision),
      input_tokens: decision.inputTokens,
      expected_output_tokens: decision.expectedOutputTokens,
      order: decision.candidates
        .filter((candidate) => candidate.verdict !== 'excluded')
        .map((candidate) => `${candidate.backend}/${candidate.model}`),
      candidates: decision.candidates.map((candidate) => ({
        backend: candidate.backend,
        model: candidate.model,
        tier: candidate.tier,
        verdict: candidate.verdict,
        suitability: candidate.suitability,
        predicted_cost_usd: nanoToUsd(candidate.predictedCostNanoUsd),
        predicted_latency_ms: candidate.predictedLatencyMs,
        reason: reasonOf(candidate),
        ...(detailed && {
          kind: candidate.kind,
          max_tokens: candidate.maxTokens,
          worst_cost_usd: nanoToUsd(candidate.worstCostNanoUsd),
          value_usd: nanoToUsd(candidate.valueNanoUsd),
          price_source: candidate.price?.source ?? null,
          price_as_of: candidate.price?.asOf ?? null,
        }),
      })),
      would_change: wouldChange,
      ...(decision.cascade && { cascade: presentCascade(decision.cascade) }),
    };
  },
  render(output) {
    const moved = output.features
      .map((feature) => `${feature.name} ${signed(feature.contribution as number)}`)
      .join(', ');
    const rows = output.candidates.map((candidate) => [
      `${candidate.backend}/${candidate.model}`,
      String(candidate.verdict),
      usd(candidate.predicted_cost_usd as number | null),
      milliseconds(candidate.predicted_latency_ms as number),
      String(candidate.suitability),
      String(candidate.reason),
    ]);
    const details = output.candidates
      .filter((candidate) => 'worst_cost_usd' in candidate)
      .map((candidate) => [
        `${candidate.backend}/${candidate.model}`,
        `${candidate.kind}, ${candidate.tier}`,
        String(candidate.max_tokens),
        usd(candidate.worst_cost_usd as number | null),
        usd(candidate.value_usd as number),
        priceOrigin(candidate),
      ]);
    const changes =
      output.would_change.length > 0
        ? output.would_change.map((change) => `- ${change}`).join('\n')
        : '- nothing within reach';
    return [
      output.why,
      `Score ${output.score} (${moved || 'no feature moved it'}); about ${output.input_tokens} tokens in, ${output.expected_output_tokens} out. Order: ${output.order.join(', ') || 'none'}.`,
      '',
      table(['candidate', 'verdict', 'cost', 'latency', 'suits', 'reason'], rows),
      ...(details.length > 0
        ? ['', table(['candidate', 'kind', 'max_tokens', 'at most', 'value', 'price from'], details)]
        : []),
      '',
      `What would change the decision:\n${changes}`,
    ].join('\n');
  },
});

function presentCascade({ first, next, escalates, expectedCostNanoUsd }: CascadePlan): Record<string, unknown> {
  return {
    first: candidateName(first),
    // biome-ignore lint/suspicious/noThenProperty: a name, which nobody calls.
    then: candidateName(next),
    escalates_about: escalates === null ? null : Math.round(100 * escalates) / 100,
    expected_cost_usd: nanoToUsd(expectedCostNanoUsd),
  };
}

function priceOrigin({ kind, price_source: source, price_as_of: asOf }: Record<string, unknown>): string {
  if (kind === 'dedicated') return 'its minutes';
  return source ? `${source}${asOf ? ` of ${asOf}` : ''}` : 'unknown';
}

function signed(value: number): string {
  return value < 0 ? String(value) : `+${value}`;
}
