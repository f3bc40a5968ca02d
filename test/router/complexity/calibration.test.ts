import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  applyCalibration,
  calibrated,
  type Evidence,
  fitCalibration,
  toEvidence,
} from '../../../src/router/complexity/calibration.ts';
import { neededWeight, refit } from '../../../src/router/complexity/calibration-figures.ts';
import { chance, logOdds } from '../../../src/router/complexity/prior.ts';
import { hashShare } from '../../../src/router/hash-share.ts';
import { asShipped, type Calibration } from '../../../src/usage/calibrations.ts';

const share = fc.double({ min: 0, max: 1, noNaN: true });
const anyEvidence: fc.Arbitrary<Evidence> = fc.record({
  requestId: fc.string(),
  predicted: fc.record({ small: share, large: share }),
  standing: fc.constantFrom(0, 0.375, 1),
  target: share,
  weight: fc.constantFrom(1, 0.25),
});
const anyCalibration = fc.array(anyEvidence, { maxLength: 60 }).map((evidence) => fitCalibration(evidence));

/** Evenly spread predictions, each with the outcome that `truth` says, as often as it says. */
function evidenceOf(count: number, truth: (small: number) => number, about: Partial<Evidence> = {}): Evidence[] {
  return Array.from({ length: count }, (_, index) => {
    const small = 0.05 + (0.9 * (index % 19)) / 18;
    const requestId = `request-${index}`;
    return {
      requestId,
      predicted: { small, large: 0.97 },
      standing: 0,
      target: hashShare(`truth ${requestId}`) < truth(small) ? 1 : 0,
      weight: 1,
      ...about,
    };
  });
}

describe('the fit', () => {
  it('changes nothing where the predictions are right', () => {
    const exact = fc.array(anyEvidence, { maxLength: 60 }).map((all) =>
      all.map((each) => {
        const { small, large } = clamp(each.predicted);
        const target = chance((1 - each.standing) * logOdds(small) + each.standing * logOdds(large));
        return { ...each, target };
      }),
    );
    fc.assert(
      fc.property(exact, (evidence) => {
        const { small, large } = fitCalibration(evidence);
        for (const { slope, offset } of [small, large]) {
          expect(slope).toBeCloseTo(1, 6);
          expect(offset).toBeCloseTo(0, 6);
        }
      }),
    );
  });

  it('is never something that is no number, nor turns the order of prompts around', () => {
    fc.assert(
      fc.property(anyCalibration, share, share, share, (calibration, one, other, large) => {
        const [low, high] = [Math.min(one, other), Math.max(one, other)];
        const [lower, higher] = [low, high].map((small) => applyCalibration({ small, large }, calibration));
        for (const value of [lower?.small, lower?.large, higher?.small, higher?.large]) {
          expect(value).toBeGreaterThanOrEqual(0);
          expect(value).toBeLessThanOrEqual(1);
        }
        expect(higher?.small).toBeGreaterThanOrEqual(lower?.small ?? 1);
        expect(higher?.large).toBeGreaterThanOrEqual(lower?.large ?? 1);
      }),
    );
  });

  it('finds the error of predictions that are all too high', () => {
    const { small, large } = fitCalibration(evidenceOf(4_000, (value) => chance(logOdds(value) - 1)));
    expect(small.offset).toBeGreaterThan(-1.15);
    expect(small.offset).toBeLessThan(-0.85);
    expect(small.slope).toBeGreaterThan(0.85);
    expect(small.slope).toBeLessThan(1.15);
    expect(large).toEqual({ slope: 1, offset: 0 });
  });

  it('finds that predictions say more than they know', () => {
    const { small } = fitCalibration(evidenceOf(4_000, (value) => chance(0.5 * logOdds(value))));
    expect(small.slope).toBeGreaterThan(0.4);
    expect(small.slope).toBeLessThan(0.6);
  });

  it('moves little by few answers', () => {
    const { small } = fitCalibration(evidenceOf(4, () => 0));
    expect(small.offset).toBeLessThan(0);
    expect(small.offset).toBeGreaterThan(-0.5);
    expect(Math.abs(small.slope - 1)).toBeLessThan(0.4);
  });

  it('does not let predictions that are the wrong way round turn the order', () => {
    const { small } = fitCalibration(evidenceOf(2_000, (value) => 1 - value));
    expect(small.slope).toBe(0.2);
  });

  it('learns of both heads from a medium model, of the small one more', () => {
    const { small, large } = fitCalibration(evidenceOf(200, () => 0, { standing: 0.375 }));
    expect(small.offset).toBeLessThan(large.offset);
    expect(large.offset).toBeLessThan(0);
  });

  it('leaves a head alone that is not to be fitted', () => {
    const current: Calibration = { small: { slope: 1.5, offset: 0.5 }, large: { slope: 2, offset: -1 } };
    const fitted = fitCalibration(
      evidenceOf(200, () => 0.5),
      ['small'],
      current,
    );
    expect(fitted.large).toEqual(current.large);
    expect(fitted.small).not.toEqual(current.small);
  });

  it('takes an agreement in words for less than a rating, and the rest for what it is', () => {
    const observed = {
      requestId: 'r',
      tier: 'medium',
      predicted: { small: 0.5, large: 0.9 },
      principalId: null,
    } as const;
    expect(toEvidence({ ...observed, by: 'rating', value: 0.25 })).toMatchObject({ target: 0.25, weight: 1 });
    expect(toEvidence({ ...observed, by: 'number', value: 1 })).toMatchObject({
      target: 1,
      weight: 1,
      standing: 0.375,
    });
    const words = [0.1, 0.35, 0.7].map((value) => toEvidence({ ...observed, by: 'words', value }));
    expect(words.map(({ weight }) => weight)).toEqual([0.25, 0.25, 0.25]);
    expect(words[0]?.target).toBe(0);
    expect(words[1]?.target).toBeCloseTo(0.5);
    expect(words[2]?.target).toBe(1);
  });
});

