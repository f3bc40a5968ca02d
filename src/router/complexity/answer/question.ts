import { readArithmetic } from './arithmetic.ts';
import { headAndTail } from './text.ts';
import { Words } from './words.ts';

/** What a checker was trained on: word problems, formulas, multiple choice. `open` is everything else. */
export type Kind = 'story' | 'formula' | 'choice' | 'open';

/** What a question gives and asks for, as far as an answer can be held against it. */
export interface Question {
  kind: Kind;
  text: string;
  lower: string;
  characters: number;
  /** Numbers in digits, in order. */
  numbers: readonly number[];
  words: Words;
  /** Texts of the options, by letter from A. */
  options: readonly string[];
  /** Whether a quantity is what is asked for: "how many", "how long". */
  asksQuantity: boolean;
  /** Whether things are counted: "how many". */
  asksCount: boolean;
}

const quantityPattern = /\bhow (?:many|much|long|far|old|tall|fast)\b/;

/** Longer prompts carry material; what they ask cannot be told from their words. */
const longestStory = 3_000;

export function readQuestion(prompt: string): Question {
  const text = headAndTail(prompt);
  const lower = text.toLowerCase();
  const words = new Words(lower);
  const numbers = readArithmetic(text).numbers;
  const options = readOptions(text);
  return {
    kind: kindOf(text, lower, words, options.length, numbers.length + words.numbers.length),
    text,
    lower,
    characters: prompt.length,
    numbers,
    words,
    options,
    asksQuantity: quantityPattern.test(lower),
    asksCount: /\bhow many\b|\bnumber of\b/.test(lower.slice(-250)),
  };
}

function kindOf(text: string, lower: string, words: Words, options: number, numbers: number): Kind {
  if (options >= 3) return 'choice';
  if (text.length > longestStory || text.includes('```') || !words.has('asks')) return 'open';
  const hasFormula = /\\[a-z[(]|\$[^$\n]{1,200}\$/.test(text) && /[\\^_=+]|\$[a-zA-Z]\$/.test(text);
  if (hasFormula) return 'formula';
  const isStory = quantityPattern.test(lower) || /\bwhat\b|\bfind\b|\bcalculate\b/.test(lower);
  return isStory && words.count('common') >= 2 && numbers >= 2 ? 'story' : 'open';
}

function readOptions(text: string): string[] {
  const options: string[] = [];
  for (const [, letter, option] of text.matchAll(/^[ \t]*\(?([A-P])[.)][ \t]+([^\n]*)/gm)) {
    if (letter?.charCodeAt(0) === 65 + options.length) options.push(option ?? '');
  }
  return options;
}
