import { z } from 'zod';
import { type Capability, capabilities } from '../../config/schema.ts';
import { AppError } from '../../errors.ts';
import { describeBody, parseRetryAfter } from '../../http.ts';
import type { Usage } from '../../usage/prices.ts';

/** OpenAI's wire formats, as far as they are read. Unknown fields are ignored, missing ones tolerated. */

const tokenCount = z.int().min(0);

export const usageSchema = z.object({
  prompt_tokens: tokenCount,
  /** Embeddings have none. */
  completion_tokens: tokenCount.default(0),
  prompt_tokens_details: z.object({ cached_tokens: tokenCount.nullish() }).nullish(),
  completion_tokens_details: z.object({ reasoning_tokens: tokenCount.nullish() }).nullish(),
  /** Dollars. OpenRouter always sends it, others sometimes. */
  cost: z.number().min(0).nullish().catch(null),
});

export const modelListSchema = z.object({
  data: z.array(
    z.object({
      id: z.string(),
      context_length: z.int().positive().nullish(),
      max_model_len: z.int().positive().nullish(),
      supported_parameters: z.array(z.string()).nullish().catch(null),
      architecture: z
        .object({ input_modalities: z.array(z.string()) })
        .nullish()
        .catch(null),
    }),
  ),
});

/**
 * What a listed model takes; null: the list does not say all of it. Source: OpenRouter, API reference, models. What is
 * missing there none of the providers behind the model has.
 */
export function capabilitiesIn({
  supported_parameters: parameters,
  architecture,
}: Pick<z.output<typeof modelListSchema>['data'][number], 'supported_parameters' | 'architecture'>):
  | readonly Capability[]
  | null {
  if (!parameters || !architecture) return null;
  const known: Record<Capability, boolean> = {
    tools: parameters.includes('tools'),
    json_schema: parameters.includes('structured_outputs'),
    images: architecture.input_modalities.includes('image'),
  };
  return capabilities.filter((capability) => known[capability]);
}

/** Null when there is none or when it cannot be true: a prompt always has tokens. */
export function readUsage(raw: unknown): { usage: Usage | null; costUsd: number | null } {
  const parsed = usageSchema.safeParse(raw);
  if (!parsed.success || parsed.data.prompt_tokens === 0) return { usage: null, costUsd: null };
  const { data } = parsed;
  return {
    usage: {
      inputTokens: data.prompt_tokens,
      cachedInputTokens: Math.min(data.prompt_tokens, data.prompt_tokens_details?.cached_tokens ?? 0),
      outputTokens: data.completion_tokens,
      reasoningTokens: data.completion_tokens_details?.reasoning_tokens ?? 0,
    },
    costUsd: data.cost ?? null,
  };
}

const contextTooLong =
  /context.{0,20}(length|window)|maximum context|too many tokens|prompt is too long|max_model_len|reduce the length/i;
const contentFiltered = /content[_ ]?(filter|policy|management)|safety system|flagged/i;
const quotaExceeded =
  /insufficient[_ ](quota|funds|credit|balance)|exceeded your current quota|payment required|billing/i;

/** An error answer as one of our errors. `who` names the backend; the key's value is never part of it. */
export function errorFromResponse(
  who: string,
  keyOrigin: string | null,
  status: number,
  retryAfter: string | string[] | undefined,
  body: string,
): AppError {
  const said = describeBody(body);
  const httpStatus = status;
  const happened = `${who} answered HTTP ${status}: ${said}.`;
  if (status === 401) {
    return new AppError('unauthorized', `${who} refused the key (HTTP 401).`, {
      next: keyOrigin
        ? `Check the key in ${keyOrigin}.`
        : 'It wants a key: name its variable with apiKeyEnv in tandem.yaml.',
      httpStatus,
    });
  }
  if (status === 402 || (status === 429 && quotaExceeded.test(body))) {
    return new AppError('quota_exceeded', happened, { next: `Check the account's balance at ${who}.`, httpStatus });
  }
  if (status === 429) {
    const retryAfterMs = parseRetryAfter(retryAfter, Date.now());
    return new AppError('rate_limited', `${who} limits the rate (HTTP 429): ${said}.`, {
      httpStatus,
      ...(retryAfterMs !== undefined && { retryAfterMs }),
    });
  }
  if (status === 403) {
    return new AppError('forbidden', happened, {
      next: 'The key may not do this, or a proxy in between refused it.',
      httpStatus,
    });
  }
  if (status === 404) {
    return new AppError('unknown_model', happened, {
      next: 'Check the model, and that baseUrl ends where /chat/completions begins (often /v1).',
      httpStatus,
    });
  }
  if (status === 408 || status === 504) return new AppError('upstream_timeout', happened, { httpStatus });
  if (status >= 500) {
    const retryAfterMs = parseRetryAfter(retryAfter, Date.now());
    return new AppError('upstream_unavailable', happened, {
      httpStatus,
      ...(retryAfterMs !== undefined && { retryAfterMs }),
    });
  }
  if (contextTooLong.test(body))
    return new AppError('context_too_long', happened, {
      next: 'Shorten the prompt or name a model with a larger window.',
      httpStatus,
    });
  if (contentFiltered.test(body))
    return new AppError('content_filtered', happened, {
      next: 'The provider will not answer this prompt.',
      httpStatus,
    });
  const next =
    status < 400
      ? 'It redirects: put the address it really has into baseUrl.'
      : 'Change what it names, or use another model.';
  return new AppError('upstream_rejected', happened, { next, httpStatus });
}

/** An error that arrives inside a stream that began well. */
export function errorFromChunk(who: string, error: unknown): AppError {
  const body = JSON.stringify({ error });
  if (contentFiltered.test(body)) return new AppError('content_filtered', `${who} stopped: ${describeBody(body)}.`);
  return new AppError('upstream_unavailable', `${who} broke off with an error: ${describeBody(body)}.`);
}
