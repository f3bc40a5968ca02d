import { classNames } from './lexicon.ts';

/**
 * Numbers that describe a prompt. Counts go in as ln(1 + count): the step from one to two matters more than the step
 * from ten to eleven, and one huge count cannot outweigh all else.
 */
export const shapeNames = [
  'characters', // the whole prompt, also what is not read
  'words',
  'sentences',
  'lines',
  'word_length', // mean characters
  'long_words', // share of words with 9 letters or more
  'sentence_length', // words per sentence
  'repetition', // 1 - distinct words / words
  'names', // capitalized words inside sentences
  'capitals', // words in capitals only
  'numbers',
  'distinct_numbers',
  'largest_number', // digits of it
  'decimals',
  'operators', // + * / = ^ < > | ~ and their Unicode kin
  'latex', // \commands and $...$
  'braces', // { } [ ] _ ;
  'percent_signs',
  'money_signs',
  'quotes',
  'parentheses',
  'foreign', // share of characters beyond ASCII
  'question_marks',
  'blank', // ____
  'code', // fences, indented lines, arrows
  'list_items', // bullets and numbered lines
  'options', // lettered lines
  'option_words', // mean words of one
  'option_spread', // longest less shortest
  'option_numbers', // share of options with numbers
  'stem_words', // words before the options
  'stem_open', // the stem ends without a mark
  'roman', // I, II, III as statements
  'option_all', // all, none, both of the above
  'option_repeats', // share of option words that the stem or another option has
  'early_numbers', // share of the numbers in the first half
  'last_question', // words of the last question
  'effort', // steps that a word problem asks for: see effortOf
] as const;

export const featureNames: readonly string[] = [
  ...shapeNames,
  ...classNames.map((name) => `${name}_words`),
  ...classNames.map((name) => `${name}_share`),
];
