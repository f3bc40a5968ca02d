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
  /** Who rated; null for a comparison. */
  principalId: string | null;
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

const ratingsSince = `
SELECT request_id AS "requestId", tier, suffices_small AS small, suffices_large AS large, 'rating' AS "by",
  rating AS value, principal_id AS "principalId", scorer
FROM rating
WHERE at_ms >= ? AND NOT EXISTS (
  SELECT 1 FROM rating AS later
  WHERE later.request_id = rating.request_id AND later.principal_id = rating.principal_id AND later.id > rating.id
)
ORDER BY id`;

const comparisonsSince = `
SELECT request_id AS "requestId", cheap_tier AS tier, suffices_small AS small, suffices_large AS large,
  judged_by AS "by", agreement AS value, NULL AS "principalId", scorer
FROM comparison WHERE at_ms >= ? ORDER BY id`;

/** Everything that a scorer can be held to. */
export interface Observations {
  /** Ratings that still stand, then comparisons. */
  usable: Observation[];
  /** Made under another scorer, of a model that nobody knows, or with nothing predicted. */
  leftOut: number;
}

interface ObservedRow extends Omit<Observation, 'predicted' | 'tier'> {
  tier: ModelTier | null;
  small: number | null;
  large: number | null;
  scorer: string;
}

/** What was said of answers since a moment, as far as it says something about this scorer. */
export async function observationsSince(queries: Queries, sinceMs: number, scorer: string): Promise<Observations> {
  const rated = await select<ObservedRow>(queries, ratingsSince, [sinceMs]);
  const compared = await select<ObservedRow>(queries, comparisonsSince, [sinceMs]);
  const all = [...rated, ...compared];
  const usable = all.flatMap(({ tier, small, large, scorer: of, ...row }) =>
    of === scorer && tier !== null && small !== null && large !== null
      ? [{ ...row, tier, predicted: predictedOf(small, large) }]
      : [],
  );
  return { usable, leftOut: all.length - usable.length };
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
  type Row = Omit<Prediction, 'suffices'> & Predicted;
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
