import { z } from 'zod';
import { nanoToUsd } from '../money.ts';
import { type AttemptReport, totalCostNano } from '../router/attempt.ts';
import { type CascadeOutcome, sayCascade } from '../router/escalation.ts';
import { whyOf } from '../router/explain.ts';
import type { Answer } from '../router/router.ts';
import { candidateName } from '../router/types.ts';
import { promptInput, toModelRequest } from './prompt-input.ts';
import { milliseconds, usd } from './text.ts';
import { defineTool } from './tool.ts';

export const complete = defineTool({
  name: 'complete',
  title: 'Run a prompt',
  effect: 'spend',
  scope: 'infer',
  recorded: ['backend', 'model', 'priority', 'max_tokens', 'request_id', 'cost_usd', 'cost_basis'],
  openWorld: true,
  description:
    'Answer a prompt on the cheapest backend that is good enough (serverless or dedicated GPU), falling back when one fails. Says which model answered, why, and what it cost (null: unknown).',
  input: z.strictObject(promptInput),
  output: z.object({
    request_id: z.string(),
    text: z.string(),
    backend: z.string(),
    model: z.string(),
    input_tokens: z.int().nullable(),
    output_tokens: z.int().nullable(),
    cost_usd: z.number().nullable(),
    cost_basis: z.string(),
    latency_ms: z.int(),
    why: z.string(),
    finish_reason: z.string(),
    score: z.number().optional(),
    tokens_estimated: z.boolean().optional(),
    attempts: z.array(z.looseObject({})).optional(),
    check: z.looseObject({}).optional(),
  }),
  async handler(input, context) {
    const answer = await context.router.run(toModelRequest(input, context), context.signal);
    await answer.settled;
    return present(answer, input.response_format === 'detailed');
  },
  render(output) {
    const answered = [
      `${output.backend}/${output.model}`,
      `${output.input_tokens ?? '?'} in, ${output.output_tokens ?? '?'} out${output.tokens_estimated ? ' (estimated)' : ''}`,
      `${usd(output.cost_usd)} (${output.cost_basis})`,
      milliseconds(output.latency_ms),
      `finish_reason ${output.finish_reason}`,
      `request ${output.request_id}`,
    ];
    const attempts = (output.attempts ?? []).map(
      (attempt) =>
        `  ${attempt.backend}/${attempt.model}: ${attempt.error ?? 'answered'} (${milliseconds(attempt.latency_ms as number)}, ${usd(attempt.cost_usd as number | null)})`,
    );
    const tried = attempts.length > 0 ? `\nAttempts:\n${attempts.join('\n')}` : '';
    return `${output.text}\n\n— ${answered.join(' · ')}\n${output.why}${tried}`;
  },
});

function present(answer: Answer, detailed: boolean) {
  const { answeredBy: by, cascade } = answer;
  const isSingle = answer.attempts.length === 1;
  const cut = answer.finishReason === 'deadline' ? ' The answer was cut when the time for the call was over.' : '';
  return {
    request_id: answer.requestId,
    text: answer.text,
    backend: by.backend,
    model: by.model,
    input_tokens: by.usage?.inputTokens ?? null,
    output_tokens: by.usage?.outputTokens ?? null,
    cost_usd: nanoToUsd(totalCostNano(answer.attempts)),
    cost_basis: by.costSource ?? 'unknown',
    latency_ms: answer.latencyMs,
    why: whyThis(answer) + cut,
    finish_reason: answer.finishReason,
    ...(by.usageSource === 'estimate' && { tokens_estimated: true }),
    ...(detailed && { score: answer.decision.complexity.score }),
    ...(detailed && cascade && { check: presentCheck(cascade) }),
    ...((detailed || !isSingle) && { attempts: answer.attempts.map(presentAttempt) }),
  };
}

/** Who answered first, what failed before that, and what the check of that answer led to. */
function whyThis({ decision, attempts, cascade }: Answer): string {
  const first = attempts.find(({ error }) => error === null);
  const failed = attempts.slice(0, first ? attempts.indexOf(first) : 0);
  const reasons = failed.map(
    (attempt) => `${candidateName(attempt)} failed (${attempt.error?.message ?? 'no answer'})`,
  );
  const fallback =
    first && failed.length > 0 ? `Fallback to ${first.kind} ${candidateName(first)}: ${reasons.join('; ')}` : null;
  if (!first || !cascade?.verdict.next) return fallback ?? whyOf(decision);
  const escalated = sayCascade(cascade, candidateName(first));
  return fallback === null ? escalated : `${fallback}. ${escalated}`;
}

function presentCheck({ verdict }: CascadeOutcome): Record<string, unknown> {
  return {
    right: verdict.right,
    basis: verdict.basis,
    found: verdict.sign,
    gain: verdict.gain,
    gain_usd: nanoToUsd(verdict.gainNanoUsd),
    burden_usd: nanoToUsd(verdict.burdenNanoUsd),
    asked: verdict.next && candidateName(verdict.next),
  };
}

function presentAttempt(attempt: AttemptReport): Record<string, unknown> {
  return {
    backend: attempt.backend,
    model: attempt.model,
    latency_ms: attempt.latencyMs,
    cost_usd: nanoToUsd(attempt.costNanoUsd),
    error: attempt.error?.message ?? null,
  };
}
