import { z } from 'zod';
import { nanoToUsd } from '../money.ts';
import { type AttemptReport, totalCostNano } from '../router/attempt.ts';
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
  const last = answer.attempts.at(-1) as AttemptReport;
  const failed = answer.attempts.slice(0, -1);
  const cut = answer.finishReason === 'deadline' ? ' The answer was cut when the time for the call was over.' : '';
  return {
    request_id: answer.requestId,
    text: answer.text,
    backend: last.backend,
    model: last.model,
    input_tokens: last.usage?.inputTokens ?? null,
    output_tokens: last.usage?.outputTokens ?? null,
    cost_usd: nanoToUsd(totalCostNano(answer.attempts)),
    cost_basis: last.costSource ?? 'unknown',
    latency_ms: answer.latencyMs,
    why: whyThis(answer, failed, last) + cut,
    finish_reason: answer.finishReason,
    ...(last.usageSource === 'estimate' && { tokens_estimated: true }),
    ...(detailed && { score: answer.decision.complexity.score }),
    ...((detailed || failed.length > 0) && { attempts: answer.attempts.map(presentAttempt) }),
  };
}

function whyThis(answer: Answer, failed: readonly AttemptReport[], last: AttemptReport): string {
  if (failed.length === 0) return whyOf(answer.decision);
  const reasons = failed.map(
    (attempt) => `${candidateName(attempt)} failed (${attempt.error?.message ?? 'no answer'})`,
  );
  return `Fallback to ${last.kind} ${candidateName(last)}: ${reasons.join('; ')}`;
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
