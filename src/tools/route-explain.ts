import { z } from 'zod';
import { nanoToUsd } from '../money.ts';
import { reasonOf, whyOf } from '../router/explain.ts';
import { type CascadePlan, candidateName, type Feature } from '../router/types.ts';
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
    basis: z.enum(['trained', 'prior']),
    suffices: z.object({ small: z.number(), large: z.number() }),
    features: z.array(z.looseObject({})),
    why: z.string(),
    input_tokens: z.int(),
    expected_output_tokens: z.int(),
    order: z.array(z.string()),
    candidates: z.array(z.looseObject({})),
    would_change: z.array(z.string()),
    quality: z.looseObject({}).optional(),
    cascade: z.looseObject({}).optional(),
  }),
  async handler(input, context) {
    const { decision, wouldChange } = await context.router.explain(toModelRequest(input, context), context.signal);
    const detailed = input.response_format === 'detailed';
    const { complexity } = decision;
    return {
      score: rounded(complexity.score),
      basis: complexity.basis ?? 'prior',
      suffices: { small: rounded(complexity.suffices.small), large: rounded(complexity.suffices.large) },
      features: strongest(complexity.features, detailed),
      ...(decision.quality && {
        quality: {
          asked: decision.quality.asked,
          expected: decision.quality.expected,
          saving: decision.quality.saving,
          requests: decision.quality.requests,
        },
      }),
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
      `Score ${output.score} (${moved || 'no feature moved it'}). ${basisText[output.basis]}, a small model suffices with a chance of ${output.suffices.small}, a large one of ${output.suffices.large}; about ${output.input_tokens} tokens in, ${output.expected_output_tokens} out. Order: ${output.order.join(', ') || 'none'}.`,
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

const basisText = {
  trained: 'As learned from public results',
  prior: 'By rules and length, for the prompt is unlike what was learned from',
};

const mostFeatures = 8;

/** What moved the score most, the strongest first; everything that was looked at, where details are asked for. */
function strongest(features: readonly Feature[], all: boolean) {
  const sorted = features.toSorted((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution));
  const moving = sorted.filter(({ contribution }) => contribution !== 0);
  return (all ? sorted : moving.slice(0, mostFeatures)).map(({ name, value, contribution }) => ({
    name,
    value: rounded(value),
    contribution: rounded(contribution),
  }));
}

function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

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
