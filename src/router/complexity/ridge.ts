import { chance } from './prior.ts';

/** One answer of known outcome: its log odds are the features times the parameters. */
export interface Row {
  features: readonly number[];
  /** 0..1; between them for outcomes that are neither. */
  target: number;
  weight: number;
}

/** One parameter: where it begins, what pulls it there, and how far it may go. */
export interface Parameter {
  start: number;
  towards: number;
  strength: number;
  free: boolean;
  least: number;
  most: number;
}

const mostSteps = 50;
const mostHalvings = 30;
const smallEnough = 1e-10;

/**
 * The parameters of a logistic regression with a ridge, by Newton's method. The loss is convex, so there is one
 * answer; a parameter that would pass its bound is put there, and the others are found again.
 */
export function minimize(rows: readonly Row[], parameters: readonly Parameter[]): number[] {
  let current = parameters.map(({ start }) => start);
  const fixed = new Set(parameters.flatMap(({ free }, index) => (free ? [] : [index])));
  for (;;) {
    current = descend(rows, parameters, current, fixed);
    const passed = parameters.flatMap(({ least, most }, index) => {
      const value = current[index] ?? 0;
      return !fixed.has(index) && (value < least || value > most) ? [index] : [];
    });
    if (passed.length === 0) return current;
    for (const index of passed) {
      const { least = 0, most = 0 } = parameters[index] ?? {};
      current[index] = Math.min(most, Math.max(least, current[index] ?? 0));
      fixed.add(index);
    }
  }
}

function descend(
  rows: readonly Row[],
  parameters: readonly Parameter[],
  start: readonly number[],
  fixed: ReadonlySet<number>,
): number[] {
  let current = [...start];
  let loss = lossOf(rows, parameters, current);
  for (let step = 0; step < mostSteps; step += 1) {
    const move = newtonStep(rows, parameters, current, fixed);
    let scale = 1;
    let next = current;
    let nextLoss = loss;
    for (let halving = 0; halving < mostHalvings; halving += 1) {
      next = current.map((value, index) => value - scale * (move[index] ?? 0));
      nextLoss = lossOf(rows, parameters, next);
      if (nextLoss <= loss) break;
      scale /= 2;
    }
    if (!(nextLoss < loss)) return current;
    const gained = loss - nextLoss;
    [current, loss] = [next, nextLoss];
    if (gained < smallEnough) return current;
  }
  return current;
}

function lossOf(rows: readonly Row[], parameters: readonly Parameter[], at: readonly number[]): number {
  const misfit = rows.reduce((sum, row) => sum + row.weight * crossEntropy(logOddsOf(row, at), row.target), 0);
  return parameters.reduce(
    (sum, { strength, towards }, index) => sum + (strength / 2) * ((at[index] ?? 0) - towards) ** 2,
    misfit,
  );
}

function newtonStep(
  rows: readonly Row[],
  parameters: readonly Parameter[],
  at: readonly number[],
  fixed: ReadonlySet<number>,
): number[] {
  const size = parameters.length;
  const gradient = parameters.map(({ strength, towards }, index) => strength * ((at[index] ?? 0) - towards));
  const curvature = parameters.map(({ strength }, row) =>
    parameters.map((_, column) => (row === column ? strength : 0)),
  );
  for (const { features, target, weight, predicted } of rows.map((row) => ({
    ...row,
    predicted: chance(logOddsOf(row, at)),
  }))) {
    const spread = weight * predicted * (1 - predicted);
    for (let row = 0; row < size; row += 1) {
      const feature = features[row] ?? 0;
      gradient[row] = (gradient[row] ?? 0) + weight * (predicted - target) * feature;
      const line = curvature[row] ?? [];
      for (let column = 0; column < size; column += 1)
        line[column] = (line[column] ?? 0) + spread * feature * (features[column] ?? 0);
    }
  }
  // A parameter that stays has no gradient and touches no other.
  for (const index of fixed) {
    gradient[index] = 0;
    for (let other = 0; other < size; other += 1) {
      const [own, across] = [curvature[index], curvature[other]];
      if (own) own[other] = other === index ? 1 : 0;
      if (across) across[index] = other === index ? 1 : 0;
    }
  }
  return solve(curvature, gradient);
}

/** Gauss. The ridge makes the matrix positive definite, so no row has to change places. */
function solve(matrix: readonly number[][], right: readonly number[]): number[] {
  const lines = matrix.map((line, index) => [...line, right[index] ?? 0]);
  for (const [pivot, line] of lines.entries()) {
    for (const [index, other] of lines.entries()) {
      if (index === pivot) continue;
      const factor = (other[pivot] ?? 0) / (line[pivot] ?? 1);
      for (let column = pivot; column < other.length; column += 1)
        other[column] = (other[column] ?? 0) - factor * (line[column] ?? 0);
    }
  }
  return lines.map((line, index) => (line.at(-1) ?? 0) / (line[index] ?? 1));
}

function logOddsOf({ features }: Row, at: readonly number[]): number {
  return features.reduce((sum, feature, index) => sum + feature * (at[index] ?? 0), 0);
}

/** `-target * log(p) - (1 - target) * log(1 - p)` of the chance with these log odds, finite for all of them. */
function crossEntropy(odds: number, target: number): number {
  return Math.max(odds, 0) - target * odds + Math.log1p(Math.exp(-Math.abs(odds)));
}
