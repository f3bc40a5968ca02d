import { addTo, type Bag, newBag, slotOf } from './bag.ts';
import { featureNames } from './feature-names.ts';
import type { Form } from './form.ts';
import { forms } from './form.ts';
import { pieceBits } from './pieces.ts';
import { kind, type Scan } from './scan.ts';

/** Slots of the word table; words, signs and lengths of numbers share it. */
export const wordBits = 15;
export const wordSlots = 2 ** wordBits;
export const pieceSlots = 2 ** pieceBits;

/** What each head says of a prompt: the gain of the large model, and the chance that the small one suffices. */
export const outputs = ['gain', 'small'] as const;
export const columns = forms.length * outputs.length;

/** Linear heads, one per form of prompt and output: `column = form * 2 + output`. */
export interface Model {
  /** How telling a word is, 0..12, by slot; 0: not seen in training. */
  rarity: Float32Array;
  /** The same among questions with few choices: there other words tell one field from another. */
  choiceRarity: Float32Array;
  /** The same of pieces of words, also among questions with few choices. */
  pieceRarity: Float32Array;
  /** By column * wordSlots + slot. */
  words: Float32Array;
  /** By column * pieceSlots + slot. */
  pieces: Float32Array;
  /** By column * features + feature. */
  features: Float32Array;
  /** By column. */
  bias: Float32Array;
  /** By feature: where its contribution is zero. */
  center: Float32Array;
  /** By feature: its usual spread. Values beyond four of these count as four. */
  spread: Float32Array;
}

const words = newBag(wordBits);

/** Counts the words of a scan; weigh them next. Reused: good until the next one. */
export function wordsOf({ length, kinds, values }: Scan): Bag {
  words.length = 0;
  for (let at = 0; at < length; at += 1) {
    const what = kinds[at] ?? 0;
    if (what === kind.newline) continue;
    const value = values[at] ?? 0;
    addTo(words, slotOf(what === kind.number ? value + 7_919 : what === kind.sign ? value + 104_729 : value, wordBits));
  }
  return words;
}

/** How telling words are to the heads of a form. */
export function wordRarity(model: Model, form: Form): Float32Array {
  return form === 'few_choices' ? model.choiceRarity : model.rarity;
}

/** Share of the words of a scan that training has seen. */
export function knownShare({ length, kinds, values }: Scan, rarity: Float32Array): number {
  let all = 0;
  let known = 0;
  for (let at = 0; at < length; at += 1) {
    if ((kinds[at] ?? 0) > kind.capitalized) continue;
    all += 1;
    if ((rarity[slotOf(values[at] ?? 0, wordBits)] ?? 0) > 0) known += 1;
  }
  return all === 0 ? 0 : known / all;
}

/** What a weighed bag adds to a column of a table. */
export function bagTotal(table: Float32Array, { length, slots, weights }: Bag, column: number, size: number): number {
  const from = column * size;
  let total = 0;
  for (let at = 0; at < length; at += 1) total += (table[from + (slots[at] ?? 0)] ?? 0) * (weights[at] ?? 0);
  return total;
}

/** What a feature adds to a column. */
export function featureTotal(model: Model, features: Float64Array, column: number, feature: number): number {
  const weight = model.features[column * featureNames.length + feature] ?? 0;
  const away = ((features[feature] ?? 0) - (model.center[feature] ?? 0)) / (model.spread[feature] ?? 1);
  return weight * Math.max(-4, Math.min(4, away));
}

/** What all features add to a column. */
export function featuresTotal(model: Model, features: Float64Array, column: number): number {
  let total = 0;
  for (let feature = 0; feature < featureNames.length; feature += 1) {
    total += featureTotal(model, features, column, feature);
  }
  return total;
}

export function columnOf(form: Form, output: (typeof outputs)[number]): number {
  return forms.indexOf(form) * outputs.length + outputs.indexOf(output);
}
