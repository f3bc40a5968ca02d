import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/errors.ts';
import { parseAnswerWeights } from '../../../src/router/complexity/answer/weights.ts';
import { checkAnswer } from '../../../src/router/complexity/answer.ts';

const story =
  'Tom buys 4 boxes of pencils with 12 pencils each. He gives half of them to his sister. How many pencils does Tom have left?';
const good =
  'Tom buys 4 * 12 = 48 pencils.\nHe gives away 48 / 2 = 24.\nHe has 48 - 24 = 24 pencils left.\nThe answer is 24.';
const planet = 'Which planet is the largest one?\nA. Mars\nB. Jupiter\nC. Venus\nD. Earth\nAnswer:';
const right = (prompt: string, answer: string) => checkAnswer(prompt, answer).right;
const names = (prompt: string, answer: string) => checkAnswer(prompt, answer).signs.map(({ name }) => name);

describe('the check of an answer', () => {
  it('trusts a calculation that holds and uses what was given', () => {
    const check = checkAnswer(story, good);
    expect(check).toMatchObject({ basis: 'trained', kind: 'story' });
    expect(check.right).toBeGreaterThan(0.85);
  });

  it('sees a slip in the arithmetic', () => {
    const slip = good.replaceAll('48', '46').replaceAll('24', '23');
    expect(right(story, slip)).toBeLessThan(0.5);
    expect(names(story, slip)[0]).toBe('any_wrong_sum');
  });

  it('sees that a number of the question was not used', () => {
    const short = 'He gives half of 12 away: 12 / 2 = 6. The answer is 6.';
    expect(right(story, short)).toBeLessThan(right(story, good) - 0.05);
  });

  it.each([
    ['is empty', ''],
    ['is blank', ' \n\t '],
    ['refuses', "I'm sorry, but I can't help with that."],
    ['refuses with a curly apostrophe', 'I’m sorry, but I can’t help with that.'],
    [
      'says that it cannot be known',
      'However, it cannot be determined: not enough is given. Perhaps it might be 12.5.',
    ],
    ['calculates nothing', 'pencils, pencils, pencils'],
  ])('trusts no answer that %s', (_what, answer) => {
    expect(right(story, answer)).toBeLessThan(0.25);
  });

  it('trusts an answer less that was cut off', () => {
    expect(right(story, good.slice(0, 60))).toBeLessThan(right(story, good) - 0.1);
  });

  it('trusts an answer less that hedges', () => {
    expect(right(story, `${good} However, it seems unclear and I assume that it might be more.`)).toBeLessThan(
      right(story, good) - 0.1,
    );
  });

  it('gives an answer nothing for praising itself', () => {
    const praise = ' This is definitely correct, I am absolutely certain. Trust me, this is 100% right!';
    expect(right(story, good + praise)).toBeLessThan(right(story, good) + 0.01);
    expect(right('Who wrote Faust?', `Goethe.${praise}`)).toBeLessThanOrEqual(right('Who wrote Faust?', 'Goethe.'));
  });

  it('knows an option that exists from one that does not', () => {
    const answer = 'Jupiter is the largest planet of all, by mass and by volume. The answer is (B).';
    expect(checkAnswer(planet, answer)).toMatchObject({ basis: 'trained', kind: 'choice' });
    expect(right(planet, answer)).toBeGreaterThan(0.6);
    expect(right(planet, answer.replace('(B)', '(G)'))).toBeLessThan(right(planet, answer) - 0.1);
    expect(right(planet, 'It is hard to tell.')).toBeLessThan(right(planet, answer) - 0.2);
  });

  it('says so when it has nothing but the form to go by', () => {
    for (const prompt of ['What is the capital of France?', 'Write a poem about autumn.', 'ما هي عاصمة فرنسا؟']) {
      expect(checkAnswer(prompt, 'Here you are.')).toMatchObject({ basis: 'prior', kind: 'open', signs: [] });
      expect(right(prompt, 'Here you are.')).toBeCloseTo(0.75, 9);
    }
  });

  it.each([
    'What are 5 things to do in Rome in 3 days?',
    'Design a rate limiter. How would you handle 100 requests per second in 3 regions, and what are the trade-offs?',
    'Summarize this article about 3 wars and 20 treaties. What happened?',
  ])('takes a prompt with numbers for no word problem when nothing is calculated: %s', (prompt) => {
    expect(checkAnswer(prompt, 'Start with the oldest part and take your time.').basis).toBe('prior');
  });

  it.each([
    ['JSON', 'Return only JSON with name and age.', '{"name":"Ann","age":3}', 'Ann is three years old.'],
    ['fenced JSON', 'Respond with valid JSON.', '```json\n{"name":"Ann"}\n```', '```json\n{"name":"Ann"\n```'],
    [
      'code',
      'Write a Python function that reverses a string.',
      'def f(s):\n    return s[::-1]',
      'Go through it backwards.',
    ],
    ['a regular expression', 'Write a regex that matches digits.', '\\d+', 'Match all of the digits.'],
    ['one word', 'Give me one word for happy.', 'Joyful', `There are many words for it, ${'and more '.repeat(8)}.`],
    ['yes or no', 'Answer yes or no: is water wet?', 'Yes.', 'Maybe it depends.'],
  ])('sees whether %s was given that was asked for', (_what, prompt, given, missing) => {
    expect(right(prompt, given)).toBeCloseTo(0.75, 6);
    expect(right(prompt, missing)).toBeLessThan(0.5);
  });

  it('trusts JSON among other text half as much', () => {
    const [whole, mixed] = ['{"a":1}', 'Here it is: {"a":1}. Anything else?'].map((text) =>
      right('Reply in JSON.', text),
    );
    expect(mixed).toBeLessThan(whole ?? 0);
    expect(mixed).toBeGreaterThan(right('Reply in JSON.', 'Here it is.'));
  });

  it('sees an answer that runs in circles, and one that only repeats the prompt', () => {
    expect(
      right('Write a poem about the sea.', 'the sea, I love the sea and all of it and then '.repeat(30)),
    ).toBeLessThan(0.3);
    expect(right(story, story)).toBeLessThan(0.1);
  });

  it('takes an apology that was asked for as no refusal', () => {
    const letter = "Dear Ms Lee,\nI'm sorry for the delay of your order. It leaves today.\nKind regards";
    expect(names('Write an apology to a customer.', letter)).not.toContain('refusal');
  });

  it('weighs every sign once', () => {
    const answer =
      'However, there is not enough information, so 4 * 12 = 44, and that is all that can be said of it for';
    const found = names(story, answer);
    expect(found).toContain('hedging');
    expect(new Set(found).size).toBe(found.length);
  });

  it('takes "not enough" for a doubt, and "enough" for none', () => {
    const doubts = (answer: string) =>
      checkAnswer('Can I go?', answer).signs.find(({ name }) => name === 'hedging')?.value;
    expect(doubts('There is not enough time for it.')).toBeCloseTo(0.2, 6);
    expect(doubts('There is enough time for it.')).toBeUndefined();
  });

  it('gives contributions that add up to the log odds', () => {
    for (const answer of [good, '', 'The answer is 12.', 'However, 4 * 12 = 44.']) {
      const { right: chance, base, signs } = checkAnswer(story, answer);
      const sum = signs.reduce((total, { contribution }) => total + contribution, base);
      expect(Math.log(chance / (1 - chance))).toBeCloseTo(sum, 6);
    }
  });

  it('stays between 0 and 1, says the same twice, and never fails', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 3_000 }),
      fc
        .array(
          fc.constantFrom(
            '1',
            '2.5',
            '=',
            '+',
            '*',
            '(',
            ')',
            '<<',
            '>>',
            ' of ',
            '%',
            '\n',
            'x',
            ' is ',
            '\\frac{1}{2}',
            'A. ',
            '"answer": ',
            '#### ',
            'how many ',
          ),
          { maxLength: 400 },
        )
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, text, (prompt, answer) => {
        const check = checkAnswer(prompt, answer);
        expect(check.right).toBeGreaterThanOrEqual(0);
        expect(check.right).toBeLessThanOrEqual(1);
        expect(checkAnswer(prompt, answer)).toEqual(check);
      }),
    );
  });

  it.each([
    'a',
    ' ',
    '\n',
    '1',
    '1 ',
    '1+1=2 ',
    '(',
    '<<',
    '=',
    '"answer": ',
    '\\frac{1}{',
    '```',
    'A. x\n',
    '{',
    'not ',
    '\u0000\ud800',
    'مرحبا ',
  ])('reads megabytes of %j as fast as what it keeps of them', (piece) => {
    const time = (length: number) => {
      const text = Buffer.from(piece.repeat(length / piece.length)).toString();
      const startedAt = performance.now();
      checkAnswer(story, text);
      checkAnswer(text, text);
      return performance.now() - startedAt;
    };
    time(10_000);
    expect(time(5_000_000)).toBeLessThan(40 * time(10_000) + 500);
  });

  it('refuses weights that it does not understand', () => {
    const head = { right_rate: 0.7, base: 1, signs: { no_such_sign: [0, 1, 1] } };
    expect(() => parseAnswerWeights({ version: 1, heads: { story: head } })).toThrow(/no_such_sign/);
    expect(() => parseAnswerWeights({ version: 9, heads: {} })).toThrow(AppError);
  });

  it('judges by the form alone when a kind was not trained', () => {
    expect(checkAnswer(story, good, parseAnswerWeights({ version: 1, heads: {} })).basis).toBe('prior');
  });
});
