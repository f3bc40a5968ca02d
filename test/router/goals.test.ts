import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { neededRequests, type PastRequest, reachQuality, scoreAtShare } from '../../src/router/goals.ts';
import { route, type Sized } from '../../src/router/route.ts';
import type { BackendSnapshot, Snapshot } from '../../src/router/types.ts';
import { ladder, serverlessOf } from '../support/decisions.ts';

const anyRequest: fc.Arbitrary<PastRequest> = fc
  .record({
    score: fc.double({ min: 0, max: 1, noNaN: true }),
    small: fc.integer({ min: 5, max: 995 }),
    more: fc.nat(400),
  })
  .map(({ score, small, more }) => ({
    score,
    inputTokens: 200,
    suffices: { small: small / 1000, large: Math.min(995, small + more) / 1000 },
  }));
const anyWorkload = fc.array(anyRequest, { minLength: neededRequests, maxLength: 120 });
const anyQuality = fc.integer({ min: 50, max: 100 }).map((percent) => percent / 100);

/** What routing really makes of these requests, as shares of the strongest model's quality and cost. */
function routed(past: readonly PastRequest[], snapshot: Snapshot): { quality: number; cost: number } {
  const sum = { chosen: 0, best: 0, cost: 0, most: 0 };
  for (const { score, suffices, inputTokens } of past) {
    const sized: Sized = {
      request: { operation: 'chat', priority: 'balanced', backend: 'auto', choices: 1, needs: [] },
      complexity: { score, suffices, features: [] },
      inputTokens: inputTokens ?? 0,
    };
    const { candidates } = route(sized, snapshot);
    const [chosen] = candidates;
    const best = candidates.find(({ tier }) => tier === 'large');
    sum.chosen += chosen?.suitability ?? 0;
    sum.best += Math.max(...candidates.map(({ suitability }) => suitability));
    sum.cost += chosen?.predictedCostNanoUsd ?? 0;
    sum.most += best?.predictedCostNanoUsd ?? 0;
  }
  return { quality: sum.chosen / sum.best, cost: sum.cost / sum.most };
}

describe('a wish for quality', () => {
  it('is reached by the decisions themselves, on the requests that it was worked out from', () => {
    fc.assert(
      fc.property(anyWorkload, anyQuality, (past, quality) => {
        const goal = reachQuality(quality, past, ladder);
        const { quality: reached } = routed(past, { ...ladder, quality: goal });
        expect(goal.answerNanoUsd).not.toBeNull();
        expect(reached).toBeGreaterThanOrEqual(quality - 0.002);
        expect(reached).toBeCloseTo(goal.expected ?? 0, 2);
      }),
      { numRuns: 60 },
    );
  });

  it('costs the more, the higher it is', () => {
    fc.assert(
      fc.property(anyWorkload, anyQuality, anyQuality, (past, one, other) => {
        const [low, high] = [one, other]
          .toSorted((a, b) => a - b)
          .map((quality) => reachQuality(quality, past, ladder));
        expect(low?.answerNanoUsd ?? 0).toBeLessThanOrEqual(high?.answerNanoUsd ?? 0);
        expect(low?.saving ?? 0).toBeGreaterThanOrEqual((high?.saving ?? 0) - 1e-9);
      }),
      { numRuns: 60 },
    );
  });

  it('says what it saves against asking the strongest always', () => {
    const easy = { score: 0.1, inputTokens: 200, suffices: { small: 0.97, large: 0.98 } };
    const hard = { score: 0.9, inputTokens: 200, suffices: { small: 0.2, large: 0.9 } };
    const past = [...Array(80).fill(easy), ...Array(20).fill(hard)];
    const { expected, saving, requests } = reachQuality(0.95, past, ladder);
    expect(requests).toBe(100);
    expect(expected).toBeGreaterThanOrEqual(0.95);
    expect(saving).toBeGreaterThan(0.5);
  });

  it('is not guessed from a handful of requests', () => {
    const past = Array(neededRequests - 1).fill({ score: 0.5, inputTokens: 1, suffices: { small: 0.5, large: 0.9 } });
    expect(reachQuality(0.95, past, ladder)).toEqual({
      asked: 0.95,
      requests: neededRequests - 1,
      answerNanoUsd: null,
      expected: null,
      saving: null,
    });
  });
});

describe('a share of serverless answers', () => {
  const box: BackendSnapshot = { ...serverlessOf('box', 'large', 1), kind: 'dedicated' };
  const world = { ...ladder, backends: [...ladder.backends, box] };
  const kindOf = (score: number, dedicatedFromScore: number | undefined, rest: Partial<Sized['request']> = {}) =>
    route(
      {
        request: { operation: 'chat', priority: 'balanced', backend: 'auto', choices: 1, needs: [], ...rest },
        complexity: { score, suffices: { small: 0.9, large: 0.95 }, features: [] },
        inputTokens: 100,
      },
      { ...world, dedicatedFromScore },
    ).candidates[0]?.kind;

  it('is kept by the scores of the requests before', () => {
    fc.assert(
      fc.property(anyWorkload, fc.double({ min: 0, max: 1, noNaN: true }), (past, share) => {
        const threshold = scoreAtShare(share, past) ?? Number.NaN;
        const below = past.filter(({ score }) => kindOf(score, threshold) === 'serverless').length / past.length;
        const ties = past.filter(({ score }) => score === threshold).length / past.length;
        expect(Math.abs(below - share)).toBeLessThanOrEqual(1 / past.length + ties);
      }),
      { numRuns: 60 },
    );
  });

  it('is all or nothing at its ends', () => {
    const past = Array.from({ length: 100 }, (_, index) => ({
      score: index / 100,
      inputTokens: 1,
      suffices: { small: 0.9, large: 0.9 },
    }));
    expect(past.every(({ score }) => kindOf(score, scoreAtShare(0, past) ?? undefined) === 'dedicated')).toBe(true);
    expect(past.every(({ score }) => kindOf(score, scoreAtShare(1, past) ?? undefined) === 'serverless')).toBe(true);
    expect(scoreAtShare(0.8, past.slice(0, neededRequests - 1))).toBeNull();
  });

  it('leaves requests alone that say what they want', () => {
    expect(kindOf(0.1, 0.5, { backend: 'dedicated' })).toBe(kindOf(0.1, undefined, { backend: 'dedicated' }));
    expect(kindOf(0.1, 0.5, { priority: 'latency_critical' })).toBe(
      kindOf(0.1, undefined, { priority: 'latency_critical' }),
    );
  });
});
