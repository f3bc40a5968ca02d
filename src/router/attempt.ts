import { AppError, abortReason } from '../errors.ts';
import { usdToNano } from '../money.ts';
import type { Ledger } from '../usage/ledger.ts';
import { tokenCostNano, type Usage } from '../usage/prices.ts';
import type { CostSource } from '../usage/tables.ts';
import type { HealthBook } from './health.ts';
import { estimateTokens } from './tokens.ts';
import { type Backend, type Candidate, type ChatRequest, candidateName } from './types.ts';

export interface AttemptPlan {
  backend: Backend;
  candidate: Candidate;
  request: ChatRequest;
  requestId: string;
  ordinal: number;
  /** Estimated. */
  inputTokens: number;
  score: number;
  /** Until the first byte. */
  firstByteMs: number;
  /** Until the whole answer; what has arrived by then is the answer, with `finish_reason` "deadline". */
  leftMs: number;
  /** `performance.now()` when the request began. */
  startedAt: number;
  signal: AbortSignal;
}

/** What one upstream call came to. */
export interface AttemptReport {
  backend: string;
  kind: 'serverless' | 'dedicated';
  model: string;
  latencyMs: number;
  usage: Usage | null;
  usageSource: 'provider' | 'estimate' | null;
  /** Null: unknown. */
  costNanoUsd: number | null;
  costSource: CostSource | null;
  error: AppError | null;
}

export interface AttemptResult {
  report: AttemptReport;
  text: string;
  finishReason: string;
}

/**
 * One call to one candidate: reserve and write the row, call, settle. A failed call comes back as a report with its
 * error, and so does a budget that another call used up in the meantime; nothing was sent then.
 */
export async function runAttempt(
  parts: { ledger: Ledger; health: HealthBook },
  plan: AttemptPlan,
): Promise<AttemptResult> {
  const { backend, candidate } = plan;
  const identity = { backend: candidate.backend, kind: candidate.kind, model: candidate.model };
  const id = await open(parts.ledger, plan);
  if (id instanceof AppError) {
    const nothing = { latencyMs: 0, usage: null, usageSource: null, costNanoUsd: 0, costSource: null, error: id };
    return { report: { ...identity, ...nothing }, text: '', finishReason: 'error' };
  }
  parts.health.started(backend.id);
  const answer = await listen(plan);
  const bill = billFor(plan, answer);
  const { error, latencyMs, firstTokenMs } = answer;
  await parts.ledger.settleAttempt(id, {
    status: error ? (error.code === 'cancelled' ? 'cancelled' : 'error') : 'ok',
    ...(error && { errorCode: error.code, httpStatus: error.httpStatus }),
    finishReason: answer.finishReason,
    ...bill,
    firstTokenMs,
    latencyMs,
    elapsedMs: Math.round(performance.now() - plan.startedAt),
  });
  learn(parts.health, plan, answer, bill.usage);
  return {
    report: { ...identity, latencyMs, ...bill, error },
    text: answer.text,
    finishReason: answer.finishReason ?? 'error',
  };
}

async function open(
  ledger: Ledger,
  { candidate, request, requestId, ordinal, score, leftMs }: AttemptPlan,
): Promise<string | AppError> {
  try {
    return await ledger.openAttempt({
      requestId,
      ordinal,
      backend: candidate.backend,
      kind: candidate.kind,
      model: candidate.model,
      priority: request.priority,
      score,
      reserveNanoUsd: candidate.worstCostNanoUsd,
      price: candidate.price,
      deadlineMs: leftMs,
    });
  } catch (error) {
    if (error instanceof AppError && error.code === 'budget_exhausted') return error;
    throw error;
  }
}

interface Heard {
  text: string;
  finishReason: string | null;
  usage: Usage | null;
  costUsd: number | null;
  firstTokenMs: number | null;
  latencyMs: number;
  error: AppError | null;
}

