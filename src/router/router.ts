import { setTimeout as delay } from 'node:timers/promises';
import { reservedBackendIds } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import type { Ledger } from '../usage/ledger.ts';
import type { Reports } from '../usage/report.ts';
import { newRequestId } from '../usage/request-id.ts';
import { type AttemptReport, runAttempt } from './attempt.ts';
import { wouldChange } from './explain.ts';
import type { HealthBook } from './health.ts';
import { matchesBackend, route, type Sized } from './route.ts';
import { estimatePromptTokens } from './tokens.ts';
import {
  type Backend,
  type BackendSource,
  type Candidate,
  type ChatRequest,
  candidateName,
  type Decision,
  type Scorer,
  type Snapshot,
} from './types.ts';

/** A call that cannot be answered within this is given up: MCP clients hang up after some 60 s. */
const longestCallMs = 43_000;
/** With other candidates left, one may use at most this share of the time that remains. */
const shareWhileOthersWait = 0.5;
/** When all were rate limited: the longest Retry-After that is waited for, once. */
const longestRateLimitWaitMs = 15_000;
const rateLimitWaitMs = 1_000;
/** How long a decision waits for lists of models at first use. */
const refreshWaitMs = 3_000;

export interface Answer {
  requestId: string;
  text: string;
  finishReason: string;
  decision: Decision;
  /** Every upstream call, in order; the last one gave the answer. */
  attempts: AttemptReport[];
  latencyMs: number;
}

export interface Explanation {
  decision: Decision;
  wouldChange: string[];
}

export interface RouterParts {
  backends: BackendSource;
  scorer: Scorer;
  health: HealthBook;
  ledger: Ledger;
  reports: Reports;
}

/** Runs prompts: decides, tries, falls back, and leaves a row for every attempt. */
export class Router {
  readonly #parts: RouterParts;

  constructor(parts: RouterParts) {
    this.#parts = parts;
  }

  /** The decision that `run` would take now. Calls no model and writes nothing. */
  async explain(request: ChatRequest, signal: AbortSignal): Promise<Explanation> {
    const { sized, snapshot } = await this.#prepare(request, signal);
    const decision = route(sized, snapshot);
    return { decision, wouldChange: wouldChange(sized, snapshot, decision) };
  }

