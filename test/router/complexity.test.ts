import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { scoreByRules } from '../../src/router/complexity/rules.ts';
import { estimatePromptTokens } from '../../src/router/tokens.ts';
import type { Message } from '../../src/router/types.ts';

const user = (content: string): Message[] => [{ role: 'user', content }];
const score = (content: string) => scoreByRules(user(content)).score;

describe('complexity by rules', () => {
  it.each([
    'What is the capital of France?',
    'Translate "good morning" to Spanish.',
    'hi',
    'Give me one word for happy.',
  ])('rates as simple: %s', (prompt) => {
    expect(score(prompt)).toBeLessThan(0.25);
  });

  it.each([
    'Prove step by step that every prime above 3 is of the form 6k±1, then derive the density of such numbers and compare it with the prime number theorem.',
    'Analyze the root cause of this deadlock, compare two designs and justify the trade-offs:\n```ts\nasync function transfer() { await lock(a); }\n```\n- must stay atomic\n- at most 3 retries',
    'Design a distributed rate limiter. Requirements:\n1. exactly once\n2. at most 5 ms\n3. without a single point of failure\nEvaluate the trade-offs and explain why.',
  ])('rates as complex: %s', (prompt) => {
    expect(score(prompt)).toBeGreaterThan(0.5);
  });

  it('gives contributions that add up to the score', () => {
    const { score: total, features } = scoreByRules(
      user('Compare quicksort and mergesort: derive the complexity of each, step by step.'),
    );
    const sum = features.reduce((value, { contribution }) => value + contribution, 0.05);
    expect(total).toBeCloseTo(sum, 3);
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

  it.each([
    ['one letter', 'a'],
    ['spaces', ' '],
    ['digits and operators', '1 + '],
    ['backticks', '`'],
    ['class (', 'class '],
  ])('reads a megabyte of %s in linear time', (_what, piece) => {
    const time = (length: number) => {
      const text = piece.repeat(length / piece.length);
      const startedAt = performance.now();
      score(text);
      estimatePromptTokens(user(text));
      return performance.now() - startedAt;
    };
    time(100_000);
    // Ten times the text may take ten times as long, and some; a quadratic reader would take a hundred times.
    expect(time(1_000_000)).toBeLessThan(40 * Math.max(time(100_000), 10));
  });
});

describe('token estimates', () => {
  it.each([
    'The quick brown fox jumps over the lazy dog, and nobody in the village was surprised by that any more.',
    'function add(a: number, b: number): number {\n  return a + b;\n}\n'.repeat(20),
    '今天天气很好，我们去公园散步吧。'.repeat(10),
    'SELECT id, name FROM customers WHERE created_at > now() - interval 30 day ORDER BY name;'.repeat(5),
  ])('are on the high side, but not by half: %#', async (text) => {
    const { encode } = await import('gpt-tokenizer/encoding/o200k_base');
    const exact = encode(text).length;
    const estimated = estimatePromptTokens(user(text));
    expect(estimated).toBeGreaterThanOrEqual(exact * 0.95);
    expect(estimated).toBeLessThanOrEqual(exact * 1.6 + 10);
  });
});
