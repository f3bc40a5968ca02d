import { setTimeout as delay } from 'node:timers/promises';
import { type Cancellation, pause, throwIfCancelled } from '../cancellation.ts';
import { type Privacy, reservedBackendIds, type StreamLoss } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import type { Ledger } from '../usage/ledger.ts';
import { type AttemptPlan, type AttemptReport, runAttempt } from './attempt.ts';
import { planCascade } from './cascade.ts';
import { matchesBackend, mayHavePrompts, requireCandidates } from './constraints.ts';
import { Delivery, type Receiver } from './delivery.ts';
import { type CascadeOutcome, Escalation, kindAsked, mayCascade } from './escalation.ts';
import { wouldChange } from './explain.ts';
import { endsRequest, failure } from './failure.ts';
import type { HealthBook } from './health.ts';
import { Itinerary } from './itinerary.ts';
import { standIn } from './pending.ts';
import { isNamed, route, type Sized } from './route.ts';
import type { ShadowRunner } from './shadow.ts';
import { estimatePromptTokens } from './tokens.ts';
import {
  type Backend,
  type BackendSource,
  type Candidate,
  candidateName,
  type Decision,
  type ModelRequest,
  type Scorer,
  type Snapshot,
} from './types.ts';
import type { Workload } from './workload.ts';

/** With other candidates left, one may use at most this share of the time that remains. */
const shareWhileOthersWait = 0.5;
/** How long a decision waits for lists of models at first use. */
const refreshWaitMs = 3_000;

export interface Answer {
  requestId: string;
  text: string;
  /** The bytes of the answer, when no stream was asked for. */
  body: Buffer | null;
  finishReason: string;
  decision: Decision;
  /** Every upstream call, in order. */
  attempts: AttemptReport[];
  /** The one of them that gave the answer. */
  answeredBy: AttemptReport;
  /** What the check of the first answer led to; null: none was checked. */
  cascade: CascadeOutcome | null;
  latencyMs: number;
  /** When the rows of all attempts are closed. */
  settled: Promise<unknown>;
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
  fallbacks: Snapshot['fallbacks'];
  privacy: Privacy;
  onStreamLoss: StreamLoss;
  /** What the requests of late say about how to reach a quality or a share. */
  workload?: Pick<Workload, 'goals'> | undefined;
  /** Answers of small and medium models are checked, and stronger models asked where that pays. */
  cascade?: boolean | undefined;
  /** Gets every answer that a caller has. */
  shadow?: Pick<ShadowRunner, 'consider'> | undefined;
  /** Told of every attempt that was sent, when it is over. */
  observe?: ((report: AttemptReport) => void) | undefined;
}

/** Runs prompts: decides, tries, falls back, and leaves a row for every attempt. */
export class Router {
  readonly #parts: RouterParts;

  constructor(parts: RouterParts) {
    this.#parts = parts;
  }

  /** The decision that `run` would take now. Calls no model and writes nothing. */
  async explain(asked: ModelRequest, signal: Cancellation): Promise<Explanation> {
    const request = this.#standIn(asked);
    const { sized, snapshot } = await this.#prepare(request, signal);
    const decide = this.#decider(request, undefined);
    const decision = this.#withPending(decide(sized, snapshot));
    return { decision, wouldChange: wouldChange(sized, snapshot, decision, decide) };
  }

  /** `route()`, with a plan for the cascade where there may be one: what a receiver has already stays as it is. */
  #decider(request: ModelRequest, receiver: Receiver | undefined): typeof route {
    if (!this.#parts.cascade || receiver || !mayCascade(request)) return route;
    const kind = kindAsked(request);
    return (sized, snapshot) => planCascade(route(sized, snapshot), kind);
  }

