import { count, type Evidence } from './evidence.ts';
import { countMatches, isUnfinished, keyOf } from './text.ts';

/** Something about an answer that goes with its being right or wrong. Counts are bounded, lengths are logarithms. */
interface Sign {
  name: string;
  read(evidence: Evidence): number;
}

/** Numbers that anybody may bring in: they are known, not given. */
const common = new Set(
  [0, 1, 2, 3, 4, 5, 7, 10, 12, 24, 30, 31, 52, 60, 100, 365, 1_000, 0.5, 0.25, 0.75, 0.1, 0.01].map(keyOf),
);

/** Whether the sums are right, and what they come to. */
const ofSums: Sign[] = [
  { name: 'sums', read: ({ equations }) => log(equations.length) },
  { name: 'any_wrong_sum', read: ({ wrongSums }) => has(wrongSums > 0) },
  { name: 'wrong_sums', read: ({ wrongSums }) => Math.min(3, wrongSums) },
  { name: 'wrong_sum_share', read: ({ wrongSums, equations }) => wrongSums / Math.max(1, equations.length) },
  { name: 'last_sum_wrong', read: ({ equations }) => has(equations.at(-1)?.verdict === 'wrong') },
  { name: 'fractional_results', read: (evidence) => shareOfResults(evidence, (value) => !Number.isInteger(value)) },
  { name: 'odd_decimals', read: (evidence) => shareOfResults(evidence, (value) => !isWhole(value * 100)) },
  {
    name: 'negative_results',
    read: ({ equations }) =>
      Math.min(
        3,
        count(equations, ({ result }) => result < 0),
      ),
  },
  {
    name: 'divisions',
    read: ({ equations }) => log(equations.reduce((sum, { operators }) => sum + operators.split('/').length - 1, 0)),
  },
];

/** Whether what was given is used, and what was calculated leads somewhere. */
const ofNumbers: Sign[] = [
  { name: 'unused_numbers', read: ({ unmentioned }) => Math.min(8, unmentioned) },
  { name: 'unused_number_share', read: ({ unmentioned, given }) => unmentioned / Math.max(1, given.size) },
  {
    name: 'uncalculated_numbers',
    read: ({ given, used }) =>
      Math.min(
        8,
        count(given, (value) => !used.has(value) && !used.has(value / 100)),
      ),
  },
  { name: 'unused_mentions', read: ({ derivation }) => Math.min(5, derivation.unusedMentions) },
  {
    name: 'unused_spelled',
    read: ({ question, used, results }) =>
      Math.min(
        5,
        count(
          question.words.numbers,
          (value) => value > 1 && !used.has(keyOf(value)) && !used.has(keyOf(1 / value)) && !results.has(keyOf(value)),
        ),
      ),
  },
  {
    name: 'foreign_numbers',
    read: ({ question, operands, given, results }) => {
      const spelled = new Set(question.words.numbers.map(keyOf));
      const isKnown = (value: number) => given.has(value) || spelled.has(value) || common.has(value);
      return Math.min(
        5,
        count(operands, (value) => !isKnown(value) && !results.has(value)),
      );
    },
  },
  { name: 'excess_uses', read: ({ derivation }) => Math.min(5, derivation.excessUses) },
  {
    name: 'unused_results',
    read: ({ results, used, final }) => {
      const last = final.value === null ? null : keyOf(final.value);
      return Math.min(
        5,
        count(results, (value) => !used.has(value) && value !== last),
      );
    },
  },
  {
    name: 'reused_results',
    read: ({ results, used }) => count(results, (value) => used.has(value)) / Math.max(1, results.size),
  },
  {
    name: 'results_per_number',
    read: ({ results, given, question }) => (results.size + 1) / (given.size + question.words.numbers.length + 1),
  },
  { name: 'results_less_numbers', read: ({ results, given }) => Math.max(-8, Math.min(8, results.size - given.size)) },
  { name: 'steps_to_final', read: ({ derivation }) => log(derivation.steps) },
  { name: 'depth_of_final', read: ({ derivation }) => Math.min(8, derivation.depth) },
  { name: 'stray_sums', read: ({ derivation }) => Math.min(6, derivation.stray) },
  { name: 'numbers_in_final', read: ({ derivation }) => derivation.givenShare },
  { name: 'numbers_not_in_final', read: ({ derivation }) => Math.min(6, derivation.givenMissing) },
];

/** Whether the final value can be one. */
const ofFinal: Sign[] = [
  { name: 'final_marked', read: ({ final }) => has(final.mark !== 'none') },
  { name: 'final_missing', read: ({ final }) => has(final.value === null && final.letter === null) },
  { name: 'final_words', read: ({ final }) => log(countMatches(final.text, /\p{L}{2,}/gu)) },
  { name: 'final_whole', read: (evidence) => isFinal(evidence, Number.isInteger) },
  {
    name: 'final_fraction_of_count',
    read: (evidence) => isFinal(evidence, (value) => evidence.question.asksCount && !Number.isInteger(value)),
  },
  { name: 'final_many_decimals', read: (evidence) => isFinal(evidence, (value) => !isWhole(value * 100)) },
  { name: 'final_negative', read: (evidence) => isFinal(evidence, (value) => value < 0) },
  { name: 'final_round', read: (evidence) => isFinal(evidence, (value) => value !== 0 && value % 10 === 0) },
  { name: 'final_given', read: (evidence) => isFinal(evidence, (value) => evidence.given.has(keyOf(value))) },
  { name: 'final_is_result', read: (evidence) => isFinal(evidence, (value) => evidence.results.has(keyOf(value))) },
  {
    name: 'final_is_last_result',
    read: (evidence) =>
      isFinal(evidence, (value) => keyOf(value) === keyOf(evidence.equations.at(-1)?.result ?? Number.NaN)),
  },
];

