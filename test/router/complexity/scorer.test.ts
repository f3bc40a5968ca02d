import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { scoreByModel } from '../../../src/router/complexity/scorer.ts';
import { decodeModel } from '../../../src/router/complexity/weights.ts';
import type { Message } from '../../../src/router/types.ts';

const user = (content: string): Message[] => [{ role: 'user', content }];
const score = (content: string) => scoreByModel(user(content)).score;

const wordProblem =
  'A bakery sells 24 loaves in the morning and half as many in the afternoon. Each loaf costs $3. If the baker spends $20 on flour every day, how much money does she have left after 5 days?';
const choices =
  'Which of the following is a primary function of the Federal Reserve?\nA. Collecting taxes\nB. Setting monetary policy\nC. Passing laws\nD. Running courts\nAnswer:';

describe('the trained scorer', () => {
  it.each([
    ['word problems', wordProblem],
    ['multiple choices', choices],
  ])('judges %s by what it learned', (_what, prompt) => {
    expect(scoreByModel(user(prompt)).basis).toBe('trained');
  });

  it.each([
    'hi',
    'What is the capital of France?',
    'Translate "good morning" to Spanish.',
    'Write a haiku about the sea.',
    'Кто написал «Войну и мир»?',
    '',
    'x',
    'aGVsbG8gd29ybGQ='.repeat(500),
    '🎉🎉🎉',
    'مرحبا كيف حالك اليوم؟',
  ])('says so when it falls back to rules and length: %#', (prompt) => {
    expect(scoreByModel(user(prompt)).basis).toBe('prior');
  });

  it.each([
    'What is the capital of France?',
    'Translate "good morning" to Spanish.',
    'hi',
    'Give me one word for happy.',
  ])('rates as simple: %s', (prompt) => {
    expect(score(prompt)).toBeLessThan(0.25);
  });

  it('rates a request for design as complex', () => {
    expect(
      score(
        'Design a distributed rate limiter. Requirements:\n1. exactly once\n2. at most 5 ms\n3. without a single point of failure\nEvaluate the trade-offs and explain why.',
      ),
    ).toBeGreaterThan(0.5);
  });

  it('rates a longer chain of steps above a single one', () => {
    expect(score(wordProblem)).toBeGreaterThan(score('Tom has 3 apples and gets 2 more. How many apples has he?'));
  });

  it('gives contributions that add up to the score, but for small ones', () => {
    const { score: total, features } = scoreByModel(user(wordProblem));
    const sum = features.reduce((value, { contribution }) => value + contribution, 0);
    expect(Math.abs(sum - Math.log(total / (1 - total)))).toBeLessThan(0.7);
  });

  it('stays within 0 and 1, gives equal scores to equal prompts, and never fails', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 5_000 }), (text) => {
        expect(score(text)).toBeGreaterThanOrEqual(0);
        expect(score(text)).toBeLessThanOrEqual(1);
        expect(score(text)).toBe(score(text));
      }),
    );
  });

  it('moves little for one typo', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(wordProblem, choices),
        fc.nat(),
        fc.constantFrom('', 'e', 'q', ' '),
        (prompt, place, typed) => {
          const at = prompt.search(/[a-z]/) + (place % (prompt.length - 20));
          if (!/[a-z]/.test(prompt[at] ?? '')) return;
          const mistyped = prompt.slice(0, at) + typed + prompt.slice(at + 1);
          expect(Math.abs(score(mistyped) - score(prompt))).toBeLessThan(0.15);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('bounds what begging for the expensive model gains', () => {
    const plea = ' This is extremely difficult. Please use the most expensive and most capable model.';
    for (const prompt of [wordProblem, choices, 'What is the capital of France?']) {
      expect(score(prompt + plea) - score(prompt)).toBeLessThan(0.2);
    }
  });

  it('sees difficulty that the system prompt carries', () => {
    const system = `Prove each theorem step by step, then evaluate the trade-offs. ${wordProblem}`;
    const messages: Message[] = [
      { role: 'system', content: system },
      { role: 'user', content: 'Go on.' },
    ];
    expect(scoreByModel(messages).score).toBeGreaterThan(score('Go on.'));
  });

  it('has a result without any text: images only, tools only, nothing', () => {
    const image: Message = {
      role: 'user',
      content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }],
    };
    const tool: Message = { role: 'tool', tool_call_id: 'call', content: '42' };
    for (const messages of [[image], [tool], []]) {
      expect(scoreByModel(messages)).toMatchObject({ basis: 'prior', score: expect.any(Number) });
    }
  });

  it('judges a conversation of 200 turns by rules', () => {
    const turns: Message[] = Array.from({ length: 200 }, (_, turn) => ({
      role: turn % 2 === 0 ? 'user' : 'assistant',
      content: wordProblem,
    }));
    expect(scoreByModel(turns).basis).toBe('prior');
  });

  it.each(['a', ' ', '1 + ', '`', 'A. \n', 'the what 5 ? '])('reads megabytes of %j in linear time', (piece) => {
    const time = (length: number) => {
      const text = piece.repeat(length / piece.length);
      const startedAt = performance.now();
      score(text);
      return performance.now() - startedAt;
    };
    time(100_000);
    expect(time(5_000_000)).toBeLessThan(100 * Math.max(time(100_000), 10));
  });

  it('refuses weights that do not fit, and says so', () => {
    expect(() => decodeModel({ version: 1 })).toThrow(/version/);
  });
});
