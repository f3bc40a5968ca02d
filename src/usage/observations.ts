import { shadowPrincipalId } from '../principal.ts';
import { type Queries, select } from './database.ts';
import type { ModelTier } from './tables.ts';

/** The chances that a small, and that a large model would do, 0..1, as the scorer saw them before any calibration. */
export interface Predicted {
  small: number;
  large: number;
}

/** What became known of one answer, beside what was predicted for its prompt. */
export interface Observation {
  requestId: string;
  /** Of the model that answered. */
  tier: ModelTier;
  predicted: Predicted;
  /** `rating`: somebody said so. Otherwise by what the answer was compared with a stronger model's. */
  by: string;
  /** The rating or the agreement, 0..1. */
  value: number;
}

/** A recent request, as the scorer saw it and as it was answered. */
export interface Prediction {
  requestId: string;
  score: number;
  /** Before any calibration. */
  suffices: Predicted;
  /** Null: nobody knows. */
  inputTokens: number | null;
  outputTokens: number | null;
  backend: string;
  kind: 'serverless' | 'dedicated';
  model: string;
}

interface PredictedRow {
  requestId: string;
  small: number;
  large: number;
}

const ratingsSince = `
SELECT request_id AS "requestId", tier, suffices_small AS small, suffices_large AS large, 'rating' AS "by", rating AS value
FROM rating
WHERE at_ms >= ? AND scorer = ? AND tier IS NOT NULL AND suffices_small IS NOT NULL AND suffices_large IS NOT NULL
  AND NOT EXISTS (
    SELECT 1 FROM rating AS later
    WHERE later.request_id = rating.request_id AND later.principal_id = rating.principal_id AND later.id > rating.id
  )
ORDER BY id`;

const comparisonsSince = `
SELECT request_id AS "requestId", cheap_tier AS tier, suffices_small AS small, suffices_large AS large,
  judged_by AS "by", agreement AS value
FROM comparison WHERE at_ms >= ? AND scorer = ? ORDER BY id`;

/** Everything that a scorer can be held to since a moment: ratings that still stand, then comparisons. */
export async function observationsSince(queries: Queries, sinceMs: number, scorer: string): Promise<Observation[]> {
  type Row = PredictedRow & Omit<Observation, 'predicted'>;
  const rated = await select<Row>(queries, ratingsSince, [sinceMs, scorer]);
  const compared = await select<Row>(queries, comparisonsSince, [sinceMs, scorer]);
  return [...rated, ...compared].map(({ small, large, ...row }) => ({ ...row, predicted: predictedOf(small, large) }));
}

/** So many rows at the end of the ledger are looked through: it may be large, and hold nothing but embeddings. */
const searchedRows = 50_000;

const recentAnswers = `
SELECT request_id AS "requestId", score, suffices_small AS small, suffices_large AS large, input_tokens AS "inputTokens",
  output_tokens AS "outputTokens", backend, kind, model
FROM attempt
WHERE sequence > (SELECT coalesce(max(sequence), 0) FROM attempt) - ${searchedRows}
  AND operation = 'chat' AND status = 'ok' AND score IS NOT NULL AND suffices_small IS NOT NULL
  AND suffices_large IS NOT NULL AND principal_id != ?
ORDER BY sequence DESC LIMIT ?`;

/** The latest chats that were answered, newest first, each with the attempt that gave the answer; at most `limit`. */
export async function recentPredictions(queries: Queries, limit = 2_000): Promise<Prediction[]> {
  type Row = PredictedRow & Omit<Prediction, 'suffices'>;
  const rows = await select<Row>(queries, recentAnswers, [shadowPrincipalId, limit]);
  const seen = new Set<string>();
  // A request that was answered cheaply and then again has two rows; the later one is what its caller got.
  return rows.flatMap(({ small, large, ...row }) => {
    if (seen.has(row.requestId)) return [];
    seen.add(row.requestId);
    return [{ ...row, suffices: predictedOf(small, large) }];
  });
}

function predictedOf(small: number, large: number): Predicted {
  return { small: small / 1_000, large: large / 1_000 };
}
