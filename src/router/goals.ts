import type { Prediction } from '../usage/observations.ts';
import { route, type Sized } from './route.ts';
import { candidateName, needsNothing, type QualityGoal, type Snapshot, type Suffices } from './types.ts';

/** Fewer recent requests than this say too little about those to come. */
export const neededRequests = 50;
/** What a good answer can be worth: from a hundredth of a cent to ten dollars, in steps of 15 %. */
const worths = Array.from({ length: 84 }, (_, step) => 1e5 * 1.15 ** step);

/** A request of late, as far as routing would see it again. */
export type PastRequest = Pick<Prediction, 'score' | 'inputTokens'> & { suffices: Suffices };

/**
 * The smallest worth of a good answer under which these requests would have been answered as well as the strongest
 * models answer them, times `quality`; and what that saves. Chances are those that the scorer predicts. Pure.
 */
export function reachQuality(quality: number, past: readonly PastRequest[], snapshot: Snapshot): QualityGoal {
  const requests = past.map((request) => optionsFor(request, snapshot)).filter((options) => options.length > 0);
  const none = { asked: quality, requests: requests.length, answerNanoUsd: null, expected: null, saving: null };
  if (requests.length < neededRequests) return none;
  const strongest = sumOf(requests.map(strongestOf));
  for (const answerNanoUsd of worths) {
    const chosen = sumOf(requests.map((options) => bestAt(answerNanoUsd, options)));
    if (chosen.suitability < quality * strongest.suitability && answerNanoUsd !== worths.at(-1)) continue;
    const expected = chosen.suitability / strongest.suitability;
    const saving = strongest.costNanoUsd === 0 ? null : 1 - chosen.costNanoUsd / strongest.costNanoUsd;
    return { ...none, answerNanoUsd, expected, saving };
  }
  return none;
}

/** The score below which this share of the requests lies; null: there are too few to tell. */
export function scoreAtShare(share: number, past: readonly PastRequest[]): number | null {
  if (past.length < neededRequests) return null;
  const scores = past.map(({ score }) => score).sort((one, other) => one - other);
  return scores[Math.floor(share * scores.length)] ?? Number.POSITIVE_INFINITY;
}

interface Option {
  suitability: number;
  costNanoUsd: number;
  /** What speaks against it besides: its price and the waiting, as routing weighs them. */
  againstNanoUsd: number;
}

/** Who could answer it, each with what its answer is likely to be worth and what it costs. */
function optionsFor({ score, suffices, inputTokens }: PastRequest, snapshot: Snapshot): Option[] {
  const sized: Sized = {
    request: { operation: 'chat', priority: 'balanced', backend: 'auto', choices: 1, needs: needsNothing },
    complexity: { score, suffices, features: [] },
    inputTokens: inputTokens ?? 0,
  };
  const valuesAt = (answerNanoUsd: number) =>
    route(sized, { ...snapshot, dedicatedFromScore: undefined, quality: { ...unit, answerNanoUsd } }).candidates;
  // A value is what the answer is likely to be worth, less all that speaks against it: two of them tell both.
  const against = new Map(valuesAt(0).map((candidate) => [candidateName(candidate), -candidate.valueNanoUsd]));
  return valuesAt(unitNanoUsd).flatMap((candidate) => {
    const { verdict, predictedCostNanoUsd: costNanoUsd, valueNanoUsd } = candidate;
    const againstNanoUsd = against.get(candidateName(candidate)) ?? 0;
    if (verdict === 'excluded' || costNanoUsd === null) return [];
    return [{ suitability: (valueNanoUsd + againstNanoUsd) / unitNanoUsd, costNanoUsd, againstNanoUsd }];
  });
}

const unitNanoUsd = 1e12;
const unit: QualityGoal = { asked: 1, requests: 0, answerNanoUsd: 0, expected: null, saving: null };

function strongestOf(options: readonly Option[]): Option {
  return options.reduce((one, other) => (other.suitability > one.suitability ? other : one));
}

function bestAt(answerNanoUsd: number, options: readonly Option[]): Option {
  const value = (option: Option) => option.suitability * answerNanoUsd - option.againstNanoUsd;
  return options.reduce((one, other) => (value(other) > value(one) ? other : one));
}

function sumOf(options: readonly Option[]): { suitability: number; costNanoUsd: number } {
  const sum = { suitability: 0, costNanoUsd: 0 };
  for (const { suitability, costNanoUsd } of options) {
    sum.suitability += suitability;
    sum.costNanoUsd += costNanoUsd;
  }
  return sum;
}
