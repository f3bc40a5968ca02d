import { readArithmetic } from './arithmetic.ts';
import { type Derivation, derive } from './derivation.ts';
import type { Equation } from './equation.ts';
import { type FinalAnswer, findFinal } from './final.ts';
import type { Kind, Question } from './question.ts';
import { type AnswerText, keyOf } from './text.ts';
import { Words } from './words.ts';

/** All that the signs are read from, each part found once. Sets of numbers hold keys (see `keyOf`). */
export interface Evidence {
  /** Of the question, as the answer shows it. */
  kind: Kind;
  question: Question;
  answer: AnswerText;
  words: Words;
  final: FinalAnswer;
  /** As written, repeats included. */
  equations: readonly Equation[];
  wrongSums: number;
  derivation: Derivation;
  /** Numbers of the question. */
  given: ReadonlySet<number>;
  /** Those that the answer does not mention. */
  unmentioned: number;
  /** On the left of a sum, repeats included. */
  operands: readonly number[];
  used: ReadonlySet<number>;
  results: ReadonlySet<number>;
  /** The option that was chosen. */
  chosen: string | undefined;
}

export function gather(question: Question, answer: AnswerText): Evidence {
  const { equations, numbers } = readArithmetic(answer.text);
  const final = findFinal(answer.text);
  const derivation = derive(equations, final.value, question.numbers);
  const given = new Set(question.numbers.map(keyOf));
  const stated = new Set(numbers.map(keyOf));
  const operands = derivation.equations.flatMap((equation) => equation.operands.map(keyOf));
  return {
    kind: kindOf(question, equations.length),
    question,
    answer,
    words: new Words(answer.lower),
    final,
    equations,
    wrongSums: count(equations, (equation) => equation.verdict === 'wrong'),
    derivation,
    given,
    unmentioned: count(given, (value) => !stated.has(value) && !stated.has(value / 100)),
    operands,
    used: new Set(operands),
    results: new Set(derivation.equations.map((equation) => keyOf(equation.result))),
    chosen: final.letter === null ? undefined : question.options[final.letter.charCodeAt(0) - 65],
  };
}

/** "What are 5 things to see in 3 days?" has numbers, but nobody calculates. */
function kindOf({ kind, asksQuantity }: Question, sums: number): Kind {
  return kind === 'story' && !asksQuantity && sums === 0 ? 'open' : kind;
}

export function count<T>(values: Iterable<T>, is: (value: T) => boolean): number {
  let found = 0;
  for (const value of values) if (is(value)) found += 1;
  return found;
}
