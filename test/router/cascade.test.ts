import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { priorities } from '../../src/config/schema.ts';
import { type Answered, gainOf, judge, planCascade, rightChance } from '../../src/router/cascade.ts';
import { type AnswerCheck, checkAnswer, kindOfPrompt } from '../../src/router/complexity/answer.ts';
import type { Candidate, Decision } from '../../src/router/types.ts';
import { worthByPriority } from '../../src/router/worth.ts';
import { candidate, emptyDecision } from '../support/candidates.ts';

const question =
  'A farmer has 12 crates with 24 apples in each crate. He sells 5 crates and gives 30 apples to his neighbour. How many apples does he have left?';
const rightAnswer =
  'He has 12 * 24 = 288 apples. He sells 5 * 24 = 120 apples. 288 - 120 = 168. He gives away 30: 168 - 30 = 138. The answer is 138.';
const wrongAnswer = 'He has 12 * 24 = 268 apples. He sells 5 crates, so 268 - 5 = 253 apples. The answer is 253.5.';

const small: Candidate = { ...candidate('cheap', 'small'), verdict: 'chosen', suitability: 0.8, burdenNanoUsd: 1_000 };
const large: Candidate = {
  ...candidate('dear', 'large'),
  tier: 'large',
  suitability: 0.9,
  burdenNanoUsd: 1_000_000,
  predictedLatencyMs: 2_000,
};

function check(right: number, rest: Partial<AnswerCheck> = {}): AnswerCheck {
  return { right, basis: 'trained', kind: 'story', rightRate: 0.75, signs: [], base: 0, ...rest };
}

function judged(rest: Partial<Answered> = {}) {
  return judge({
    answered: small,
    check: check(0.1),
    others: [small, large],
    priority: 'balanced',
    leftMs: 60_000,
    ...rest,
  });
}

