// Ridge regression of the heads by conjugate gradients: plain float64 loops in a fixed order, so that equal data give
// equal bytes.

import { featureNames } from '../../dist/router/complexity/feature-names.js';
import { forms } from '../../dist/router/complexity/form.js';
import { columns, slots } from '../../dist/router/complexity/model.js';
import { fieldOf } from './fields.mjs';

/**
 * By form: `ridge` of the words, `spread` of the features relative to them (larger: freer), `own`: how much of the
 * target is the row's own outcome and not its task's mean, `others`: the weight of rows of other forms, `effort`: gain
 * per unit of effort before any data, `small`: how much of the target is that the small model fails.
 */
export const settings = {
  few_choices: { ridge: 1, spread: 0.001, own: 0, others: 0, effort: 0, small: 0 },
  many_choices: { ridge: 4, spread: 0.01, own: 0.4, others: 0.05, effort: 0, small: 0 },
  story: { ridge: 100, spread: 0.05, own: 1, others: 0.02, effort: 0.04, small: 0.5 },
  formula: { ridge: 40, spread: 0.3, own: 1, others: 0, effort: 0, small: 0.2 },
};
const fewestRows = 3;
const iterations = 40;
const shrinkRows = 20;
const fieldRows = 40;
/** A form with fewer rows than this learns from all rows alike. */
const fewestOwn = 300;
const poor = { ridge: 10, spread: 0.003, own: 1, others: 1, effort: 0, small: 0 };

export function trainModel(rows, tuned = settings) {
  const rarity = rarityOf(rows);
  const { center, spread } = moments(rows);
  const size = featureNames.length;
  const model = {
    rarity,
    words: new Float64Array(slots * columns),
    features: new Float64Array(columns * size),
    bias: new Float64Array(columns),
    center,
    spread,
  };
  const inputs = rows.map((row) => inputOf(row, rarity, center, spread));
  const effort = featureNames.indexOf('effort');
  for (const [at, form] of forms.entries()) {
    const ownRows = rows.filter((row) => row.form === form).length;
    const set = ownRows < fewestOwn && form.endsWith('choices') ? poor : tuned[form];
    const { target: small, weights } = targets(rows, form, set, (row) => row.weak_correct);
    const { target: gain } = targets(rows, form, set, (row) => row.strong_correct - row.weak_correct);
    const wanted = gain.map((value, index) => (1 - set.small) * value - set.small * small[index]);
    for (const [output, target] of [wanted, small].entries()) {
      const prior = (output === 0 ? 1 : -1) * set.effort * spread[effort];
      const left = target.map((value, index) => value - prior * inputs[index].features[effort]);
      const fitted = solve(inputs, left, weights, set);
      const column = at * 2 + output;
      for (let slot = 0; slot < slots; slot += 1) model.words[slot * columns + column] = fitted[slot];
      for (let feature = 0; feature < size; feature += 1) {
        const own = fitted[slots + feature] * set.spread + (feature === effort ? prior : 0);
        model.features[column * size + feature] = own;
      }
      const levels = rows.filter((row) => row.form === form);
      const mean = (value) => levels.reduce((sum, row) => sum + value(row), 0) / Math.max(1, levels.length);
      model.bias[column] =
        levels.length === 0
          ? 0.1
          : mean((row) => (output === 0 ? row.strong_correct - row.weak_correct : row.weak_correct));
      if (levels.length === 0 && output === 1) model.bias[column] = 0.6;
    }
  }
  return model;
}

/** How telling each slot is: ln(rows / rows with it), 0 below `fewestRows` different prompts. */
function rarityOf(rows) {
  const seen = new Set();
  const found = new Float64Array(slots);
  for (const row of rows) {
    if (seen.has(row.prompt)) continue;
    seen.add(row.prompt);
    for (const slot of row.slots) found[slot] += 1;
  }
  return found.map((count) => (count < fewestRows ? 0 : Math.log((1 + seen.size) / (1 + count)) + 1));
}

function moments(rows) {
  const center = new Float64Array(featureNames.length);
  const spread = new Float64Array(featureNames.length);
  for (const { features } of rows)
    for (let at = 0; at < center.length; at += 1) center[at] += features[at] / rows.length;
  for (const { features } of rows) {
    for (let at = 0; at < center.length; at += 1) spread[at] += (features[at] - center[at]) ** 2 / rows.length;
  }
  return { center, spread: spread.map((value) => (value < 1e-9 ? 1 : Math.sqrt(value))) };
}

