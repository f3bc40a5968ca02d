import type { Complexity, Feature, Message, Scorer } from '../types.ts';
import { featureNames } from './feature-names.ts';
import { columnOf, featureTotal, type Model } from './model.ts';
import { chance, logOdds, sufficesAt } from './prior.ts';
import { scoreByRules } from './rules.ts';
import { opinionOf } from './trained.ts';
import { viewOf } from './view.ts';
import { shippedModel } from './weights.ts';

/** A prompt of average gain scores one half; this many points of gain more are one step in log odds. */
const gainAtHalf = 0.13;
const gainPerStep = 0.1;
/** Fewer known words than this: another language, or noise. */
const leastKnown = 0.35;
/** Contributions (log odds) below this are not worth a line. */
const leastContribution = 0.02;
/** The share of the prior that is length: it orders what the rules rate alike. */
const lengthShare = 0.02;

/** Rates with the shipped weights. */
export const scoreByModel: Scorer = (messages) => rate(shippedModel(), messages);

/** Rates with the given weights: for benchmarks and calibration. */
export function scorerOf(model: Model): Scorer {
  return (messages) => rate(model, messages);
}

/**
 * `score` = chance((expected gain - gainAtHalf) / gainPerStep): strictly rising in the gain, so no two gains tie.
 * The contributions are in log odds and, with `base`, add up to those of the score, but for the small ones left out.
 */
function rate(model: Model, messages: readonly Message[]): Complexity {
  const { text, characters, turns } = viewOf(messages);
  const opinion = opinionOf(model, text, characters);
  const { form, known, topic } = opinion;
  if (form === null || turns > 2 || known < leastKnown) return rateByPrior(messages, characters);
  const column = columnOf(form, 'gain');
  const features: Feature[] = [
    { name: 'base', value: 1, contribution: ((model.bias[column] ?? 0) - gainAtHalf) / gainPerStep },
    { name: 'topic_words', value: known, contribution: topic.words / gainPerStep },
    { name: 'word_pieces', value: 1, contribution: topic.pieces / gainPerStep },
  ];
  for (let feature = 0; feature < featureNames.length; feature += 1) {
    const contribution = featureTotal(model, opinion.features, column, feature) / gainPerStep;
    if (Math.abs(contribution) < leastContribution) continue;
    features.push({ name: featureNames[feature] ?? '', value: opinion.features[feature] ?? 0, contribution });
  }
  const small = bound(opinion.small);
  return {
    score: chance((opinion.gain - gainAtHalf) / gainPerStep),
    suffices: { small, large: bound(small + Math.max(0, opinion.gain)) },
    features,
    basis: 'trained',
    gain: opinion.gain,
  };
}

function rateByPrior(messages: readonly Message[], characters: number): Complexity {
  const byRules = scoreByRules(messages);
  const length = characters / (characters + 2_000);
  const score = byRules.score * (1 - lengthShare) + length * lengthShare;
  return { ...byRules, score, basis: 'prior' };
}

/** Nothing is certain. */
function bound(probability: number): number {
  return Math.min(0.99, Math.max(0.01, probability));
}

/** The same prompt, had it scored otherwise: to say what would lead to another choice. */
export function atScore(complexity: Complexity, score: number): Complexity {
  if (complexity.basis !== 'trained') return { ...complexity, score, suffices: sufficesAt(score) };
  const gain = gainAtHalf + gainPerStep * logOdds(score);
  const { large } = complexity.suffices;
  return { ...complexity, score, suffices: { small: bound(large - Math.max(0, gain)), large } };
}