describe('what follows a checked answer', () => {
  it('is a stronger model after sums that are wrong, and nothing after sums that are right', () => {
    expect(judged({ check: checkAnswer(question, wrongAnswer) }).next).toBe(large);
    const good = judged({ check: checkAnswer(question, rightAnswer) });
    expect(good.next).toBeNull();
    expect(good.right).toBeGreaterThan(0.8);
  });

  it('says what the gain is worth and what it takes', () => {
    const { gain, gainNanoUsd, burdenNanoUsd, right } = judged();
    expect(gain).toBeCloseTo(gainOf(right, 0.8, 0.9), 9);
    expect(gainNanoUsd).toBe(Math.round(gain * worthByPriority.balanced.answerNanoUsd));
    expect(burdenNanoUsd).toBe(1_000_000);
  });

  it('is never another model under latency_critical', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(1e9), (right, burdenNanoUsd) => {
        const others = [small, { ...large, burdenNanoUsd }];
        expect(judged({ priority: 'latency_critical', check: check(right), others }).next).toBeNull();
      }),
    );
  });

  it('is never a model that costs more than a right answer is worth', () => {
    const rates = fc.double({ min: 0.01, max: 0.99, noNaN: true });
    fc.assert(
      fc.property(fc.constantFrom(...priorities), rates, rates, rates, (priority, right, cheap, strong) => {
        const burdenNanoUsd = worthByPriority[priority].answerNanoUsd;
        const others = [{ ...large, suitability: strong, burdenNanoUsd }];
        const answered = { ...small, suitability: cheap };
        expect(judged({ priority, answered, check: check(right), others }).next).toBeNull();
      }),
    );
  });

  it('is another model the sooner, the less likely the answer is right', () => {
    const rates = fc.double({ min: 0.01, max: 0.99, noNaN: true });
    fc.assert(
      fc.property(rates, rates, rates, rates, fc.nat(20_000_000), (one, other, cheap, strong, burdenNanoUsd) => {
        const others = [{ ...large, suitability: strong, burdenNanoUsd }];
        const at = (right: number) =>
          judged({ answered: { ...small, suitability: cheap }, check: check(right), others });
        const [worse, better] = [at(Math.min(one, other)), at(Math.max(one, other))];
        expect(worse.gain).toBeGreaterThanOrEqual(better.gain);
        if (better.next) expect(worse.next).not.toBeNull();
      }),
    );
  });

  it('is the stronger model that adds most for its price', () => {
    const medium: Candidate = { ...large, model: 'medium', tier: 'medium', suitability: 0.88, burdenNanoUsd: 100_000 };
    expect(judged({ others: [large, medium] }).next).toBe(medium);
    expect(judged({ others: [large, medium], priority: 'performance' }).next).toBe(large);
    expect(judged({ others: [large, medium], answered: { ...small, tier: 'medium' } }).next).toBe(large);
  });

  it.each<[string, Partial<Answered>]>([
    ['nobody is stronger', { others: [small, { ...large, tier: 'small' }] }],
    ['the stronger one is excluded', { others: [{ ...large, verdict: 'excluded' }] }],
    ['the stronger one is unhealthy', { others: [{ ...large, verdict: 'last_resort' }] }],
    ['its time would not do', { leftMs: 2_500 }],
  ])('is nothing when %s', (_why, about) => {
    expect(judged(about).next).toBeNull();
  });

  it('after an answer of a kind that nobody trained on is another model only for a plain defect', () => {
    const open = (...names: string[]) =>
      check(0.05, { basis: 'prior', kind: 'open', signs: names.map((name) => ({ name, value: 1, contribution: -3 })) });
    expect(judged({ check: open('hedging', 'wrong_sums', 'too_long') }).next).toBeNull();
    for (const name of ['empty', 'refusal', 'unfinished', 'no_json']) {
      expect(judged({ check: open(name) })).toMatchObject({ next: large, sign: name });
    }
  });

  it('heeds what the scorer expects of this model, and the check more', () => {
    expect(rightChance(0.75, 0.75, 0.75)).toBeCloseTo(0.75, 9);
    expect(rightChance(0.75, 0.75, 0.95)).toBeGreaterThan(0.75);
    expect(rightChance(0.1, 0.75, 0.99)).toBeLessThan(0.5);
  });
});

describe('gainOf', () => {
  it('is the difference of both chances when the check says nothing new', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.double({ min: 0, max: 0.3, noNaN: true }),
        (cheap, more) => {
          const strong = Math.min(0.99, cheap + more * (1 - cheap));
          expect(gainOf(cheap, cheap, strong)).toBeCloseTo(strong - cheap, 6);
        },
      ),
    );
  });

  it('is never as much as the strong model alone promises when the cheap one was surely wrong', () => {
    expect(gainOf(0, 0.8, 0.9)).toBeCloseTo(0.63, 6);
    expect(gainOf(1, 0.8, 0.9)).toBeLessThan(0);
  });
});

