import { localPrincipal, type Principal } from '../principal.ts';
import { type Queries, type SqlValue, select } from './database.ts';
import { owner } from './owner.ts';
import type { Price, Usage } from './prices.ts';
import type { AttemptStatus, AttemptTable, CostSource, Operation } from './tables.ts';

/** What is known before the call. */
export interface NewAttempt {
  requestId: string;
  ordinal: number;
  /** Who asks; the person at the keyboard when nothing is said. */
  principal?: Principal;
  operation?: Operation;
  backend: string;
  kind: 'serverless' | 'dedicated';
  model: string;
  priority: string;
  score: number | null;
  /** The chances that a small, and that a large model would do, before any calibration. */
  predicted?: { small: number; large: number } | undefined;
  /** The most the call can cost; null when the model's price is unknown. */
  reserveNanoUsd: number | null;
  price: Price | null;
  /** From now on, how long the call can take at most. */
  deadlineMs: number;
}

/** What is known after it. */
export interface AttemptOutcome {
  status: Exclude<AttemptStatus, 'open'>;
  errorCode?: string | undefined;
  httpStatus?: number | undefined;
  finishReason?: string | null;
  usage: Usage | null;
  usageSource: AttemptTable['usage_source'];
  costNanoUsd: number | null;
  costSource: CostSource | null;
  firstTokenMs: number | null;
  latencyMs: number;
  /** Null: another model is asked after this answer. */
  elapsedMs: number | null;
}

/** What settling needs to know of a row. */
export interface OpenRow {
  /** Whose budget it is booked on besides; null: nobody's own. */
  budgetOf: string | null;
  day: string;
  reservedNanoUsd: number;
}

/** Texts and not builders: they are run thousands of times a second, and building costs more than running. */
export const insertAttempt = `
INSERT INTO attempt (
  id, request_id, ordinal, principal_id, operation, day, backend, kind, model, priority, score, owner, started_at_ms,
  deadline_at_ms, status, input_price_nano_usd, output_price_nano_usd, price_as_of, reserved_nano_usd, suffices_small,
  suffices_large
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?)`;

export const updateAttempt = `
UPDATE attempt SET
  status = ?, ended_at_ms = ?, error_code = ?, http_status = ?, finish_reason = ?, input_tokens = ?,
  cached_input_tokens = ?, output_tokens = ?, reasoning_tokens = ?, usage_source = ?, cost_nano_usd = ?,
  cost_source = ?, first_token_ms = ?, latency_ms = ?, elapsed_ms = ?
WHERE id = ? AND status = ?`;

const selectAttempt = 'SELECT sequence, principal_id, day, status, reserved_nano_usd FROM attempt WHERE id = ?';

export function attemptId({ requestId, ordinal }: NewAttempt): string {
  return `${requestId}.${ordinal}`;
}

export function insertValues(attempt: NewAttempt, row: OpenRow, nowMs: number): SqlValue[] {
  return [
    attemptId(attempt),
    attempt.requestId,
    attempt.ordinal,
    (attempt.principal ?? localPrincipal).id,
    attempt.operation ?? 'chat',
    row.day,
    attempt.backend,
    attempt.kind,
    attempt.model,
    attempt.priority,
    attempt.score,
    owner,
    nowMs,
    nowMs + Math.ceil(attempt.deadlineMs),
    attempt.price?.inputNanoUsdPerMTok ?? null,
    attempt.price?.outputNanoUsdPerMTok ?? null,
    attempt.price?.asOf ?? null,
    row.reservedNanoUsd,
    attempt.predicted ? toThousandths(attempt.predicted.small) : null,
    attempt.predicted ? toThousandths(attempt.predicted.large) : null,
  ];
}

/** `was`: the status that the row has; one with another is left alone. */
export function updateValues(id: string, outcome: AttemptOutcome, endedAtMs: number, was: AttemptStatus): SqlValue[] {
  const { usage } = outcome;
  return [
    outcome.status,
    endedAtMs,
    outcome.errorCode ?? null,
    outcome.httpStatus ?? null,
    outcome.finishReason ?? null,
    usage?.inputTokens ?? null,
    usage?.cachedInputTokens ?? null,
    usage?.outputTokens ?? null,
    usage?.reasoningTokens ?? null,
    outcome.usageSource,
    outcome.costNanoUsd,
    outcome.costSource,
    outcome.firstTokenMs,
    outcome.latencyMs,
    outcome.elapsedMs,
    id,
    was,
  ];
}

/** Whole numbers are a quarter of the size of others in a row, and no prediction is more exact. */
export function toThousandths(chance: number): number {
  return Math.round(1_000 * chance);
}

type FoundRow = Pick<AttemptTable, 'sequence' | 'principal_id' | 'day' | 'status' | 'reserved_nano_usd'>;

export async function findAttempt(queries: Queries, id: string): Promise<FoundRow | undefined> {
  return (await select<FoundRow>(queries, selectAttempt, [id]))[0];
}
