import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Principal, shadowPrincipalId } from '../principal.ts';
import type { NewComparison } from '../usage/comparisons.ts';
import type { Ledger } from '../usage/ledger.ts';
import { agreement } from './agreement.ts';
import { type AttemptReport, type AttemptResult, runAttempt } from './attempt.ts';
import { standing } from './complexity/suitability.ts';
import { hashShare } from './hash-share.ts';
import type { HealthBook } from './health.ts';
import type { Answer } from './router.ts';
import { type BackendSource, type Candidate, candidateName, type ModelRequest } from './types.ts';

export interface ShadowParts {
  /** Of the answers that could be compared, 0..1. 0: none. */
  share: number;
  /** For comparisons alone; the budgets for all hold besides. */
  budgetNanoUsdPerDay: number;
  backends: BackendSource;
  health: HealthBook;
  ledger: Ledger;
  /** The scorer in use (see `scorerId`). */
  scorer: string;
  record(comparison: NewComparison): Promise<void>;
  clock: Clock;
  log: Log;
  /** Told of every attempt that was sent, when it is over. */
  observe?: ((report: AttemptReport) => void) | undefined;
  /** Where a request falls between 0 and 1; those below `share` are compared. */
  placeOf?: (requestId: string) => number;
}

/** What a comparison needs of an answer. */
export type FinishedAnswer = Pick<Answer, 'requestId' | 'text' | 'finishReason' | 'decision' | 'attempts'>;

const mostAtOnce = 2;
const longestMs = 120_000;
/** With its budget used up nothing is asked for a while: what could change that is tomorrow, or a call that ends. */
const restMs = 5 * 60_000;

/**
 * Asks a stronger model what a small or medium one has just answered, for a share of the chats, with nobody waiting,
 * and writes down how much both agree. Its calls are attempts like others, in the name of `shadow`.
 */
export class ShadowRunner {
  readonly #parts: ShadowParts;
  readonly #principal: Principal;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #restsUntilMs = 0;

  constructor(parts: ShadowParts) {
    this.#parts = parts;
    this.#principal = {
      id: shadowPrincipalId,
      name: shadowPrincipalId,
      scopes: new Set(['infer']),
      budget: { limitNanoUsd: parts.budgetNanoUsdPerDay, per: 'day' },
      requestsPerMinute: null,
    };
  }

  /** Takes an answer that its caller has already. Returns at once and never throws; what does not fit is let go. */
  consider(request: ModelRequest, answer: FinishedAnswer): void {
    const { share, placeOf = hashShare, clock } = this.#parts;
    if (share === 0 || this.#closing.signal.aborted || placeOf(`shadow ${answer.requestId}`) >= share) return;
    if (!mayBeCompared(request, answer)) return;
    if (this.#running.size >= mostAtOnce || clock.nowMs() < this.#restsUntilMs) return;
    const pair = pairIn(answer);
    if (!pair) return;
    const running = this.#compare(request, answer, pair).catch((error: unknown) =>
      this.#parts.log.warn({ error, request: answer.requestId }, 'a comparison with a stronger model failed'),
    );
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  /** Ends what is under way and waits until its rows are closed. */
  async close(): Promise<void> {
    this.#closing.abort(new AppError('cancelled', 'Tandem is closing.'));
    await Promise.all(this.#running);
  }

  async #compare(request: ModelRequest, answer: FinishedAnswer, { cheap, strong }: Pair): Promise<void> {
    const { scorer, record, clock } = this.#parts;
    const { complexity } = answer.decision;
    const predicted = complexity.predicted ?? complexity.suffices;
    const result = await this.#ask(request, answer, strong);
    if (!result) return;
    await result.settled;
    const { error, costNanoUsd, sent } = result.report;
    if (sent) this.#parts.observe?.(result.report);
    // Own budget or all of it: every further call would be refused too, and each refusal looks for abandoned rows.
    if (error?.code === 'budget_exhausted') this.#restsUntilMs = clock.nowMs() + restMs;
    if (error || result.finishReason !== 'stop' || result.text === '') return;
    const { value, by } = agreement(answer.text, result.text);
    await record({
      request_id: answer.requestId,
      at_ms: clock.nowMs(),
      cheap_backend: cheap.backend,
      cheap_model: cheap.model,
      cheap_tier: cheap.tier,
      strong_backend: strong.backend,
      strong_model: strong.model,
      strong_tier: strong.tier,
      agreement: value,
      judged_by: by,
      cost_nano_usd: costNanoUsd,
      scorer,
      score: complexity.score,
      predicted,
    });
  }

  async #ask(request: ModelRequest, answer: FinishedAnswer, candidate: Candidate): Promise<AttemptResult | null> {
    const { backends } = this.#parts;
    const backend = backends.list().find(({ id }) => id === candidate.backend);
    if (!backend) return null;
    const { complexity, inputTokens } = answer.decision;
    return runAttempt(this.#parts, {
      backend,
      candidate,
      request: { ...request, principal: this.#principal, acceptsPart: false },
      // Behind all others of the request: it is not another request, and never its answer.
      ordinal: answer.attempts.length + 1,
      inputTokens,
      score: complexity.score,
      predicted: complexity.predicted ?? complexity.suffices,
      firstByteMs: longestMs,
      leftMs: longestMs,
      startedAt: performance.now(),
      signal: this.#closing.signal,
      begun: null,
      sink: undefined,
    });
  }
}

/**
 * Only whole plain answers of a model that the router picked itself from all backends, or all serverless ones. A
 * prompt that was meant for a named model or backend, or for dedicated ones, goes nowhere else.
 */
function mayBeCompared(request: ModelRequest, answer: FinishedAnswer): boolean {
  const { operation, model, backend, choices } = request;
  if (operation !== 'chat' || model !== undefined || choices !== 1) return false;
  if (backend !== 'auto' && backend !== 'serverless') return false;
  // Of an answer in several attempts, the text is only the last one's.
  return answer.attempts.length === 1 && answer.finishReason === 'stop' && answer.text !== '';
}

interface Pair {
  cheap: Candidate;
  strong: Candidate;
}

/** Who answered, and the strongest that could have: of those, the best ranked. Null: nobody is stronger. */
function pairIn({ decision, attempts }: FinishedAnswer): Pair | null {
  const [only] = attempts;
  const cheap = only && decision.candidates.find((candidate) => candidateName(candidate) === candidateName(only));
  if (!cheap) return null;
  const stronger = decision.candidates.filter(
    ({ verdict, tier, worstCostNanoUsd }) =>
      (verdict === 'chosen' || verdict === 'fallback') &&
      standing[tier] > standing[cheap.tier] &&
      // What nobody knows the price of fits no budget.
      worstCostNanoUsd !== null,
  );
  const [strong] = stronger.toSorted((one, other) => standing[other.tier] - standing[one.tier]);
  return strong ? { cheap, strong } : null;
}