function inputOf(row, rarity, center, spread) {
  const words = row.weights.map((weight, at) => weight * rarity[row.slots[at]]);
  const norm = Math.sqrt(words.reduce((sum, weight) => sum + weight * weight, 0)) || 1;
  return {
    slots: row.slots,
    words: words.map((weight) => weight / norm),
    features: row.features.map((value, at) => Math.max(-4, Math.min(4, (value - center[at]) / spread[at]))),
  };
}

/**
 * What a head is to learn. Single outcomes are noisy and tasks are clean, so an outcome (as difference from its set's
 * mean) is drawn towards the mean of its task, and that towards the mean of its field. Rows of other forms teach which
 * words belong to a field that the form knows.
 */
function targets(rows, form, { own, others }, outcome) {
  const [sets, fields, tasks] = [new Map(), new Map(), new Map()];
  for (const row of rows) add(sets, row.set, outcome(row));
  const residual = rows.map((row) => outcome(row) - mean(sets.get(row.set), 0, 0));
  const field = rows.map((row) => fieldOf(row.task));
  for (const [at, row] of rows.entries()) {
    add(tasks, `${row.set}|${row.task}`, residual[at]);
    if (row.form === form && field[at] !== null) add(fields, field[at], residual[at]);
  }
  const target = new Float64Array(rows.length);
  const weights = new Float64Array(rows.length);
  for (const [at, row] of rows.entries()) {
    const known = fields.has(field[at]);
    const ofField = known ? mean(fields.get(field[at]), fieldRows, 0) : 0;
    if (row.form === form) {
      const ofTask = mean(tasks.get(`${row.set}|${row.task}`), shrinkRows, ofField);
      target[at] = own * residual[at] + (1 - own) * ofTask;
      weights[at] = 1;
    } else {
      target[at] = own * residual[at] + (1 - own) * ofField;
      weights[at] = known || own === 1 ? others : 0;
    }
  }
  return { target, weights };
}

function add(sums, key, value) {
  const sum = sums.get(key) ?? { count: 0, total: 0 };
  sums.set(key, { count: sum.count + 1, total: sum.total + value });
}

function mean({ count, total }, shrink, towards) {
  return (total + shrink * towards) / (count + shrink);
}

function solve(inputs, target, weights, { ridge, spread }) {
  const width = slots + featureNames.length;
  const used = inputs.map((_, at) => at).filter((at) => weights[at] > 0);
  const product = (vector) => {
    const result = vector.map((value) => value * ridge);
    for (const at of used) scatter(inputs[at], spread, weights[at] * dot(inputs[at], spread, vector), result);
    return result;
  };
  const solution = new Float64Array(width);
  const residual = new Float64Array(width);
  for (const at of used) scatter(inputs[at], spread, weights[at] * target[at], residual);
  let direction = residual.slice();
  let energy = inner(residual, residual);
  for (let step = 0; step < iterations && energy > 1e-12; step += 1) {
    const image = product(direction);
    const rate = energy / inner(direction, image);
    for (let at = 0; at < width; at += 1) {
      solution[at] += rate * direction[at];
      residual[at] -= rate * image[at];
    }
    const next = inner(residual, residual);
    const share = next / energy;
    direction = direction.map((value, at) => residual[at] + share * value);
    energy = next;
  }
  return solution;
}

function dot(input, spread, vector) {
  let sum = 0;
  for (let at = 0; at < input.slots.length; at += 1) sum += input.words[at] * vector[input.slots[at]];
  for (let at = 0; at < input.features.length; at += 1) sum += input.features[at] * spread * vector[slots + at];
  return sum;
}

function scatter(input, spread, factor, into) {
  for (let at = 0; at < input.slots.length; at += 1) into[input.slots[at]] += factor * input.words[at];
  for (let at = 0; at < input.features.length; at += 1) into[slots + at] += factor * spread * input.features[at];
}

function inner(one, other) {
  let sum = 0;
  for (let at = 0; at < one.length; at += 1) sum += one[at] * other[at];
  return sum;
}
