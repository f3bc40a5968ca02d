// Training of the answer checker: one ridge logistic regression per kind of question, calibrated by cross-validation.
import { gather } from '../../../dist/router/complexity/answer/evidence.js';
import { readQuestion } from '../../../dist/router/complexity/answer/question.js';
import { readSigns, signNames } from '../../../dist/router/complexity/answer/signs.js';
import { viewAnswer } from '../../../dist/router/complexity/answer/text.js';
import { furthest } from '../../../dist/router/complexity/answer/weights.js';
import { fitLogistic, predict } from './logistic.mjs';
import { foldOf } from './rows.mjs';

/**
 * By kind: how much rows of which kind count, the penalty, and signs that are penalised less because they prove
 * something, however few they are. Chosen by cross-validation over groups.
 */
const recipes = {
  story: { shares: { story: 1 }, ridge: 500, trust: { any_wrong_sum: 4 } },
  formula: { shares: { formula: 1, story: 0.3 }, ridge: 300, trust: {} },
  choice: { shares: { choice: 1 }, ridge: 30, trust: {} },
};
const fewest = 100;
const folds = 5;

/** Adds `kind` and `signs` to every row. */
export function withSigns(rows) {
  return rows.map((row) => {
    const evidence = gather(readQuestion(row.prompt), viewAnswer(row.answer));
    return { ...row, kind: evidence.kind, signs: readSigns(evidence) };
  });
}

/** The heads as the weights file has them. */
export function trainHeads(rows, seed) {
  const heads = {};
  for (const [kind, recipe] of Object.entries(recipes)) {
    const own = rows.filter((row) => row.kind === kind);
    if (own.length < fewest) continue;
    const used = rows.filter((row) => recipe.shares[row.kind] !== undefined);
    heads[kind] = toHead(fitModel(used, recipe), calibrate(used, own, recipe, seed), own);
  }
  return heads;
}

function fitModel(rows, recipe) {
  const shares = rows.map((row) => recipe.shares[row.kind]);
  const total = shares.reduce((sum, share) => sum + share, 0);
  const scales = signNames.map((_, at) => {
    const mean = rows.reduce((sum, row, i) => sum + shares[i] * row.signs[at], 0) / total;
    const variance = rows.reduce((sum, row, i) => sum + shares[i] * (row.signs[at] - mean) ** 2, 0) / total;
    return { mean, scale: Math.sqrt(variance) };
  });
  const names = signNames.map((_, at) => at).filter((at) => scales[at].scale > 1e-9);
  const place = (row) =>
    names.map((at) => Math.max(-furthest, Math.min(furthest, (row.signs[at] - scales[at].mean) / scales[at].scale)));
  const weights = fitLogistic(
    rows.map(place),
    rows.map((row) => row.weak_correct),
    shares,
    names.map((at) => recipe.ridge / (recipe.trust[signNames[at]] ?? 1)),
  );
  return { names, scales, weights, oddsOf: (row) => predict(weights, place(row)) };
}

/** Slope and base that turn the log odds of rows that were not trained on into honest ones. */
function calibrate(used, own, recipe, seed) {
  const odds = [];
  const labels = [];
  for (let fold = 0; fold < folds; fold += 1) {
    const isOut = (row) => foldOf(row.group, seed, folds) === fold;
    const model = fitModel(
      used.filter((row) => !isOut(row)),
      recipe,
    );
    for (const row of own.filter(isOut)) {
      odds.push([model.oddsOf(row)]);
      labels.push(row.weak_correct);
    }
  }
  const [base, slope] = fitLogistic(
    odds,
    labels,
    odds.map(() => 1),
    [1e-3],
  );
  return { base, slope };
}

function toHead({ names, scales, weights }, { base, slope }, own) {
  const signs = names.map((at, i) => [
    signNames[at],
    [round(scales[at].mean), round(scales[at].scale), round(slope * weights[i + 1])],
  ]);
  return {
    rows: own.length,
    right_rate: round(own.reduce((sum, row) => sum + row.weak_correct, 0) / own.length),
    base: round(base + slope * weights[0]),
    signs: Object.fromEntries(signs),
  };
}

function round(value) {
  return Number(value.toPrecision(6));
}
