import { asShipped, type Calibration, type Correction } from '../../usage/calibrations.ts';
import type { Observation } from '../../usage/observations.ts';
import type { Scorer, Suffices } from '../types.ts';
import { chance, logOdds } from './prior.ts';
import { minimize } from './ridge.ts';
import { standing } from './suitability.ts';

export const heads = ['small', 'large'] as const;
export type Head = (typeof heads)[number];

/** An answer, as the fit uses it. */
export interface Evidence {
  requestId: string;
  predicted: Suffices;
  /** Where the model that answered stands between the small (0) and the large one (1). */
  standing: number;
  /** Whether the answer was good enough, 0..1. */
  target: number;
  /** A rating counts 1. */
  weight: number;
}

/**
 * Two good answers in free words share about half of them, two answers to different questions about a seventh, so that
 * is what 1 and 0 mean there; and such an agreement says little, so it counts a quarter. Judgement, not measured.
 */
const sharedWords = { unrelated: 0.15, agreeing: 0.55, weight: 0.25 };

export function toEvidence({ requestId, tier, predicted, by, value }: Observation): Evidence {
  const isWords = by === 'words';
  const { unrelated, agreeing } = sharedWords;
  return {
    requestId,
    predicted,
    standing: standing[tier],
    target: isWords ? Math.min(1, Math.max(0, (value - unrelated) / (agreeing - unrelated))) : value,
    weight: isWords ? sharedWords.weight : 1,
  };
}

/** How much of an answer's evidence is about a head: a medium model's is about both. */
export function shareOf(head: Head, evidence: Pick<Evidence, 'standing'>): number {
  return head === 'large' ? evidence.standing : 1 - evidence.standing;
}

/** How much there is about a head, in ratings of answers. */
export function weightOf(head: Head, evidence: readonly Evidence[]): number {
  return evidence.reduce((sum, each) => sum + each.weight * shareOf(head, each), 0);
}

/** The ledger keeps thousandths: what it calls 0 or 1 is not more certain than that. */
const leastChance = 0.0005;

function evidentLogOdds(predicted: number): number {
  return logOdds(Math.min(1 - leastChance, Math.max(leastChance, predicted)));
}

/** What holds the correction where it is: as much as these numbers of answers at 1 to 1, four each, would move it. */
const ridge = { slope: 8, offset: 4 };
/** A correction never turns the order of prompts around, nor makes a step of it. */
const slopes = { least: 0.2, most: 4 };

/**
 * The correction (Platt's: slope and offset on the log odds) under which the evidence is most likely, held towards
 * none at all by a ridge, so that few answers move little. Heads that are not named stay as they are in `current`. A
 * medium model's answer is evidence about the log odds between those of both heads, which is where routing sees it.
 */
export function fitCalibration(
  evidence: readonly Evidence[],
  fitted: readonly Head[] = heads,
  current: Calibration = asShipped,
): Calibration {
  const rows = evidence.map((each) => ({
    features: heads.flatMap((head) => [
      shareOf(head, each) * evidentLogOdds(each.predicted[head]),
      shareOf(head, each),
    ]),
    target: each.target,
    weight: each.weight,
  }));
  const bound = heads.flatMap((head) => {
    const { slope, offset } = current[head];
    const free = fitted.includes(head);
    return [
      { start: free ? 1 : slope, towards: 1, strength: ridge.slope, free, ...slopes },
      { start: free ? 0 : offset, towards: 0, strength: ridge.offset, free, least: -20, most: 20 },
    ];
  });
  const [smallSlope = 1, smallOffset = 0, largeSlope = 1, largeOffset = 0] = minimize(rows, bound);
  return {
    small: { slope: smallSlope, offset: smallOffset },
    large: { slope: largeSlope, offset: largeOffset },
  };
}

/** Predictions as corrected. A large model is never thought to do worse than a small one on the same prompt. */
export function applyCalibration(suffices: Suffices, calibration: Calibration): Suffices {
  if (calibration === asShipped) return suffices;
  const small = correct(suffices.small, calibration.small);
  return { small, large: Math.max(small, correct(suffices.large, calibration.large)) };
}

function correct(predicted: number, { slope, offset }: Correction): number {
  return chance(slope * logOdds(predicted) + offset);
}

/** A scorer whose predictions are corrected by what is in use; the ledger keeps them as they were (`predicted`). */
export function calibrated(scorer: Scorer, inUse: { readonly calibration: Calibration }): Scorer {
  return (messages) => {
    const complexity = scorer(messages);
    const { suffices } = complexity;
    return { ...complexity, suffices: applyCalibration(suffices, inUse.calibration), predicted: suffices };
  };
}
