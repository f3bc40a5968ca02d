import { featureNames } from './feature-names.ts';
import type { Form } from './form.ts';
import { forms } from './form.ts';
import { kind, type Scan } from './scan.ts';

/** Slots of the word table; words, signs and lengths of numbers share it. */
export const slots = 16_384;

/** What each head says of a prompt: the gain of the large model, and the chance that the small one suffices. */
export const outputs = ['gain', 'small'] as const;
export const columns = forms.length * outputs.length;

/** Linear heads, one per form of prompt and output: `column = form * 2 + output`. */
export interface Model {
  /** How telling a word is, 0..12, by slot; 0: not seen in training. */
  rarity: Float32Array;
  /** By slot * columns + column. */
  words: Float32Array;
  /** By column * features + feature. */
  features: Float32Array;
  /** By column. */
  bias: Float32Array;
  /** By feature: where its contribution is zero. */
  center: Float32Array;
  /** By feature: its usual spread. Values beyond four of these count as four. */
  spread: Float32Array;
}

/** The slots that a text hits, with weights whose squares add up to 1. Reused: good until the next one. */
export interface Bag {
  length: number;
  slots: Uint16Array;
  weights: Float32Array;
  /** Share of its words that training has seen. */
  known: number;
}

const bagSize = 16_384;
const bag: Bag = { length: 0, slots: new Uint16Array(bagSize), weights: new Float32Array(bagSize), known: 0 };
const counts = new Uint16Array(slots);

/** Words of a scan as slots, each damped by how often it comes and weighted by how telling it is. */
export function fillBag({ length, kinds, values }: Scan, rarity: Float32Array | null): Bag {
  let size = 0;
  let words = 0;
  let known = 0;
  for (let at = 0; at < length; at += 1) {
    const what = kinds[at] ?? 0;
    if (what === kind.newline) continue;
    const value = values[at] ?? 0;
    const hash = what === kind.number ? value + 7_919 : what === kind.sign ? value + 104_729 : value;
    const slot = slotOf(hash);
    size = count(slot, size);
    if (what <= kind.capitalized) {
      words += 1;
      if (rarity !== null && (rarity[slot] ?? 0) > 0) known += 1;
    }
  }
  let square = 0;
  for (let at = 0; at < size; at += 1) {
    const slot = bag.slots[at] ?? 0;
    const times = counts[slot] ?? 0;
    counts[slot] = 0;
    const weight = (times === 1 ? 1 : 1 + Math.log(times)) * (rarity === null ? 1 : (rarity[slot] ?? 0));
    bag.weights[at] = weight;
    square += weight * weight;
  }
  const scale = square === 0 ? 0 : 1 / Math.sqrt(square);
  for (let at = 0; at < size; at += 1) bag.weights[at] = (bag.weights[at] ?? 0) * scale;
  bag.length = size;
  bag.known = words === 0 ? 0 : known / words;
  return bag;
}

/** What the words add to a column. */
export function wordsTotal(model: Model, { length, slots: at, weights }: Bag, column: number): number {
  let total = 0;
  for (let index = 0; index < length; index += 1) {
    total += (model.words[(at[index] ?? 0) * columns + column] ?? 0) * (weights[index] ?? 0);
  }
  return total;
}

/** What a feature adds to a column. */
export function featureTotal(model: Model, features: Float64Array, column: number, feature: number): number {
  const weight = model.features[column * featureNames.length + feature] ?? 0;
  const away = ((features[feature] ?? 0) - (model.center[feature] ?? 0)) / (model.spread[feature] ?? 1);
  return weight * Math.max(-4, Math.min(4, away));
}

export function columnOf(form: Form, output: (typeof outputs)[number]): number {
  return forms.indexOf(form) * outputs.length + outputs.indexOf(output);
}

/** Value of a column: bias, features and words. */
export function columnTotal(model: Model, features: Float64Array, words: Bag, column: number): number {
  let total = (model.bias[column] ?? 0) + wordsTotal(model, words, column);
  for (let feature = 0; feature < featureNames.length; feature += 1) {
    total += featureTotal(model, features, column, feature);
  }
  return total;
}

function slotOf(hash: number): number {
  return Math.imul(hash ^ (hash >>> 15), 0x9e3779b1) >>> 18;
}

function count(slot: number, size: number): number {
  const before = counts[slot] ?? 0;
  counts[slot] = before + 1;
  if (before > 0) return size;
  bag.slots[size] = slot;
  return size + 1;
}
