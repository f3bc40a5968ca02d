// Ridge regression by conjugate gradients over words, pieces of words and features.
import { featureNames } from '../../dist/router/complexity/feature-names.js';
import { pieceSlots, wordSlots } from '../../dist/router/complexity/model.js';

const iterations = 40;
const featuresFrom = wordSlots + pieceSlots;
const width = featuresFrom + featureNames.length;

/** Weights of words, pieces and features that predict `target`, on the scale of the inputs. */
export function solve(inputs, target, weights, { ridge, words, pieces, features }) {
  const used = [];
  for (const [at, input] of inputs.entries()) {
    if (weights[at] > 0) used.push({ at, ...flat(input, words, pieces, features) });
  }
  const solution = new Float64Array(width);
  const residual = new Float64Array(width);
  for (const row of used) scatter(row, weights[row.at] * target[row.at], residual);
  let direction = residual.slice();
  let energy = inner(residual, residual);
  for (let step = 0; step < iterations && energy > 1e-12; step += 1) {
    const image = direction.map((value) => value * ridge);
    for (const row of used) scatter(row, weights[row.at] * dot(row, direction), image);
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
  return {
    words: solution.subarray(0, wordSlots).map((value) => value * words),
    pieces: solution.subarray(wordSlots, featuresFrom).map((value) => value * pieces),
    features: solution.subarray(featuresFrom).map((value) => value * features),
  };
}

/** One sparse row; parts with factor 0 are left out. */
function flat(input, words, pieces, features) {
  const slots = [];
  const values = [];
  const add = (slot, value) => {
    slots.push(slot);
    values.push(value);
  };
  if (words > 0) for (const [at, slot] of input.words.slots.entries()) add(slot, words * input.words.values[at]);
  if (pieces > 0) {
    for (const [at, slot] of input.pieces.slots.entries()) add(wordSlots + slot, pieces * input.pieces.values[at]);
  }
  if (features > 0) for (const [at, value] of input.features.entries()) add(featuresFrom + at, features * value);
  return { slots: Int32Array.from(slots), values: Float64Array.from(values) };
}

function dot({ slots, values }, vector) {
  let sum = 0;
  for (let at = 0; at < slots.length; at += 1) sum += values[at] * vector[slots[at]];
  return sum;
}

function scatter({ slots, values }, factor, into) {
  for (let at = 0; at < slots.length; at += 1) into[slots[at]] += factor * values[at];
}

function inner(one, other) {
  let sum = 0;
  for (let at = 0; at < one.length; at += 1) sum += one[at] * other[at];
  return sum;
}