  /**
   * Answers, from the best candidate that can. Throws `no_candidate`, `context_too_long` or `budget_exhausted`
   * before anything is sent, `all_attempts_failed` after everything was tried, `cancelled` when aborted.
   */
  async run(request: ChatRequest, signal: AbortSignal): Promise<Answer> {
    const startedAt = performance.now();
    const { sized, snapshot } = await this.#prepare(request, signal);
    const decision = route(sized, snapshot);
    const requestId = newRequestId();
    const attempts: AttemptReport[] = [];
    let waiting = requireCandidates(decision, snapshot);
    for (let waited = false; ; waited = true) {
      const limited: Candidate[] = [];
      while (waiting.length > 0) {
        const [candidate, ...others] = waiting as [Candidate, ...Candidate[]];
        const leftMs = longestCallMs - (performance.now() - startedAt);
        if (leftMs <= 0) throw failure(attempts);
        const result = await runAttempt(this.#parts, {
          backend: this.#backend(candidate.backend),
          candidate,
          request,
          requestId,
          ordinal: attempts.filter(wasSent).length + 1,
          inputTokens: sized.inputTokens,
          score: sized.complexity.score,
          firstByteMs: others.length > 0 ? leftMs * shareWhileOthersWait : leftMs,
          leftMs,
          startedAt,
          signal,
        });
        attempts.push(result.report);
        const { error } = result.report;
        if (!error) {
          return {
            requestId,
            text: result.text,
            finishReason: result.finishReason,
            decision,
            attempts,
            latencyMs: Math.round(performance.now() - startedAt),
          };
        }
        if (endsRequest(error)) throw error;
        if (error.code === 'rate_limited') limited.push(candidate);
        waiting = afterFailure(error, candidate, others, snapshot);
      }
      const waitMs = retryWaitMs(attempts, limited);
      if (waited || limited.length === 0 || performance.now() - startedAt + waitMs > longestCallMs)
        throw failure(attempts);
      await pause(waitMs, signal);
      waiting = limited;
    }
  }

  /** Checks names, brings lists of models up to date, measures the prompt, and takes the snapshot. */
  async #prepare(request: ChatRequest, signal: AbortSignal): Promise<{ sized: Sized; snapshot: Snapshot }> {
    const backends = this.#parts.backends.list();
    if (backends.length === 0) throw nothingConfigured();
    requireBackend(backends, request.backend);
    await this.#refresh(
      backends.filter((backend) => matchesBackend(backend, request.backend)),
      signal,
    );
    requireModel(backends, request);
    const { day, month } = await this.#parts.reports.budget();
    return {
      sized: {
        request,
        complexity: this.#parts.scorer(request.messages),
        inputTokens: estimatePromptTokens(request.messages),
      },
      snapshot: {
        backends: backends.map((backend) => ({
          id: backend.id,
          kind: backend.kind,
          unusable: backend.unusable,
          health: this.#parts.health.of(backend.id),
          models: backend.models(),
        })),
        speeds: this.#parts.health.speeds(),
        budgetLeftNanoUsd: Math.min(day.leftNanoUsd, month.leftNanoUsd),
      },
    };
  }

  async #refresh(backends: readonly Backend[], signal: AbortSignal): Promise<void> {
    const all = Promise.all(backends.map((backend) => backend.refresh(signal)));
    const enough = new AbortController();
    await Promise.race([all, pause(refreshWaitMs, AbortSignal.any([signal, enough.signal])).catch(() => undefined)]);
    enough.abort();
    signal.throwIfAborted();
  }

  #backend(id: string): Backend {
    const backend = this.#parts.backends.list().find((known) => known.id === id);
    if (!backend) throw new AppError('unknown_backend', `Backend ${id} is no longer there.`);
    return backend;
  }
}

function requireBackend(backends: readonly Backend[], wanted: string): void {
  if (backends.some((backend) => matchesBackend(backend, wanted))) return;
  const ids = backends.map((backend) => backend.id);
  const known = reservedBackendIds.includes(wanted);
  throw new AppError(
    known ? 'not_configured' : 'unknown_backend',
    known ? `No ${wanted} backend is configured.` : `There is no backend "${wanted}".`,
    {
      next: `Valid: ${[...reservedBackendIds, ...ids].join(', ')}.`,
    },
  );
}

const listedModels = 20;

function requireModel(backends: readonly Backend[], { model, backend: wanted }: ChatRequest): void {
  if (model === undefined) return;
  const offers = backends
    .filter((backend) => matchesBackend(backend, wanted))
    .flatMap((backend) =>
      backend.models().map((offer) => ({ backend: backend.id, model: offer.id, auto: offer.auto })),
    );
  if (offers.some((offer) => offer.model === model || candidateName(offer) === model)) return;
  const names = offers.toSorted((one, other) => Number(other.auto) - Number(one.auto)).map(candidateName);
  const more = names.length > listedModels ? ` and ${names.length - listedModels} more` : '';
  throw new AppError(
    'unknown_model',
    `No backend${wanted === 'auto' ? '' : ` under "${wanted}"`} offers the model "${model}".`,
    {
      next:
        names.length > 0
          ? `Valid: ${names.slice(0, listedModels).join(', ')}${more}.`
          : 'No models are known; name them in tandem.yaml.',
    },
  );
}

