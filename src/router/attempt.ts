import { abortReason, type Cancellation } from '../cancellation.ts';
import { AppError } from '../errors.ts';
import type { Ledger } from '../usage/ledger.ts';
import type { Usage } from '../usage/prices.ts';
import { type Bill, billFor, type Heard, hasSaid } from './bill.ts';
import type { HealthBook } from './health.ts';
import {
  type Backend,
  type Begun,
  type Candidate,
  candidateName,
  type ModelRequest,
  type Sink,
  type Suffices,
} from './types.ts';

export interface AttemptPlan {
  backend: Backend;
  candidate: Candidate;
  request: ModelRequest;
  ordinal: number;
  /** Estimated. */
  inputTokens: number;
  score: number;
  /** What the scorer expected, before any calibration. */
  predicted?: Suffices | undefined;
  firstByteMs: number;
  leftMs: number;
  /** `performance.now()` when the request began. */
  startedAt: number;
  signal: Cancellation;
  /** What an earlier attempt said, to be continued. */
  begun: Begun | null;
  /** Gets what arrives; undefined: only the result counts. */
  sink: Sink | undefined;
  /** Told of an answer before its row is closed: whether another model is asked after it. */
  goesOn?: ((answer: { text: string; finishReason: string | null }) => boolean) | undefined;
}

/** What one upstream call came to. */
export interface AttemptReport extends Bill {
  backend: string;
  kind: 'serverless' | 'dedicated';
  model: string;
  latencyMs: number;
  firstTokenMs: number | null;
  error: AppError | null;
  /** Whether anything was sent; if not, there is no row. */
  sent: boolean;
}

export interface AttemptResult {
  report: AttemptReport;
  text: string;
  /** The bytes of the answer, of a call that did not stream. */
  body: Buffer | null;
  finishReason: string;
  /** When its row is closed. */
  settled: Promise<void>;
}

/** What answers cost and what failed attempts are known to have cost; an unknown answer makes the sum unknown. */
export function totalCostNano(attempts: readonly AttemptReport[]): number | null {
  if (attempts.some(({ error, costNanoUsd }) => error === null && costNanoUsd === null)) return null;
  return attempts.reduce((sum, attempt) => sum + (attempt.costNanoUsd ?? 0), 0);
}

/**
 * One call to one candidate: reserve and write the row, call, settle. A failed call comes back as a report with its
 * error, and so does one that was not made: because the backend rests, or another call used up the budget.
 */
export async function runAttempt(
  parts: { ledger: Ledger; health: HealthBook },
  plan: AttemptPlan,
): Promise<AttemptResult> {
  const { candidate } = plan;
  const refusal = parts.health.admit(candidate.backend, plan.backend.maxConcurrentRequests);
  if (refusal) return notSent(candidate, refusal);
  try {
    return await runAdmitted(parts, plan);
  } finally {
    parts.health.leave(candidate.backend);
  }
}

async function runAdmitted(parts: { ledger: Ledger; health: HealthBook }, plan: AttemptPlan): Promise<AttemptResult> {
  const { candidate } = plan;
  const id = await open(parts, plan);
  if (id instanceof AppError) return notSent(candidate, id);
  const answer = await listen(plan);
  const bill = billFor(candidate, plan.inputTokens, answer);
  const { error, latencyMs, firstTokenMs } = answer;
  const goesOn = error === null && plan.goesOn?.(answer) === true;
  const settled = parts.ledger.settleAttempt(id, {
    status: error ? (isCancelled(error, plan.signal) ? 'cancelled' : 'error') : 'ok',
    errorCode: error?.code,
    httpStatus: error?.httpStatus,
    finishReason: answer.finishReason,
    usage: bill.usage,
    usageSource: bill.usageSource,
    costNanoUsd: bill.costNanoUsd,
    costSource: bill.costSource,
    firstTokenMs,
    latencyMs,
    // Nobody has waited for an answer that another one may replace.
    elapsedMs: goesOn ? null : Math.round(performance.now() - plan.startedAt),
  });
  learn(parts.health, candidate, answer, bill.usage, plan.signal.aborted);
  return {
    report: {
      backend: candidate.backend,
      kind: candidate.kind,
      model: candidate.model,
      latencyMs,
      firstTokenMs,
      usage: bill.usage,
      usageSource: bill.usageSource,
      costNanoUsd: bill.costNanoUsd,
      costSource: bill.costSource,
      error,
      sent: true,
    },
    text: answer.text,
    body: answer.body,
    finishReason: answer.finishReason ?? 'error',
    settled,
  };
}

