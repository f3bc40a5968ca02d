import type { Capability, Privacy } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import { formatUsd } from '../money.ts';
import { fullRetryAfterMs } from './health.ts';
import type { Sized } from './route.ts';
import {
  type BackendSnapshot,
  type Candidate,
  candidateName,
  type Decision,
  type Model,
  type ModelRequest,
  type Snapshot,
} from './types.ts';

/** Less room than this for an answer counts as a prompt that does not fit. */
export const leastOutputTokens = 64;

/** What the rating of a candidate has found out by the time it is looked at here. */
export interface Figures {
  /** What its context window leaves for an answer. */
  roomTokens: number;
  maxTokens: number;
  worstCostNanoUsd: number | null;
}

interface Exclusion {
  constraint: NonNullable<Candidate['constraint']>;
  reason: string;
}

const words: Record<Capability, string> = { tools: 'tools', json_schema: 'JSON schemas', images: 'images' };

export function matchesBackend(backend: { id: string; kind: string }, wanted: string): boolean {
  return wanted === 'auto' || wanted === backend.kind || wanted === backend.id;
}

/** Whether a prompt may go there at all, whoever asks and whatever is named. */
export function mayHavePrompts(backend: Pick<BackendSnapshot, 'kind'>, privacy: Privacy): boolean {
  return privacy === 'any' || backend.kind === 'dedicated';
}

/**
 * Why a candidate cannot take this request at all, or null. In the order in which a person would have to mend it: what
 * only time mends, a backend with all its places taken, is said of those alone that could answer otherwise.
 */
export function exclusion(
  backend: BackendSnapshot,
  model: Model,
  { request, inputTokens }: Sized,
  { roomTokens, maxTokens, worstCostNanoUsd }: Figures,
  { privacy, budgetLeftNanoUsd }: Pick<Snapshot, 'privacy' | 'budgetLeftNanoUsd'>,
): Exclusion | null {
  if (!matchesBackend(backend, request.backend))
    return { constraint: 'backend', reason: `not asked for (backend: ${request.backend})` };
  if (!mayHavePrompts(backend, privacy))
    return { constraint: 'privacy', reason: 'prompts go to dedicated backends only (routing.privacy: dedicated_only)' };
  if (backend.unusable) return { constraint: 'key', reason: backend.unusable };
  const missing = request.needs.length === 0 ? [] : request.needs.filter((need) => !mayTake(model, need));
  if (missing.length > 0) return { constraint: 'capability', reason: `does not take ${listWords(missing)}` };
  const output = request.maxTokens ?? leastOutputTokens;
  if (roomTokens < output) {
    const reason = `the prompt (about ${inputTokens} tokens) and ${output} of output exceed its context window of ${model.contextWindowTokens} tokens`;
    return { constraint: 'context_window', reason };
  }
  if (model.maxOutputTokens !== null && maxTokens > model.maxOutputTokens) {
    return { constraint: 'output_limit', reason: `answers with at most ${model.maxOutputTokens} tokens` };
  }
  if (worstCostNanoUsd === null ? budgetLeftNanoUsd <= 0 : worstCostNanoUsd > budgetLeftNanoUsd) {
    const cost = worstCostNanoUsd === null ? 'an unknown amount' : `up to ${formatUsd(worstCostNanoUsd)}`;
    return { constraint: 'budget', reason: `may cost ${cost}, the budget has ${formatUsd(budgetLeftNanoUsd)} left` };
  }
  const { callsUnderWay, maxConcurrentRequests } = backend;
  if (maxConcurrentRequests !== null && callsUnderWay >= maxConcurrentRequests)
    return { constraint: 'load', reason: `answers ${callsUnderWay} requests, as many as it may at once` };
  return null;
}

/** Where nobody told, it is not known that it cannot. */
function mayTake({ supports }: Pick<Model, 'supports'>, need: Capability): boolean {
  return supports?.includes(need) ?? true;
}

const lists = new Intl.ListFormat('en-GB', { type: 'conjunction' });

function listWords(needs: readonly Capability[]): string {
  return lists.format(needs.map((need) => words[need]));
}

/** The candidates to try, in order; or the error that says why there are none. */
export function requireCandidates(
  decision: Decision,
  snapshot: Snapshot,
  request: Pick<ModelRequest, 'needs' | 'backend'>,
): readonly Candidate[] {
  const usable = decision.candidates.filter((candidate) => candidate.verdict !== 'excluded');
  if (usable.length > 0) return usable;
  const asked = withoutForeign(decision.candidates);
  const reasons = asked.map((candidate) => `${candidateName(candidate)}: ${candidate.note}`).join('; ');
  const only = (constraint: Candidate['constraint']) =>
    asked.length > 0 && asked.every((candidate) => candidate.constraint === constraint);
  if (asked.some(({ constraint }) => constraint === 'load')) {
    throw new AppError('overloaded', `Every model that could take this request is busy. ${reasons}.`, {
      retryAfterMs: fullRetryAfterMs,
    });
  }
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
    next: only('capability')
      ? whoTakes(request, snapshot)
      : only('privacy')
        ? `Valid: ${namesOf(snapshot, request.backend) || 'none yet; name a model server of yours under dedicated in tandem.yaml'}.`
        : '`tandem doctor` checks the configuration.',
  });
}

/** Without those that were never meant: the others' reasons are what the reader can do something about. */
function withoutForeign(candidates: readonly Candidate[]): readonly Candidate[] {
  const asked = candidates.filter(({ constraint }) => constraint !== 'backend');
  const allowed = asked.filter(({ constraint }) => constraint !== 'privacy');
  return allowed.length > 0 ? allowed : asked;
}

const listedModels = 20;

function whoTakes({ needs, backend }: Pick<ModelRequest, 'needs' | 'backend'>, snapshot: Snapshot): string {
  const takes = ({ supports }: Model) => needs.every((need) => supports?.includes(need));
  const names = namesOf(snapshot, backend, takes);
  if (names !== '') return `Models that take ${listWords(needs)}: ${names}.`;
  return `No model is known to take ${listWords(needs)}; \`supports\` in tandem.yaml says what a model takes.`;
}

/** Of the models that a prompt may go to. */
function namesOf(snapshot: Snapshot, wanted: string, isMeant: (model: Model) => boolean = () => true): string {
  const names = snapshot.backends
    .filter((backend) => mayHavePrompts(backend, snapshot.privacy) && backend.unusable === null)
    .filter((backend) => wanted !== 'dedicated' || backend.kind === 'dedicated')
    .flatMap(({ id, models }) =>
      models.filter(isMeant).map((model) => candidateName({ backend: id, model: model.id })),
    );
  const more = names.length > listedModels ? ` and ${names.length - listedModels} more` : '';
  return names.slice(0, listedModels).join(', ') + more;
}
