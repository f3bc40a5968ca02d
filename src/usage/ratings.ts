import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import { localPrincipal, type Principal, shadowPrincipalId } from '../principal.ts';
import { type Database, type Queries, select } from './database.ts';
import type { AttemptTable, ModelTier } from './tables.ts';

/** What people and agents say of an answer. */
export type GivenRating = 'up' | 'down' | 1 | 2 | 3 | 4 | 5;

export interface NewRating {
  principal: Pick<Principal, 'id'>;
  requestId: string;
  given: GivenRating;
  comment: string | undefined;
}

export interface RecordedRating {
  requestId: string;
  /** 0 (useless) to 1 (good). */
  rating: number;
  backend: string;
  model: string;
  tier: ModelTier | null;
  /** Whether it takes the place of an earlier one. */
  isReplacement: boolean;
  /** Requests rated since the last calibration, this one included. */
  sinceCalibration: number;
}

export interface RatingParts {
  database: Database;
  clock: Clock;
  /** The scorer in use (see `scorerId`). */
  scorer: string;
  /** Null for a model that is no longer there. */
  tierOf(backend: string, model: string): ModelTier | null;
  /** Takes secrets out of a comment. */
  hide(text: string): string;
}

type FoundAttempt = Pick<
  AttemptTable,
  | 'principal_id'
  | 'operation'
  | 'backend'
  | 'model'
  | 'status'
  | 'finish_reason'
  | 'score'
  | 'suffices_small'
  | 'suffices_large'
>;

/** By the ids of its rows, which are `REQUEST.ORDINAL`: these have an index, and `/` follows `.`. */
const attemptsOfRequest = `
SELECT principal_id, operation, backend, model, status, finish_reason, score, suffices_small, suffices_large
FROM attempt WHERE id >= ? || '.' AND id < ? || '/' AND request_id = ? ORDER BY ordinal`;

const countSinceCalibration = `
SELECT count(*) AS ratings FROM (
  SELECT DISTINCT request_id, principal_id FROM rating
  WHERE id > coalesce((SELECT last_rating_id FROM calibration ORDER BY version DESC LIMIT 1), 0)
)`;

/** What was said of answers. Rows are added and never changed: the last one of a principal for a request counts. */
export class Ratings {
  readonly #parts: RatingParts;

  constructor(parts: RatingParts) {
    this.#parts = parts;
  }

  /**
   * Records what a principal says of an answer that it got; the owner may speak for all. Throws `not_found` for a
   * request that is not there or somebody else's, `conflict` for one under way, `invalid_input` for one without an
   * answer that can be good or bad.
   */
  record({ principal, requestId, given, comment }: NewRating): Promise<RecordedRating> {
    const { database, clock, scorer, tierOf, hide } = this.#parts;
    return database.write(async (queries) => {
      const answer = await answerTo(queries, requestId, principal);
      const earlier = await queries
        .selectFrom('rating')
        .select(['id', 'given', 'comment'])
        .where('request_id', '=', requestId)
        .where('principal_id', '=', principal.id)
        .orderBy('id', 'desc')
        .limit(1)
        .executeTakeFirst();
      const tier = tierOf(answer.backend, answer.model);
      const row = {
        request_id: requestId,
        principal_id: principal.id,
        at_ms: clock.nowMs(),
        given: String(given),
        rating: toShare(given),
        comment: comment === undefined ? null : hide(comment),
        scorer,
        backend: answer.backend,
        model: answer.model,
        tier,
        score: answer.score,
        suffices_small: answer.suffices_small,
        suffices_large: answer.suffices_large,
      };
      // A call that is repeated says nothing new.
      const isSame = earlier?.given === row.given && earlier.comment === row.comment;
      if (!isSame) await queries.insertInto('rating').values(row).execute();
      const [count] = await select<{ ratings: number }>(queries, countSinceCalibration);
      return {
        requestId,
        rating: row.rating,
        backend: row.backend,
        model: row.model,
        tier,
        isReplacement: earlier !== undefined,
        sinceCalibration: count?.ratings ?? 0,
      };
    });
  }
}

function toShare(given: GivenRating): number {
  if (given === 'up') return 1;
  return given === 'down' ? 0 : (given - 1) / 4;
}

/** The attempt that gave the answer. Others' requests are not told from those that never were. */
async function answerTo(queries: Queries, requestId: string, { id }: NewRating['principal']): Promise<FoundAttempt> {
  const found = await select<FoundAttempt>(queries, attemptsOfRequest, [requestId, requestId, requestId]);
  const asked = found.filter(({ principal_id: asker }) => asker !== shadowPrincipalId);
  const own = asked.filter(({ principal_id: asker }) => asker === id || id === localPrincipal.id);
  const last = own.at(-1);
  if (!last) {
    throw new AppError('not_found', `No request "${requestId}" of yours is known here. Nothing was recorded.`, {
      next: 'An id looks like 019ab1c2-3d4e-7000-8f00-0123456789ab: complete gives it as request_id, the gateway in the header x-request-id.',
    });
  }
  if (last.operation === 'embeddings')
    throw new AppError('invalid_input', `Request ${requestId} asked for embeddings, which are not rated.`);
  // Of two answers the second was given, unless it was not whole.
  const answers = own.filter(({ status }) => status === 'ok');
  const answered = answers.findLast(({ finish_reason: reason }) => reason === 'stop') ?? answers.at(-1);
  if (answered) return answered;
  if (last.status === 'open') {
    throw new AppError('conflict', `Request ${requestId} is still under way. Nothing was recorded.`, {
      next: 'Rate it when its answer is there.',
    });
  }
  throw new AppError('invalid_input', `Request ${requestId} has no answer to rate: it was ${endOf(last.status)}.`, {
    next: 'Rate requests that were answered.',
  });
}

function endOf(status: FoundAttempt['status']): string {
  return status === 'error' ? 'refused or failed' : status;
}
