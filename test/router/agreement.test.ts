import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { agreement } from '../../src/router/agreement.ts';

describe('the agreement of two answers', () => {
  it.each([
    ['equal', 'Paris.', 'paris', 1],
    ['equal', '**42**', '42', 1],
    ['equal', 'ｆｕｌｌ  width', 'full width', 1],
    ['refusal', "I'm sorry, but I can't help with that.", 'Here is how: first, ...', 0],
    ['refusal', 'I cannot assist with that request.', "Sorry, I can't provide that.", 1],
    ['json', '{"a": 1, "b": [1, 2]}', '```json\n{"b": [1, 2], "a": 1}\n```', 1],
    ['json', '{"a": 1, "b": 2}', '{"a": 1, "b": 3}', 0.5],
    ['json', '{}', '[]', 0],
    ['option', 'The answer is (B).', 'B) because it is the capital', 1],
    ['option', '**Answer: B**', 'The correct answer is C.', 0],
    ['option', 'First A. looks right. The answer is (D).', 'D', 1],
    ['number', '16 - 7 = 9, times two.\n#### 18', 'She makes $18 a day. The answer is 18.', 1],
    ['number', 'The answer is $1,234.50', '1234.5', 1],
    ['number', '\\boxed{7}', 'The result is 7.0', 1],
    ['number', 'It is 42.', 'It is 43.', 0],
    ['words', 'A cat sat here', 'A dog sat here', 0.75],
    ['words', 'The answer is A good idea', 'no', 0],
    ['words', 'Call on 5 May at 10', 'Call on 6 May at 11', 4 / 6],
    ['words', '好的答案', '好的问题', 0.5],
    ['words', '', 'something', 0],
  ] as const)('by %s: %j and %j', (by, one, other, value) => {
    const seen = agreement(one, other);
    expect(seen.by).toBe(by);
    expect(seen.value).toBeCloseTo(value, 2);
  });

  it('does not take an apology for a refusal', () => {
    expect(agreement('I am sorry for your loss. Take care.', 'Sorry for your loss, be kind to yourself.').by).toBe(
      'words',
    );
  });

  it('is between 0 and 1, the same both ways, and whole with itself', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (one, other) => {
        const { value, by } = agreement(one, other);
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThanOrEqual(1);
        expect(agreement(other, one)).toEqual({ value, by });
        expect(agreement(one, one).value).toBe(1);
      }),
    );
  });

  it.each([
    ['one letter', 'a'],
    ['spaces', ' '],
    ['brackets', '['],
    ['nested JSON', '{"a":'],
    ['marks', '*'],
    ['half a sentence', 'the answer is '],
    ['equals signs', '= '],
    ['fences', '```json\n'],
    ['new lines', '\n'],
    ['apologies', 'sorry '],
    ['digits', '1,'],
  ])('is seen at once in five megabytes of %s', (_what, piece) => {
    const long = piece.repeat(5_000_000 / piece.length);
    const startedAt = performance.now();
    agreement(long, `${long}x`);
    agreement(`\`\`\`${long}`, `${long}\`\`\``);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });
});