describe('a calibration', () => {
  it('as shipped leaves predictions as they are, to the bit', () => {
    const suffices = { small: 0.1 + 0.2, large: 0.7 };
    expect(applyCalibration(suffices, asShipped)).toBe(suffices);
  });

  it('never expects less of a large model than of a small one', () => {
    const calibration = { small: { slope: 1, offset: 3 }, large: { slope: 1, offset: -3 } };
    const { small, large } = applyCalibration({ small: 0.5, large: 0.5 }, calibration);
    expect(large).toBe(small);
  });

  it('is read anew for every prompt, and what was predicted stays visible', () => {
    const inUse = { calibration: asShipped as Calibration };
    const suffices = { small: 0.5, large: 0.9 };
    const scorer = calibrated(() => ({ score: 0.4, suffices, features: [] }), inUse);
    expect(scorer([])).toEqual({ score: 0.4, suffices, predicted: suffices, features: [] });
    inUse.calibration = { small: { slope: 1, offset: -1 }, large: { slope: 1, offset: 0 } };
    expect(scorer([]).suffices.small).toBeCloseTo(chance(-1));
    expect(scorer([]).predicted).toEqual(suffices);
  });
});

describe('the figures', () => {
  it('show a gain on answers that the fit had not seen where the predictions are off', () => {
    const { figures, gain } = refit(
      evidenceOf(400, (small) => chance(logOdds(small) - 1.5)),
      asShipped,
    );
    const [small, large] = figures;
    expect(small).toMatchObject({ head: 'small', answers: 400, isFitted: true });
    expect(small?.after.brier?.mean).toBeLessThan(small?.before.brier?.mean ?? 0);
    expect(gain?.mean).toBeGreaterThan(2 * (gain?.standardError ?? 1));
    expect(large).toMatchObject({ answers: 0, isFitted: false, before: { brier: null, logLoss: null } });
  });

  it('show none where there is nothing to learn', () => {
    const gains = Array.from({ length: 20 }, (_, round) => {
      const evidence = evidenceOf(100, (small) => small).map((each, index) => ({
        ...each,
        requestId: `round-${round}-${index}`,
        target: hashShare(`${round}/${index}`) < each.predicted.small ? 1 : 0,
      }));
      return refit(evidence, asShipped).gain?.mean ?? Number.NaN;
    });
    const mean = gains.reduce((sum, gain) => sum + gain, 0) / gains.length;
    expect(mean).toBeLessThan(0.002);
  });

  it('are no better by many ratings of the same request, for those are unseen together', () => {
    const evidence = Array.from({ length: 100 }, (_, index) => ({
      requestId: `request-${index % 5}`,
      predicted: { small: 0.5, large: 0.9 },
      standing: 0,
      target: index % 5 === 0 ? 1 : 0,
      weight: 1,
    }));
    const together = refit(evidence, asShipped);
    const apart = refit(
      evidence.map((each, index) => ({ ...each, requestId: `request-${index}` })),
      asShipped,
    );
    expect(together.gain?.mean).toBeLessThan(apart.gain?.mean ?? 0);
  });

  it('give standard errors that shrink with the number of answers', () => {
    const errorOf = (count: number) =>
      refit(
        evidenceOf(count, (small) => small),
        asShipped,
      ).figures[0]?.before.brier?.standardError ?? 0;
    expect(errorOf(1_600) / errorOf(400)).toBeCloseTo(0.5, 1);
  });

  it('leave a head with too few answers as it is', () => {
    const few = evidenceOf(neededWeight - 1, () => 0);
    const { calibration, figures } = refit(few, asShipped);
    expect(calibration).toEqual(asShipped);
    expect(figures.every(({ isFitted }) => !isFitted)).toBe(true);
    expect(refit([...few, ...evidenceOf(1, () => 0)], asShipped).figures[0]?.isFitted).toBe(true);
  });
});

function clamp({ small, large }: Evidence['predicted']) {
  const bounded = (value: number) => Math.min(0.9995, Math.max(0.0005, value));
  return { small: bounded(small), large: bounded(large) };
}