/** Makes the call and gathers what arrives. Never throws: what was received before a failure has to be paid for. */
async function listen(plan: AttemptPlan): Promise<Heard> {
  const { backend, candidate, request, signal } = plan;
  const startedAt = performance.now();
  const heard: Heard = {
    text: '',
    finishReason: null,
    usage: null,
    costUsd: null,
    firstTokenMs: null,
    latencyMs: 0,
    error: null,
  };
  const deadline = new AbortController();
  const timer = setTimeout(
    () =>
      deadline.abort(
        new AppError('upstream_timeout', `Backend ${backend.id} did not finish within ${Math.round(plan.leftMs)} ms.`),
      ),
    plan.leftMs,
  );
  try {
    const call = {
      model: candidate.model,
      messages: request.messages,
      maxTokens: candidate.maxTokens,
      temperature: request.temperature,
    };
    for await (const event of backend.chat(call, plan.firstByteMs, AbortSignal.any([signal, deadline.signal]))) {
      if (event.type === 'text') {
        heard.firstTokenMs ??= Math.round(performance.now() - startedAt);
        heard.text += event.text;
      } else if (event.type === 'finish') heard.finishReason = event.reason;
      else {
        heard.usage = event.usage;
        heard.costUsd = event.costUsd;
      }
    }
  } catch (error) {
    const reason = signal.aborted ? abortReason(signal) : error;
    const cutByDeadline = deadline.signal.aborted && !signal.aborted && heard.text !== '';
    if (cutByDeadline) heard.finishReason = 'deadline';
    else if (reason instanceof AppError) heard.error = reason;
    else heard.error = new AppError('upstream_unavailable', `Backend ${backend.id} failed.`, { cause: reason });
  } finally {
    clearTimeout(timer);
  }
  heard.latencyMs = Math.round(performance.now() - startedAt);
  return heard;
}

type Bill = Pick<AttemptReport, 'usage' | 'usageSource' | 'costNanoUsd' | 'costSource'>;

/**
 * What the call cost, best source first: the provider's own figure, the price of the reported tokens, the price of
 * estimated tokens. Refused calls cost nothing; one that broke off before its first token is unknown.
 */
function billFor({ candidate, inputTokens }: AttemptPlan, heard: Heard): Bill {
  const refused = heard.error?.httpStatus !== undefined;
  const silent = heard.error !== null && heard.text === '' && heard.usage === null;
  if (candidate.kind === 'dedicated') {
    const usage = silent ? null : (reported(heard, candidate, inputTokens) ?? estimated(inputTokens, heard.text));
    return { usage, usageSource: sourceOf(heard, usage), costNanoUsd: 0, costSource: 'instance_time' };
  }
  if (refused) return { usage: null, usageSource: null, costNanoUsd: 0, costSource: null };
  if (silent) return { usage: null, usageSource: null, costNanoUsd: neverSent(heard) ? 0 : null, costSource: null };
  const usage = reported(heard, candidate, inputTokens) ?? estimated(inputTokens, heard.text);
  const usageSource = sourceOf(heard, usage);
  if (heard.costUsd !== null && heard.costUsd <= mostCredibleUsd)
    return { usage, usageSource, costNanoUsd: usdToNano(heard.costUsd), costSource: 'provider' };
  if (candidate.price === null) return { usage, usageSource, costNanoUsd: null, costSource: null };
  return { usage, usageSource, costNanoUsd: tokenCostNano(candidate.price, usage), costSource: candidate.price.source };
}

/** No single call costs this much; a figure above it is a mistake, and believing it would stop everything for a month. */
const mostCredibleUsd = 100;

/** The reported tokens, unless they cannot be true: a text without a token, or far more than was asked for. */
function reported({ usage, text }: Heard, candidate: Candidate, inputTokens: number): Usage | null {
  if (usage === null || (usage.outputTokens === 0 && text !== '')) return null;
  const credible =
    usage.inputTokens <= 20 * inputTokens + 10_000 && usage.outputTokens <= 4 * candidate.maxTokens + 100_000;
  return credible ? usage : null;
}

function estimated(inputTokens: number, text: string): Usage {
  return { inputTokens, cachedInputTokens: 0, outputTokens: estimateTokens(text), reasoningTokens: 0 };
}

function sourceOf(heard: Heard, usage: Usage | null): Bill['usageSource'] {
  if (usage === null) return null;
  return usage === heard.usage ? 'provider' : 'estimate';
}

/** The connection was never made, so there is nothing to bill. */
function neverSent({ error }: Heard): boolean {
  return error?.code === 'upstream_unavailable' && /refused|does not resolve|connection timed out/.test(error.message);
}

function learn(health: HealthBook, { backend, candidate }: AttemptPlan, heard: Heard, usage: Usage | null): void {
  if (heard.error === null) {
    const seconds = (heard.latencyMs - (heard.firstTokenMs ?? 0)) / 1000;
    const measured =
      heard.firstTokenMs !== null && usage && usage.outputTokens > 1 && seconds > 0
        ? { firstTokenMs: heard.firstTokenMs, tokensPerSecond: usage.outputTokens / seconds }
        : null;
    health.succeeded(backend.id, candidateName(candidate), measured);
  } else if (heard.error.isRetryable || heard.error.code === 'unauthorized' || heard.error.code === 'quota_exceeded') {
    health.failed(backend.id, heard.error);
  } else health.ended(backend.id);
}
