import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Priority, priorities } from '../../src/config/schema.ts';
import { sufficesAt } from '../../src/router/complexity/prior.ts';
import { wouldChange } from '../../src/router/explain.ts';
import { route, type Sized } from '../../src/router/route.ts';
import type { BackendSnapshot, Model, Snapshot } from '../../src/router/types.ts';
import { priceFromUsd } from '../../src/usage/prices.ts';

function model(
  id: string,
  tier: Model['tier'],
  usd: [number, number] | null,
  contextWindowTokens: number | null = 32_768,
): Model {
  const price = usd && priceFromUsd({ inputUsdPerMTok: usd[0], outputUsdPerMTok: usd[1] }, 'config', null);
  return { id, tier, price, contextWindowTokens, maxOutputTokens: null, auto: true, supports: null };
}

function backend(
  id: string,
  kind: BackendSnapshot['kind'],
  models: Model[],
  rest: Partial<BackendSnapshot> = {},
): BackendSnapshot {
  const idle = { health: { usable: true, reason: null }, callsUnderWay: 0, maxConcurrentRequests: null };
  return { id, kind, models, unusable: null, ...idle, ...rest };
}

const cheap = backend('cheap', 'serverless', [
  model('small-8b', 'small', [0.05, 0.08]),
  model('medium-32b', 'medium', [0.2, 0.4]),
]);
const box = backend('box', 'dedicated', [model('big-70b', 'large', null)]);

function snapshot(backends: BackendSnapshot[] = [cheap, box], rest: Partial<Snapshot> = {}): Snapshot {
  return { backends, speeds: new Map(), fallbacks: {}, privacy: 'any', budgetLeftNanoUsd: 1e9, ...rest };
}

function ask(score: number, rest: Partial<Sized['request']> = {}, inputTokens = 100): Sized {
  return {
    request: { operation: 'chat', priority: 'balanced', backend: 'auto', choices: 1, needs: [], ...rest },
    complexity: { score, suffices: sufficesAt(score), features: [] },
    inputTokens,
  };
}

function choice(sized: Sized, world = snapshot()): string | undefined {
  const [first] = route(sized, world).candidates;
  return first?.verdict === 'chosen' ? `${first.backend}/${first.model}` : undefined;
}