function notSent(candidate: Candidate, error: AppError): AttemptResult {
  const nothing = {
    usage: null,
    usageSource: null,
    costNanoUsd: 0,
    costSource: null,
    latencyMs: 0,
    firstTokenMs: null,
  };
  return {
    report: {
      backend: candidate.backend,
      kind: candidate.kind,
      model: candidate.model,
      ...nothing,
      error,
      sent: false,
    },
    text: '',
    body: null,
    finishReason: 'error',
    settled: Promise.resolve(),
  };
}

async function open({ ledger, health }: { ledger: Ledger; health: HealthBook }, plan: AttemptPlan) {
  const { candidate, request } = plan;
  try {
    return await ledger.openAttempt({
      requestId: request.id,
      principal: request.principal,
      operation: request.operation,
      ordinal: plan.ordinal,
      backend: candidate.backend,
      kind: candidate.kind,
      model: candidate.model,
      priority: request.priority,
      score: plan.score,
      predicted: plan.predicted,
      reserveNanoUsd: candidate.worstCostNanoUsd,
      price: candidate.price,
      deadlineMs: plan.leftMs,
    });
  } catch (error) {
    health.ended(candidate.backend);
    if (error instanceof AppError && error.code === 'budget_exhausted') return error;
    throw error;
  }
}

interface Listened extends Heard {
  body: Buffer | null;
  finishReason: string | null;
  firstTokenMs: number | null;
  latencyMs: number;
}

/** Makes the call and gathers what arrives. Never throws: what was received before a failure has to be paid for. */
async function listen(plan: AttemptPlan): Promise<Listened> {
  const { backend, candidate, request, signal, sink } = plan;
  const startedAt = performance.now();
  const heard: Listened = {
    text: '',
    otherText: '',
    body: null,
    finishReason: null,
    usage: null,
    costUsd: null,
    firstTokenMs: null,
    latencyMs: 0,
    error: null,
  };
  try {
    const call = {
      operation: request.operation,
      body: request.bodyFor(candidate, plan.begun),
      stream: request.stream,
      choices: request.choices,
    };
    await backend.send(call, { firstByteMs: plan.firstByteMs, wholeMs: plan.leftMs }, signal, (piece) => {
      heard.text += piece.text;
      if (piece.otherText !== '') heard.otherText += piece.otherText;
      // Of an answer that comes whole, nobody knows when its first token was there.
      if (heard.firstTokenMs === null && request.stream && hasSaid(heard))
        heard.firstTokenMs = Math.round(performance.now() - startedAt);
      heard.finishReason ??= piece.finishReason;
      if (piece.usage) {
        heard.usage = piece.usage.usage;
        heard.costUsd = piece.usage.costUsd;
      }
      if (!request.stream) heard.body = piece.bytes;
      return sink?.(piece);
    });
    heard.finishReason ??= 'stop';
  } catch (error) {
    const reason = signal.aborted ? abortReason(signal) : error;
    const late = reason instanceof AppError && reason.code === 'deadline_exceeded' && !signal.aborted;
    if (late && request.acceptsPart && heard.text !== '') heard.finishReason = 'deadline';
    else if (reason instanceof AppError) heard.error = reason;
    else heard.error = new AppError('upstream_unavailable', `Backend ${backend.id} failed.`, { cause: reason });
  }
  heard.latencyMs = Math.round(performance.now() - startedAt);
  return heard;
}

function isCancelled(error: AppError, signal: Cancellation): boolean {
  return error.code === 'cancelled' || (signal.aborted && error === abortReason(signal));
}

function learn(
  health: HealthBook,
  candidate: Candidate,
  heard: Listened,
  usage: Usage | null,
  isAborted: boolean,
): void {
  if (heard.error === null) {
    const seconds = (heard.latencyMs - (heard.firstTokenMs ?? 0)) / 1000;
    const measured =
      heard.firstTokenMs !== null && usage && usage.outputTokens > 1 && seconds > 0
        ? { firstTokenMs: heard.firstTokenMs, tokensPerSecond: usage.outputTokens / seconds }
        : null;
    health.succeeded(candidate.backend, candidateName(candidate), measured);
  } else if (!isAborted && blames(heard.error)) {
    health.failed(candidate.backend, heard.error);
  } else health.ended(candidate.backend);
}

/** Whether an error says something about the backend. The time that a caller gave does not. */
function blames(error: AppError): boolean {
  if (error.code === 'deadline_exceeded') return false;
  return error.isRetryable || error.code === 'unauthorized' || error.code === 'quota_exceeded';
}
