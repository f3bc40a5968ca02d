import type { Suffices } from '../types.ts';

/** How strong a model is on the scale of the score: at a score equal to its strength half of its answers will do. */
const strength = { small: 0.6, large: 1 };
const steepness = 14;

/** What a score says of the chances when nothing was learned: judgement, not training. */
export function sufficesAt(score: number): Suffices {
  return { small: chance(steepness * (strength.small - score)), large: chance(steepness * (strength.large - score)) };
}

/** A probability from its log odds. */
export function chance(logOdds: number): number {
  return 1 / (1 + Math.exp(-logOdds));
}

/** Log odds of a probability, bounded so that certainty stays finite. */
export function logOdds(probability: number): number {
  const bounded = Math.min(1 - 1e-9, Math.max(1e-9, probability));
  return Math.log(bounded / (1 - bounded));
}