  /**
   * Answers, from the best candidate that can. Throws `no_candidate`, `context_too_long` or `budget_exhausted`
   * before anything is sent, `all_attempts_failed` after everything was tried, `cancelled` when aborted. With a
   * receiver, the pieces of the answer go there as they come; an error then may follow the first of them.
   */
  async run(request: ModelRequest, signal: Cancellation, receiver?: Receiver): Promise<Answer> {
    const settled: Promise<void>[] = [];
    try {
      return await this.#run(request, signal, receiver, settled);
    } catch (error) {
      // Whoever is told of a failure finds it in the ledger.
      await Promise.all(settled);
      throw error;
    }
  }

  async #run(
    asked: ModelRequest,
    signal: Cancellation,
    receiver: Receiver | undefined,
    settled: Promise<void>[],
  ): Promise<Answer> {
    const startedAt = performance.now();
    const request = this.#standIn(asked);
    const { sized, snapshot, backends } = await this.#prepare(request, signal);
    // One that leaves meanwhile still finishes what it was asked.
    const backendOf = (id: string) => requireKnown(backends, id);
    const decide = this.#decider(request, receiver);
    const decision = this.#withPending(decide(sized, snapshot));
    const itinerary = new Itinerary(
      requireCandidates(decision, snapshot, request),
      snapshot,
      (backend) => backendOf(backend).maxRetries,
    );
    const delivery = receiver && new Delivery(request, decision, receiver);
    const attempts: AttemptReport[] = [];
    const timeLeft = () => request.timeLimitMs - (performance.now() - startedAt);
    const escalation = decide === route ? null : new Escalation(request, decision, attempts, timeLeft);
    const ask = async (
      candidate: Candidate,
      about: Pick<AttemptPlan, 'firstByteMs' | 'leftMs'> & Partial<AttemptPlan>,
    ) => {
      const result = await runAttempt(this.#parts, {
        backend: backendOf(candidate.backend),
        candidate,
        request,
        ordinal: attempts.filter(({ sent }) => sent).length + 1,
        inputTokens: sized.inputTokens,
        score: sized.complexity.score,
        predicted: sized.complexity.predicted ?? sized.complexity.suffices,
        startedAt,
        signal,
        begun: null,
        sink: undefined,
        ...about,
      });
      attempts.push(result.report);
      settled.push(result.settled);
      if (result.report.sent) this.#parts.observe?.(result.report);
      return result;
    };
    for (let leg = itinerary.next(); leg; leg = itinerary.next()) {
      const { candidate } = leg;
      const leftMs = timeLeft() - leg.waitMs;
      if (leftMs <= 0) break;
      if (leg.waitMs > 0) await pause(leg.waitMs, signal);
      const begun = delivery?.begunFor(backendOf(candidate.backend).prefill) ?? null;
      const first = await ask(candidate, {
        firstByteMs: leg.hasOthers ? leftMs * shareWhileOthersWait : leftMs,
        leftMs,
        begun,
        sink: delivery?.sinkFor(candidate, begun),
        goesOn: escalation ? (heard) => escalation.check(candidate, heard) : undefined,
      });
      const { error } = first.report;
      if (!error) {
        const second = await escalation?.askNext(signal, (next, leftMs) => ask(next, { firstByteMs: leftMs, leftMs }));
        const { report, ...given } = second ?? first;
        const answer: Answer = {
          requestId: request.id,
          text: given.text,
          body: given.body,
          finishReason: given.finishReason,
          decision,
          attempts,
          answeredBy: report,
          cascade: escalation?.outcome ?? null,
          latencyMs: Math.round(performance.now() - startedAt),
          settled: Promise.all(settled),
        };
        this.#parts.shadow?.consider(request, answer);
        return answer;
      }
      if (signal.aborted || endsRequest(error)) throw error;
      itinerary.failed(candidate, error, first.report.sent);
      if (!delivery?.started) continue;
      if (this.#parts.onStreamLoss === 'error' || !delivery.isResumable) throw error;
      itinerary.prefer((other) => backendOf(other.backend).prefill !== null);
    }
    throw failure(attempts);
  }

  #standIn(request: ModelRequest): ModelRequest {
    const pending = this.#parts.backends.pending?.() ?? [];
    return pending.length === 0 ? request : standIn(request, this.#parts.backends.list(), pending, this.#parts.privacy);
  }

  /** Says what is on its way, where a serverless backend answers meanwhile. */
  #withPending(decision: Decision): Decision {
    const pending = this.#parts.backends.pending?.() ?? [];
    return pending.length === 0 || decision.candidates[0]?.kind !== 'serverless' ? decision : { ...decision, pending };
  }

  /** Checks names, brings lists of models up to date, measures the prompt, and takes the snapshot. */
  async #prepare(
    request: ModelRequest,
    signal: Cancellation,
  ): Promise<{ sized: Sized; snapshot: Snapshot; backends: readonly Backend[] }> {
    const backends = this.#parts.backends.list();
    if (backends.length === 0) throw nothingConfigured();
    requireBackend(backends, request.backend);
    const due = backends
      .filter((backend) => matchesBackend(backend, request.backend) && mayHavePrompts(backend, this.#parts.privacy))
      .flatMap((backend) => backend.refresh() ?? []);
    if (due.length > 0) await waitFor(due, signal);
    requireModel(backends, request);
    const left = this.#parts.ledger.leftNanoUsd();
    const sized = {
      request,
      complexity: this.#parts.scorer(request.messages),
      inputTokens: estimatePromptTokens(request.messages, request.definitions),
    };
    const snapshot = {
      backends: backends.map((backend) => ({
        id: backend.id,
        kind: backend.kind,
        unusable: backend.unusable,
        health: this.#parts.health.of(backend.id),
        callsUnderWay: this.#parts.health.underWay(backend.id),
        maxConcurrentRequests: backend.maxConcurrentRequests,
        models: backend.models(),
      })),
      speeds: this.#parts.health.speeds(),
      fallbacks: this.#parts.fallbacks,
      privacy: this.#parts.privacy,
      budgetLeftNanoUsd: typeof left === 'number' ? left : await left,
    };
    const aimed = this.#parts.workload?.goals(request.quality, snapshot) ?? snapshot;
    return { sized, snapshot: aimed instanceof Promise ? await aimed : aimed, backends };
  }
}

function requireKnown(backends: readonly Backend[], id: string): Backend {
  const backend = backends.find((known) => known.id === id);
  if (!backend) throw new AppError('unknown_backend', `Backend ${id} is not there.`);
  return backend;
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

function requireModel(backends: readonly Backend[], { model, backend: wanted, operation }: ModelRequest): void {
  if (model === undefined) {
    if (operation !== 'embeddings') return;
    throw new AppError('invalid_input', 'Embeddings of different models cannot be mixed, so none is picked for you.', {
      next: 'Name an embedding model of one of your backends.',
    });
  }
  const among = backends.filter((backend) => matchesBackend(backend, wanted));
  if (among.some((backend) => backend.models().some((offer) => isNamed(backend.id, offer.id, model)))) return;
  const offers = among.flatMap((backend) =>
    backend.models().map((offer) => ({ backend: backend.id, model: offer.id, auto: offer.auto })),
  );
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

function nothingConfigured(): AppError {
  return new AppError('not_configured', 'No model backend is configured.', {
    next: 'Set a provider key (for example DEEPINFRA_API_KEY), or name backends in tandem.yaml; `tandem --sandbox` works without any.',
  });
}

/** Lists of models that are due are waited for, but not long: a decision can do with the old ones. */
async function waitFor(lists: Promise<void>[], signal: Cancellation): Promise<void> {
  const enough = new AbortController();
  const limit = delay(refreshWaitMs, undefined, { signal: enough.signal }).catch(() => undefined);
  await Promise.race([Promise.all(lists), limit]);
  enough.abort();
  throwIfCancelled(signal);
}