/** How sure and how complete it sounds. Praise of the answer by itself is none of them. */
const ofWording: Sign[] = [
  { name: 'sentences', read: ({ answer }) => log(countSentences(answer.text)) },
  { name: 'unfinished', read: ({ answer }) => has(isUnfinished(answer.text)) },
  {
    name: 'length_ratio',
    read: ({ answer, question }) => log(answer.characters / (question.characters + 20)),
  },
  { name: 'length_per_sum', read: ({ answer, equations }) => log(answer.characters / (equations.length + 1)) },
  { name: 'hedging', read: ({ words }) => Math.min(5, words.count('hedging')) },
  { name: 'however', read: ({ words }) => has(words.has('however')) },
  { name: 'impossible', read: ({ words }) => has(words.has('impossible')) },
  { name: 'rounding', read: ({ words, answer }) => has(words.has('rounding') || answer.text.includes('≈')) },
  { name: 'because', read: ({ words }) => Math.min(3, words.count('because')) },
  { name: 'total', read: ({ words }) => Math.min(3, words.count('total')) },
  { name: 'correction', read: ({ words }) => has(words.has('correction')) },
];

/** How hard the question is. */
const ofQuestion: Sign[] = [
  { name: 'question_length', read: ({ question }) => log(question.characters) },
  { name: 'question_numbers', read: ({ given }) => Math.min(12, given.size) },
  { name: 'question_spelled', read: ({ question }) => Math.min(8, question.words.numbers.length) },
  { name: 'question_sentences', read: ({ question }) => Math.min(12, countSentences(question.lower)) },
  { name: 'question_fraction', read: ({ question }) => has(question.words.has('fraction')) },
  {
    name: 'question_percent',
    read: ({ question }) => has(question.words.has('percent') || question.text.includes('%')),
  },
  { name: 'question_left', read: ({ question }) => has(question.words.has('left')) },
  { name: 'question_before', read: ({ question }) => has(question.words.has('before')) },
  { name: 'question_time', read: ({ question }) => Math.min(6, question.words.count('time')) },
  {
    name: 'question_difference',
    read: ({ question }) => has(/\bhow (?:many|much) more\b|\bdifference\b/.test(question.lower)),
  },
];

/** Whether the option that was chosen is one, and the reasoning speaks of it. */
const ofChoice: Sign[] = [
  { name: 'options', read: ({ question }) => question.options.length },
  { name: 'letter_missing', read: ({ final }) => has(final.letter === null) },
  { name: 'letter_unknown', read: ({ final, chosen }) => has(final.letter !== null && chosen === undefined) },
  {
    name: 'letter_rank',
    read: ({ final, question }) =>
      final.letter === null ? 0 : (final.letter.charCodeAt(0) - 65) / Math.max(1, question.options.length),
  },
  { name: 'chosen_in_reasoning', read: (evidence) => has(isReasoned(evidence, Number.POSITIVE_INFINITY)) },
  { name: 'chosen_at_end', read: (evidence) => has(isReasoned(evidence, 250)) },
  { name: 'chosen_length', read: ({ chosen }) => log(chosen?.length ?? 0) },
  {
    name: 'none_of_options',
    read: ({ answer }) =>
      has(/\bnone of the\b|\bclosest (?:answer|option)\b|\bnot (?:listed|among)\b/.test(answer.lower)),
  },
  { name: 'length', read: ({ answer }) => log(answer.characters) },
  { name: 'text_after_final', read: ({ answer, final }) => log(answer.text.length - final.at - 25) },
  { name: 'long_words', read: ({ question }) => log(question.words.count('long')) },
  { name: 'formulas', read: ({ question }) => has(/[$\\^]/.test(question.text)) },
  { name: 'answer_formulas', read: ({ answer }) => has(/[\\^]|\$[^\d]/.test(answer.text)) },
  { name: 'looks_up', read: ({ words }) => has(words.has('lookup')) },
  { name: 'speaks_of_options', read: ({ words }) => Math.min(4, words.count('options')) },
];

const general = [...ofSums, ...ofNumbers, ...ofFinal, ...ofWording, ...ofQuestion];

export const signNames: readonly string[] = [...general, ...ofChoice].map((sign) => sign.name);

/** The signs of an answer, in the order of `signNames`. Those of options are 0 where there are none. */
export function readSigns(evidence: Evidence): Float64Array {
  const values = new Float64Array(signNames.length);
  for (const [at, sign] of general.entries()) values[at] = sign.read(evidence);
  if (evidence.kind !== 'choice') return values;
  for (const [at, sign] of ofChoice.entries()) values[general.length + at] = sign.read(evidence);
  return values;
}

function isFinal({ final }: Evidence, is: (value: number) => boolean): number {
  return has(final.value !== null && is(final.value));
}

function shareOfResults({ equations }: Evidence, is: (value: number) => boolean): number {
  return count(equations, ({ result }) => is(result)) / (equations.length + 1);
}

/** Whether the chosen option is spoken of, at most so many characters before the answer is given. */
function isReasoned({ chosen, answer, final }: Evidence, characters: number): boolean {
  const start = chosen?.toLowerCase().slice(0, 40).trim() ?? '';
  return start !== '' && answer.lower.slice(Math.max(0, final.at - characters), final.at).includes(start);
}

function countSentences(text: string): number {
  return countMatches(text, /[.!?](?=\s|$)/g);
}

function has(value: boolean): number {
  return value ? 1 : 0;
}

function log(value: number): number {
  return Math.log1p(Math.max(0, value));
}

function isWhole(value: number): boolean {
  return Math.abs(value - Math.round(value)) <= 1e-6 * Math.max(1, Math.abs(value));
}
