import type { BackendKind } from '../config/index.ts';
import type { Priority, Tier } from '../config/schema.ts';
import { usdToNano } from '../money.ts';
import { tokenCostNano } from '../usage/prices.ts';
import { standing, suitabilityAt } from './complexity/suitability.ts';
import { exclusion, leastOutputTokens } from './constraints.ts';
import {
  type BackendSnapshot,
  type Candidate,
  type Complexity,
  candidateName,
  type Decision,
  type Model,
  type ModelRequest,
  type Snapshot,
  type Speed,
} from './types.ts';
import { worthFor } from './worth.ts';

/** From this score up a prompt is complex: the work that dedicated GPUs are kept for. */
export const complexFromScore = 0.5;

/**
 * A running GPU costs nothing more per request, but a simple prompt on it stands in the way of the work it is kept
 * for. So simple prompts are ranked as if they paid for its seconds, at about the price of a GH200.
 */
const occupancyNanoUsdPerSecond = usdToNano(2 / 3600);

/** Priorities under which simple prompts leave the GPU alone. */
const sparing: readonly Priority[] = ['low_cost', 'balanced'];

/** Speeds assumed until there are measured ones. */
const assumedSpeed: Record<'serverless' | 'dedicated', Record<Tier, Speed>> = {
  serverless: {
    small: { firstTokenMs: 600, tokensPerSecond: 100 },
    medium: { firstTokenMs: 600, tokensPerSecond: 70 },
    large: { firstTokenMs: 600, tokensPerSecond: 50 },
  },
  dedicated: {
    small: { firstTokenMs: 150, tokensPerSecond: 150 },
    medium: { firstTokenMs: 150, tokensPerSecond: 110 },
    large: { firstTokenMs: 150, tokensPerSecond: 90 },
  },
};

/** A model whose price nobody knows is ranked as a dear one of its tier; dollars per million tokens, in and out. */
const assumedPrice: Record<Tier, { input: number; output: number }> = {
  small: { input: 0.2, output: 0.4 },
  medium: { input: 0.6, output: 1.8 },
  large: { input: 1.5, output: 5 },
};

/** Output asked for when the caller names no limit: bounds the cost of one call. */
export const defaultMaxTokens = 4_096;

/** The request as a decision needs it: the text itself has been read already. */
export interface Sized {
  request: Pick<ModelRequest, 'operation' | 'priority' | 'backend' | 'model' | 'maxTokens' | 'choices' | 'needs'>;
  complexity: Complexity;
  inputTokens: number;
}

/**
 * Ranks every candidate. Pure: no clock, no I/O, no randomness; equal arguments give equal decisions. Constraints
 * exclude first, then the value of the likely answer less its price and its waiting time decides.
 */
export function route(sized: Sized, snapshot: Snapshot): Decision {
  const { request, complexity, inputTokens } = sized;
  const expected = Math.round(60 + 600 * complexity.score);
  const rated = (asked: Sized, backends = snapshot.backends) =>
    backends.flatMap((backend) =>
      modelsFor(backend, asked.request).map((model) => rate(backend, model, asked, snapshot, expected)),
    );
  const first = kindFirst(sized, snapshot);
  const asked = rated(sized).sort(
    (one, other) => Number(other.kind === first) - Number(one.kind === first) || other.valueNanoUsd - one.valueNanoUsd,
  );
  const spares = sparesFor(asked, sized, snapshot).flatMap((spare) => rated(spare));
  const ranked = [...asked, ...spares].sort((one, other) => verdictRank(one) - verdictRank(other));
  const [best] = ranked;
  if (best && best.verdict !== 'excluded') best.verdict = 'chosen';
  return {
    asked: { backend: request.backend, model: request.model },
    complexity,
    priority: request.priority,
    quality: snapshot.quality ?? null,
    dedicatedFromScore: snapshot.dedicatedFromScore ?? null,
    inputTokens,
    expectedOutputTokens: expected,
    candidates: ranked,
  };
}

/** The models of a backend that the request may mean: all that the router may pick, or those that were named. */
function modelsFor(backend: BackendSnapshot, { model: wanted }: Sized['request']): readonly Model[] {
  if (wanted === undefined) return backend.models.filter((model) => model.auto);
  return backend.models.filter((model) => isNamed(backend.id, model.id, wanted));
}

/** Whether `wanted` means this model: its id, or `backend/model`. */
export function isNamed(backend: string, model: string, wanted: string): boolean {
  if (wanted === model) return true;
  const long = wanted.length === backend.length + 1 + model.length;
  return long && wanted[backend.length] === '/' && wanted.startsWith(backend) && wanted.endsWith(model);
}