describe('planCascade', () => {
  const decide = (candidates: Candidate[], priority: Decision['priority'] = 'balanced') => ({
    ...emptyDecision,
    priority,
    candidates,
  });
  const valued = (one: Candidate, worthNanoUsd: number): Candidate => ({
    ...one,
    valueNanoUsd: Math.round(one.suitability * worthNanoUsd) - one.burdenNanoUsd,
  });
  const worth = worthByPriority.balanced.answerNanoUsd;
  const weak = valued({ ...small, verdict: 'fallback', suitability: 0.6, predictedCostNanoUsd: 500 }, worth);
  const strong = valued(
    { ...large, verdict: 'chosen', burdenNanoUsd: 5_500_000, predictedCostNanoUsd: 5_000_000 },
    worth,
  );

  it('begins with a cheaper model where both together promise more than the strong one alone', () => {
    const planned = planCascade(decide([strong, weak]), 'story');
    expect(planned.candidates.map(({ model, verdict }) => [model, verdict])).toEqual([
      ['small', 'chosen'],
      ['large', 'fallback'],
    ]);
    const { escalates = null, expectedCostNanoUsd = null } = planned.cascade ?? {};
    expect(planned.cascade?.next).toBe(planned.candidates[1]);
    expect(escalates).toBeGreaterThan(0.1);
    expect(escalates).toBeLessThan(0.7);
    expect(expectedCostNanoUsd).toBe(500 + Math.round((escalates ?? 0) * 5_000_000));
  });

  it('leaves the strong model first where its answer costs next to nothing more', () => {
    const near = valued({ ...strong, burdenNanoUsd: 2_000 }, worth);
    expect(
      planCascade(decide([near, valued({ ...weak, suitability: 0.3 }, worth)]), 'formula').candidates[0]?.model,
    ).toBe('large');
  });

  it('never begins with a cheaper model under performance, where money hardly counts', () => {
    const rates = fc.double({ min: 0.01, max: 0.99, noNaN: true });
    fc.assert(
      fc.property(rates, rates, fc.nat(9_000_000), (one, other, burdenNanoUsd) => {
        const dear = worthByPriority.performance.answerNanoUsd;
        const first = valued({ ...strong, suitability: Math.max(one, other), burdenNanoUsd }, dear);
        const decision = decide([first, valued({ ...weak, suitability: Math.min(one, other) }, dear)], 'performance');
        expect(planCascade(decision, 'story').candidates[0]?.model).toBe('large');
      }),
    );
  });

  it('leaves the order alone for prompts whose answers no trained check can rate', () => {
    const decision = decide([strong, weak]);
    expect(planCascade(decision, 'open')).toBe(decision);
  });

  it('says what may follow a cheap model that is first anyway', () => {
    const decision = decide([
      { ...weak, verdict: 'chosen' },
      { ...strong, verdict: 'fallback' },
    ]);
    expect(planCascade(decision, 'story').cascade).toMatchObject({
      first: { model: 'small' },
      next: { model: 'large' },
    });
    expect(planCascade(decision, 'open').cascade).toMatchObject({ escalates: null, expectedCostNanoUsd: null });
  });

  it('plans nothing under latency_critical, or when the stronger model can never pay', () => {
    const critical = decide([strong, weak], 'latency_critical');
    expect(planCascade(critical, 'story')).toBe(critical);
    const dear = decide([
      { ...weak, verdict: 'chosen' },
      { ...strong, verdict: 'fallback', burdenNanoUsd: 2 * worth },
    ]);
    expect(planCascade(dear, 'story')).toBe(dear);
  });

  it('decides the same for equal input, and keeps every candidate', () => {
    const rates = fc.double({ min: 0.01, max: 0.99, noNaN: true });
    const some = fc.record({
      suitability: rates,
      burdenNanoUsd: fc.nat(30_000_000),
      tier: fc.constantFrom('small' as const, 'medium' as const, 'large' as const),
    });
    fc.assert(
      fc.property(
        fc.array(some, { minLength: 1, maxLength: 5 }),
        fc.constantFrom('story' as const, 'choice' as const, 'open' as const),
        (given, kind) => {
          const candidates = given
            .map((each, at): Candidate => valued({ ...candidate('p', `m${at}`), ...each }, worth))
            .sort((one, other) => other.valueNanoUsd - one.valueNanoUsd)
            .map((each, at): Candidate => ({ ...each, verdict: at === 0 ? 'chosen' : 'fallback' }));
          const planned = planCascade(decide(candidates), kind);
          expect(planCascade(structuredClone(decide(candidates)), kind)).toEqual(planned);
          expect(planned.candidates.map(({ model }) => model).sort()).toEqual(
            candidates.map(({ model }) => model).sort(),
          );
          expect(planned.candidates.filter(({ verdict }) => verdict === 'chosen')).toEqual([planned.candidates[0]]);
        },
      ),
    );
  });

  it('knows the kind of a prompt', () => {
    expect(kindOfPrompt(question)).toBe('story');
    expect(kindOfPrompt('Write a poem about the sea.')).toBe('open');
  });
});
