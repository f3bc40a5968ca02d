import { featureNames } from './feature-names.ts';

/**
 * How many steps a word problem asks for, by judgement: quantities, changes, comparisons by multiples, conditions and
 * length, each divided by its usual spread. It is what the model leans on where it has seen few examples.
 */
const effortWeights: readonly [string, number][] = [
  ['words', 2.5],
  ['distinct_numbers', 1.2],
  ['operators', 1.2],
  ['multiple_words', 2],
  ['change_words', 0.8],
  ['time_words', 0.8],
  ['condition_words', 1],
  ['rate_words', 0.6],
];
const effortAt = effortWeights.map(([name]) => featureNames.indexOf(name));

export function effortOf(features: Float64Array): number {
  let effort = 0;
  for (let at = 0; at < effortAt.length; at += 1) {
    effort += (features[effortAt[at] ?? 0] ?? 0) * (effortWeights[at]?.[1] ?? 0);
  }
  return effort;
}