/**
 * A model that was named answers itself or not at all, unless the configuration says who may stand in for it. The
 * most specific key counts: `backend/model`, then `backend/*`, then `*`. Vectors of different models cannot be mixed,
 * so embeddings take only who stands under the very model. Who asked for dedicated ones gets no other kind.
 */
function sparesFor(asked: readonly Candidate[], sized: Sized, { fallbacks }: Snapshot): Sized[] {
  if (sized.request.model === undefined) return [];
  const taken = new Set(asked.map(candidateName));
  const backend = sized.request.backend === 'dedicated' ? 'dedicated' : 'auto';
  const names = asked
    .filter(({ constraint }) => constraint !== 'backend')
    .flatMap((candidate) => {
      const own = fallbacks[candidateName(candidate)];
      if (own || sized.request.operation === 'embeddings') return own ?? [];
      return fallbacks[`${candidate.backend}/*`] ?? fallbacks['*'] ?? [];
    });
  return [...new Set(names)]
    .filter((name) => !taken.has(name))
    .map((name) => ({ ...sized, request: { ...sized.request, backend, model: name } }));
}

/** With a share of serverless answers to keep, who comes first; null: whoever is worth more. */
function kindFirst({ request, complexity }: Sized, { dedicatedFromScore }: Snapshot): BackendKind | null {
  const isFree = request.backend === 'auto' && request.model === undefined && sparing.includes(request.priority);
  if (dedicatedFromScore === undefined || !isFree) return null;
  return complexity.score < dedicatedFromScore ? 'serverless' : 'dedicated';
}

function rate(backend: BackendSnapshot, model: Model, sized: Sized, snapshot: Snapshot, expected: number): Candidate {
  const { request, complexity, inputTokens } = sized;
  const dedicated = backend.kind === 'dedicated';
  const roomTokens = (model.contextWindowTokens ?? Number.POSITIVE_INFINITY) - inputTokens;
  const maxTokens =
    request.maxTokens ??
    Math.min(defaultMaxTokens, model.maxOutputTokens ?? defaultMaxTokens, Math.max(roomTokens, leastOutputTokens));
  const outputTokens = Math.min(expected, maxTokens);
  const costOf = (output: number): number | null => {
    if (dedicated) return 0;
    return (
      model.price &&
      tokenCostNano(model.price, { inputTokens, cachedInputTokens: 0, outputTokens: output, reasoningTokens: 0 })
    );
  };
  const speed =
    snapshot.speeds.get(candidateName({ backend: backend.id, model: model.id })) ??
    assumedSpeed[backend.kind][model.tier];
  const seconds = speed.firstTokenMs / 1000 + outputTokens / speed.tokensPerSecond;
  const suitability = suitabilityAt(standing[model.tier], complexity.suffices);
  const predictedCostNanoUsd = costOf(outputTokens);
  const worstCostNanoUsd = costOf(maxTokens * request.choices);
  const spared = dedicated && complexity.score < complexFromScore && sparing.includes(request.priority);
  const occupancy = spared ? seconds * occupancyNanoUsdPerSecond : 0;
  const rankedCost = predictedCostNanoUsd ?? assumedCost(model.tier, inputTokens, outputTokens);
  const worth = worthFor(request.priority, snapshot.quality);
  const burdenNanoUsd = Math.round(rankedCost + occupancy + seconds * worth.secondNanoUsd);

  const excluded = exclusion(backend, model, sized, { roomTokens, maxTokens, worstCostNanoUsd }, snapshot);
  return {
    backend: backend.id,
    kind: backend.kind,
    model: model.id,
    tier: model.tier,
    price: model.price,
    verdict: excluded ? 'excluded' : backend.health.usable ? 'fallback' : 'last_resort',
    note: excluded?.reason ?? (backend.health.usable ? null : (backend.health.reason ?? 'unhealthy')),
    spared,
    constraint: excluded?.constraint ?? null,
    suitability: Math.round(suitability * 1_000) / 1_000,
    maxTokens,
    predictedCostNanoUsd,
    worstCostNanoUsd,
    predictedLatencyMs: Math.round(seconds * 1000),
    burdenNanoUsd,
    valueNanoUsd: Math.round(suitability * worth.answerNanoUsd) - burdenNanoUsd,
  };
}

const verdicts: Candidate['verdict'][] = ['chosen', 'fallback', 'last_resort', 'excluded'];

function verdictRank(candidate: Candidate): number {
  return verdicts.indexOf(candidate.verdict);
}

function assumedCost(tier: Tier, inputTokens: number, outputTokens: number): number {
  const { input, output } = assumedPrice[tier];
  return usdToNano((inputTokens * input + outputTokens * output) / 1_000_000);
}
