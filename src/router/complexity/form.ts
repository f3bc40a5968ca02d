import { featureNames } from './feature-names.ts';

/**
 * The forms of prompt that the model was trained on; each has a head of its own, because what makes a multiple choice
 * hard is not what makes a word problem hard.
 */
export const forms = ['few_choices', 'many_choices', 'story', 'formula'] as const;
export type Form = (typeof forms)[number];

const options = featureNames.indexOf('options');
const latex = featureNames.indexOf('latex');
const numbers = featureNames.indexOf('numbers');
const items = featureNames.indexOf('list_items');
const numberWords = featureNames.indexOf('number_word_words');
const operators = featureNames.indexOf('operators');
const code = featureNames.indexOf('code');
const questions = featureNames.indexOf('question_marks');
const calculates = featureNames.indexOf('calculate_words');
const quantities = featureNames.indexOf('quantity_question_words');
const foreign = featureNames.indexOf('foreign');

const oneMore = Math.log(2);

/** The form of a prompt, or null: it is like nothing that was trained on. */
export function formOf(features: Float64Array): Form | null {
  const of = (index: number) => features[index] ?? 0;
  if (of(foreign) > 0.2) return null;
  if (of(options) >= 2) return of(options) <= 5 ? 'few_choices' : 'many_choices';
  if (of(code) > oneMore) return null;
  if (of(latex) > oneMore || (of(operators) > Math.log(3) && of(calculates) > 0)) return 'formula';
  // Two quantities or more, and a question, by its mark or by its words: what word problems have in common.
  const asks = of(questions) + of(calculates) > 0 || (of(quantities) > 0 && of(operators) === 0);
  return asks && of(items) < Math.log(3) && of(numbers) + of(numberWords) > 0.7 ? 'story' : null;
}