/** The candidates to try, in order; or the error that says why there are none. */
function requireCandidates(decision: Decision, snapshot: Snapshot): Candidate[] {
  const usable = decision.candidates.filter((candidate) => candidate.verdict !== 'excluded');
  if (usable.length > 0) return usable;
  const asked = decision.candidates.filter((candidate) => candidate.constraint !== 'backend');
  const reasons = asked.map((candidate) => `${candidateName(candidate)}: ${candidate.reason}`).join('; ');
  const only = (constraint: Candidate['constraint']) =>
    asked.length > 0 && asked.every((candidate) => candidate.constraint === constraint);
  if (only('context_window')) {
    throw new AppError('context_too_long', `The prompt fits into no context window. ${reasons}.`, {
      next: 'Shorten the prompt, lower max_tokens, or configure a model with a larger window.',
    });
  }
  // The ledger has the last word on money: it refuses with what is left and when it resets, before anything is sent.
  if (only('budget')) return asked;
  const unusable = snapshot.backends.flatMap((backend) =>
    backend.unusable ? [`${backend.id}: ${backend.unusable}`] : [],
  );
  throw new AppError('no_candidate', `No model can take this request. ${reasons || unusable.join('; ')}.`, {
    next: '`tandem doctor` checks the configuration.',
  });
}

function nothingConfigured(): AppError {
  return new AppError('not_configured', 'No model backend is configured.', {
    next: 'Set a provider key (for example DEEPINFRA_API_KEY), or name backends in tandem.yaml; `tandem --sandbox` works without any.',
  });
}

/** The budget refuses before a row is written, and before anything is sent. */
function wasSent({ error }: AttemptReport): boolean {
  return error?.code !== 'budget_exhausted';
}

/** Trying elsewhere cannot help, or must not happen. */
function endsRequest(error: AppError): boolean {
  return error.code === 'cancelled' || error.code === 'deadline_exceeded' || error.code === 'content_filtered';
}

/** Who is left to try: what failed for a whole backend will hardly work for its other models. */
function afterFailure(error: AppError, failed: Candidate, others: Candidate[], snapshot: Snapshot): Candidate[] {
  if (error.code === 'context_too_long') return others.filter((other) => isRoomier(other, failed, snapshot));
  const elsewhere = others.filter((other) => other.backend !== failed.backend);
  if (error.code === 'unauthorized' || error.code === 'quota_exceeded') return elsewhere;
  if (!error.isRetryable) return others;
  return [...elsewhere, ...others.filter((other) => other.backend === failed.backend)];
}

function isRoomier(other: Candidate, failed: Candidate, snapshot: Snapshot): boolean {
  const windowOf = (candidate: Candidate) =>
    snapshot.backends.find(({ id }) => id === candidate.backend)?.models.find(({ id }) => id === candidate.model)
      ?.contextWindowTokens ?? Number.POSITIVE_INFINITY;
  return windowOf(other) > windowOf(failed);
}

function retryWaitMs(attempts: AttemptReport[], limited: Candidate[]): number {
  const waits = attempts
    .filter((attempt) => limited.some((candidate) => candidateName(candidate) === candidateName(attempt)))
    .map((attempt) => attempt.error?.retryAfterMs ?? rateLimitWaitMs);
  const shortest = Math.min(...waits);
  return shortest <= longestRateLimitWaitMs ? shortest : Number.POSITIVE_INFINITY;
}

/** One attempt: its own error. Several: one error that names each. */
function failure(attempts: AttemptReport[]): AppError {
  const [first, ...more] = attempts;
  if (!first)
    return new AppError('deadline_exceeded', 'The time for this call was over before a model could be asked.');
  if (more.length === 0 && first.error) return first.error;
  if (!attempts.some(wasSent) && first.error) return first.error;
  const each = attempts
    .map((attempt) => `${candidateName(attempt)}: ${attempt.error?.message ?? 'failed'}`)
    .join('\n- ');
  const waits = attempts.flatMap((attempt) => attempt.error?.retryAfterMs ?? []);
  return new AppError('all_attempts_failed', `Every backend failed.\n- ${each}\n`, {
    next:
      waits.length > 0
        ? `Try again in ${Math.max(1, Math.ceil(Math.min(...waits) / 1000))} s.`
        : 'Try again in a moment; `tandem doctor` checks keys and reachability.',
  });
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}