describe('route', () => {
  it('sends simple prompts to the cheap serverless model', () => {
    expect(choice(ask(0.05))).toBe('cheap/small-8b');
  });

  it('sends complex prompts to the dedicated model that is kept for them', () => {
    expect(choice(ask(0.7))).toBe('box/big-70b');
  });

  it('sends latency-critical prompts to the dedicated model, simple or not', () => {
    expect(choice(ask(0.05, { priority: 'latency_critical' }))).toBe('box/big-70b');
    expect(choice(ask(0.7, { priority: 'latency_critical' }))).toBe('box/big-70b');
  });

  it('takes the strongest model under performance', () => {
    expect(choice(ask(0.05, { priority: 'performance' }))).toBe('box/big-70b');
  });

  it('stays with a cheaper model for longer under low_cost', () => {
    const dear = backend('dear', 'serverless', [model('huge-400b', 'large', [0.5, 1])]);
    expect(choice(ask(0.6), snapshot([cheap, dear]))).toBe('dear/huge-400b');
    expect(choice(ask(0.6, { priority: 'low_cost' }), snapshot([cheap, dear]))).not.toBe('dear/huge-400b');
  });

  it('prefers the model that was measured to be faster when all else is equal', () => {
    const one = backend('one', 'serverless', [model('m-8b', 'small', [1, 1])]);
    const two = backend('two', 'serverless', [model('m-8b', 'small', [1, 1])]);
    const speeds = new Map([['two/m-8b', { firstTokenMs: 100, tokensPerSecond: 900 }]]);
    expect(choice(ask(0.1), snapshot([one, two], { speeds }))).toBe('two/m-8b');
  });

  it('keeps the order of the configuration when candidates are equal', () => {
    const twin = (id: string) => backend(id, 'serverless', [model('m-8b', 'small', [1, 1])]);
    expect(choice(ask(0.1), snapshot([twin('b'), twin('a')]))).toBe('b/m-8b');
  });

  it('excludes with a reason: window, budget, key, output limit, not asked for', () => {
    const tight = backend('tight', 'serverless', [{ ...model('m-8b', 'small', [1, 1], 1_000), maxOutputTokens: 10 }]);
    const reasons = (sized: Sized, world: Snapshot) =>
      route(sized, world).candidates.map(({ constraint }) => constraint);
    expect(reasons(ask(0.1, {}, 5_000), snapshot([tight]))).toEqual(['context_window']);
    expect(reasons(ask(0.1, { maxTokens: 50 }), snapshot([tight]))).toEqual(['output_limit']);
    expect(reasons(ask(0.1), snapshot([cheap], { budgetLeftNanoUsd: 1 }))).toEqual(['budget', 'budget']);
    expect(reasons(ask(0.1), snapshot([{ ...cheap, unusable: 'no key' }]))).toEqual(['key', 'key']);
    expect(reasons(ask(0.1, { backend: 'serverless' }), snapshot([box]))).toEqual(['backend']);
  });

  it('leaves room for the output that was asked for', () => {
    expect(choice(ask(0.1, { maxTokens: 8_000 }, 30_000))).toBeUndefined();
    expect(choice(ask(0.1, { maxTokens: 2_000 }, 30_000))).toBeDefined();
  });

  it('tries unhealthy backends last, but tries them', () => {
    const sick = { ...cheap, health: { usable: false, reason: '3 failures in a row' } };
    const decision = route(ask(0.05), snapshot([sick, box]));
    expect(decision.candidates.map(({ backend: id, verdict }) => `${id} ${verdict}`)).toEqual([
      'box chosen',
      'cheap last_resort',
      'cheap last_resort',
    ]);
    expect(choice(ask(0.05), snapshot([sick]))).toBe('cheap/small-8b');
  });

  it('ranks a model of unknown price as an expensive one', () => {
    const mystery = backend('mystery', 'serverless', [model('m-8b', 'small', null)]);
    expect(choice(ask(0.05), snapshot([mystery, cheap]))).toBe('cheap/small-8b');
  });

  it('offers only named models when one is named, by id or with its backend', () => {
    const world = snapshot([
      cheap,
      backend('other', 'serverless', [{ ...model('small-8b', 'small', [9, 9]), auto: false }]),
    ]);
    expect(route(ask(0.9, { model: 'small-8b' }), world).candidates).toHaveLength(2);
    expect(choice(ask(0.9, { model: 'other/small-8b' }), world)).toBe('other/small-8b');
  });

  it('reserves at least what it predicts', () => {
    for (const { predictedCostNanoUsd, worstCostNanoUsd } of route(ask(0.4), snapshot()).candidates) {
      expect(worstCostNanoUsd).toBeGreaterThanOrEqual(predictedCostNanoUsd ?? 0);
    }
  });

  it('decides the same for equal arguments, and ranks every candidate once', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.constantFrom<Priority[]>(...priorities.map((priority) => [priority])),
        fc.integer({ min: 1, max: 60_000 }),
        fc.integer({ min: 0, max: 1_000_000_000 }),
        (score, [priority = 'balanced'], inputTokens, budgetLeftNanoUsd) => {
          const sized = ask(score, { priority }, inputTokens);
          const world = snapshot([cheap, box], { budgetLeftNanoUsd });
          const decision = route(sized, world);
          expect(route(sized, world)).toEqual(decision);
          expect(decision.candidates).toHaveLength(3);
          const tried = decision.candidates.filter(({ verdict }) => verdict !== 'excluded');
          expect(tried.every(({ worstCostNanoUsd }) => (worstCostNanoUsd ?? 0) <= budgetLeftNanoUsd)).toBe(true);
          expect(tried.filter(({ verdict }) => verdict === 'chosen').length).toBe(tried.length > 0 ? 1 : 0);
        },
      ),
    );
  });

  it('never gives a harder prompt a weaker model, all else equal', () => {
    const strength = { small: 0, medium: 1, large: 2 };
    const score = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(score, score, (one, other) => {
        const [easier, harder] = [Math.min(one, other), Math.max(one, other)];
        const tier = (value: number) => strength[route(ask(value), snapshot()).candidates[0]?.tier ?? 'small'];
        expect(tier(harder)).toBeGreaterThanOrEqual(tier(easier));
      }),
    );
  });
});

describe('what would change the decision', () => {
  it('names the priorities and the scores that lead elsewhere', () => {
    const sized = ask(0.05);
    const changes = wouldChange(sized, snapshot(), route(sized, snapshot()));
    expect(changes).toContain('priority performance -> box/big-70b');
    expect(changes.some((change) => /^score from 0\.\d\d -> /.test(change))).toBe(true);
  });

  it('is empty when there is no choice', () => {
    const sized = ask(0.5, { backend: 'dedicated' });
    expect(wouldChange(sized, snapshot(), route(sized, snapshot()))).toEqual([]);
  });
});
