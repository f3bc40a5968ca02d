import { asShipped, type Calibration, type Correction } from '../../usage/calibrations.ts';
import { hashShare } from '../hash-share.ts';
import { applyCalibration, type Evidence, fitCalibration, type Head, heads, shareOf, weightOf } from './calibration.ts';
import { suitabilityAt } from './suitability.ts';

/** A weighted mean and how far off it may be. */
export interface Estimate {
  mean: number;
  standardError: number;
}

/** Null: there is no answer to judge by. */
export interface Losses {
  brier: Estimate | null;
  logLoss: Estimate | null;
}

/** How well the predictions of one head fit what was said of the answers, before and after. */
export interface HeadFigures {
  head: Head;
  /** How many say anything about it; a medium model's count for both heads. */
  answers: number;
  /** The same in ratings (see `Evidence.weight`). */
  weight: number;
  /** False: too few, and the head stays as it is. */
  isFitted: boolean;
  before: Losses;
  after: Losses;
  /** By how much the log loss falls, answer by answer: more certain than the difference of two means. */
  logLossGain: Estimate | null;
  correction: Correction;
}

export interface Refit {
  calibration: Calibration;
  figures: HeadFigures[];
  /** By how much the log loss falls over all heads that were fitted. */
  gain: Estimate | null;
}

const folds = 5;
/** Of a head, in ratings: with fewer the ridge decides, and not what was said. */
export const neededWeight = 30;

/**
 * Fits a calibration and says how good it is. "After" is cross-validated: each answer is judged by a fit that did not
 * see it, nor another rating of its request. "Before" is what is in use, which may have seen them all.
 */
export function refit(evidence: readonly Evidence[], current: Calibration): Refit {
  const fitted = heads.filter((head) => weightOf(head, evidence) >= neededWeight);
  const calibration = fitCalibration(evidence, fitted, current);
  const foldOf = ({ requestId }: Evidence) => Math.floor(hashShare(`fold ${requestId}`) * folds);
  const unseen = Array.from({ length: folds }, (_, fold) =>
    fitCalibration(
      evidence.filter((each) => foldOf(each) !== fold),
      fitted,
      current,
    ),
  );
  const judged = evidence.map((each) => ({
    each,
    before: predict(each, current),
    after: predict(each, unseen[foldOf(each)] ?? asShipped),
  }));
  const figures = heads.map((head): HeadFigures => {
    const own = judged.filter(({ each }) => shareOf(head, each) > 0);
    const mean = (loss: (entry: (typeof own)[number]) => number) =>
      estimate(own.map((entry) => ({ value: loss(entry), weight: entry.each.weight * shareOf(head, entry.each) })));
    return {
      head,
      answers: own.length,
      weight: weightOf(head, evidence),
      isFitted: fitted.includes(head),
      before: {
        brier: mean(({ each, before }) => brier(before, each.target)),
        logLoss: mean(({ each, before }) => logLoss(before, each.target)),
      },
      after: {
        brier: mean(({ each, after }) => brier(after, each.target)),
        logLoss: mean(({ each, after }) => logLoss(after, each.target)),
      },
      logLossGain: mean(({ each, before, after }) => logLoss(before, each.target) - logLoss(after, each.target)),
      correction: calibration[head],
    };
  });
  const gain = estimate(
    judged.map(({ each, before, after }) => ({
      value: logLoss(before, each.target) - logLoss(after, each.target),
      weight: each.weight,
    })),
  );
  return { calibration, figures, gain };
}

/** The chance that the answer was good enough, as routing saw it. */
function predict({ predicted, standing }: Evidence, calibration: Calibration): number {
  return suitabilityAt(standing, applyCalibration(predicted, calibration));
}

function brier(predicted: number, target: number): number {
  return (predicted - target) ** 2;
}

/** No prediction is held to be more certain than the ledger can write it. */
function logLoss(predicted: number, target: number): number {
  const bounded = Math.min(0.9995, Math.max(0.0005, predicted));
  return -target * Math.log(bounded) - (1 - target) * Math.log(1 - bounded);
}

function estimate(values: readonly { value: number; weight: number }[]): Estimate | null {
  const total = values.reduce((sum, { weight }) => sum + weight, 0);
  if (total === 0) return null;
  const mean = values.reduce((sum, { value, weight }) => sum + weight * value, 0) / total;
  const spread = values.reduce((sum, { value, weight }) => sum + (weight * (value - mean)) ** 2, 0);
  return { mean, standardError: Math.sqrt(spread) / total };
}
