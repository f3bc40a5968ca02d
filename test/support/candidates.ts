import { localPrincipal } from '../../src/principal.ts';
import { Itinerary, type Leg } from '../../src/router/itinerary.ts';
import type { Candidate, Decision, ModelRequest, Snapshot } from '../../src/router/types.ts';

export function candidate(backend: string, model = 'm'): Candidate {
  return {
    backend,
    kind: 'serverless',
    model,
    tier: 'small',
    price: null,
    verdict: 'fallback',
    note: null,
    spared: false,
    constraint: null,
    suitability: 1,
    maxTokens: 100,
    predictedCostNanoUsd: null,
    worstCostNanoUsd: null,
    predictedLatencyMs: 0,
    burdenNanoUsd: 0,
    valueNanoUsd: 0,
  };
}

/** With windows by `backend/model`; the others' are not known. */
export function itineraryOf(
  candidates: Candidate[],
  options: { windows?: Record<string, number>; maxRetries?: number } = {},
): Itinerary {
  const { windows = {}, maxRetries = 1 } = options;
  const snapshot: Snapshot = {
    backends: candidates.map(({ backend, model }) => ({
      id: backend,
      kind: 'serverless',
      unusable: null,
      health: { usable: true, reason: null },
      callsUnderWay: 0,
      maxConcurrentRequests: null,
      models: candidates
        .filter((other) => other.backend === backend)
        .map((other) => ({
          id: other.model,
          tier: 'small',
          contextWindowTokens: windows[`${backend}/${other.model}`] ?? null,
          maxOutputTokens: null,
          price: null,
          auto: model !== '',
          supports: null,
        })),
    })),
    speeds: new Map(),
    fallbacks: {},
    privacy: 'any',
    budgetLeftNanoUsd: 0,
  };
  return new Itinerary(candidates, snapshot, () => maxRetries);
}

export function nameOf(leg: Leg | null): string | null {
  return leg && `${leg.candidate.backend}/${leg.candidate.model}`;
}

export const emptyDecision: Decision = {
  asked: { backend: 'auto', model: undefined },
  complexity: { score: 0, suffices: { small: 1, large: 1 }, features: [] },
  priority: 'balanced',
  quality: null,
  dedicatedFromScore: null,
  inputTokens: 1,
  expectedOutputTokens: 1,
  candidates: [],
};

export const chatRequest: ModelRequest = {
  id: 'r',
  operation: 'chat',
  principal: localPrincipal,
  messages: [{ role: 'user', content: 'Hi' }],
  needs: [],
  priority: 'balanced',
  backend: 'auto',
  choices: 1,
  stream: true,
  timeLimitMs: 1_000,
  acceptsPart: false,
  bodyFor: () => '{}',
};
