import type { AppError } from '../errors.ts';
import { usdToNano } from '../money.ts';
import { tokenCostNano, type Usage } from '../usage/prices.ts';
import type { CostSource } from '../usage/tables.ts';
import { estimateTokens } from './token-estimate.ts';
import type { Candidate } from './types.ts';

/** What was heard of an answer by the time it ended, well or not. */
export interface Heard {
  text: string;
  /** Everything else that was generated. */
  otherText: string;
  usage: Usage | null;
  costUsd: number | null;
  error: AppError | null;
}

export interface Bill {
  usage: Usage | null;
  usageSource: 'provider' | 'estimate' | null;
  /** Null: unknown. */
  costNanoUsd: number | null;
  costSource: CostSource | null;
}

/** No single call costs this much; a figure above it is a mistake, and believing it would stop everything for a month. */
const mostCredibleUsd = 100;

/**
 * What a call cost, best source first: the provider's own figure, the price of the reported tokens, the price of
 * estimated tokens. Refused calls cost nothing; one that broke off before its first token is unknown.
 */
export function billFor(candidate: Candidate, inputTokens: number, heard: Heard): Bill {
  const refused = heard.error?.httpStatus !== undefined;
  const silent = heard.error !== null && !hasSaid(heard) && heard.usage === null;
  if (candidate.kind === 'dedicated') {
    const usage = silent ? null : (reported(heard, candidate, inputTokens) ?? estimated(inputTokens, heard));
    return { usage, usageSource: sourceOf(heard, usage), costNanoUsd: 0, costSource: 'instance_time' };
  }
  if (refused) return { usage: null, usageSource: null, costNanoUsd: 0, costSource: null };
  if (silent) return { usage: null, usageSource: null, costNanoUsd: neverSent(heard) ? 0 : null, costSource: null };
  const usage = reported(heard, candidate, inputTokens) ?? estimated(inputTokens, heard);
  const usageSource = sourceOf(heard, usage);
  if (heard.costUsd !== null && heard.costUsd <= mostCredibleUsd)
    return { usage, usageSource, costNanoUsd: usdToNano(heard.costUsd), costSource: 'provider' };
  if (candidate.price === null) return { usage, usageSource, costNanoUsd: null, costSource: null };
  return { usage, usageSource, costNanoUsd: tokenCostNano(candidate.price, usage), costSource: candidate.price.source };
}

export function hasSaid({ text, otherText }: Pick<Heard, 'text' | 'otherText'>): boolean {
  return text !== '' || otherText !== '';
}

/** The reported tokens, unless they cannot be true: a text without a token, or far more than was asked for. */
function reported(heard: Heard, candidate: Candidate, inputTokens: number): Usage | null {
  const { usage } = heard;
  if (usage === null || (usage.outputTokens === 0 && hasSaid(heard))) return null;
  const credible =
    usage.inputTokens <= 20 * inputTokens + 10_000 && usage.outputTokens <= 4 * candidate.maxTokens + 100_000;
  return credible ? usage : null;
}

function estimated(inputTokens: number, { text, otherText }: Heard): Usage {
  return { inputTokens, cachedInputTokens: 0, outputTokens: estimateTokens(text + otherText), reasoningTokens: 0 };
}

function sourceOf(heard: Heard, usage: Usage | null): Bill['usageSource'] {
  if (usage === null) return null;
  return usage === heard.usage ? 'provider' : 'estimate';
}

/** The connection was never made, so there is nothing to bill. */
function neverSent({ error }: Heard): boolean {
  return error !== null && isUnreached(error);
}

export function isUnreached(error: AppError): boolean {
  return error.code === 'upstream_unavailable' && /refused|does not resolve|connection timed out/.test(error.message);
}
