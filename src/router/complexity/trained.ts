import { weigh } from './bag.ts';
import { featureNames } from './feature-names.ts';
import { describe } from './features.ts';
import { type Form, formOf } from './form.ts';
import {
  bagTotal,
  columnOf,
  featuresTotal,
  knownShare,
  type Model,
  pieceSlots,
  wordRarity,
  wordSlots,
  wordsOf,
} from './model.ts';
import { piecesOf } from './pieces.ts';
import { scanText } from './scan.ts';

/** What the model says of one text. Features are reused: good until the next one. */
export interface Opinion {
  /** Null: the text is like nothing that was trained on, and `gain` and `small` mean nothing. */
  form: Form | null;
  /** Expected gain of the large model, as a share of answers. */
  gain: number;
  /** Chance that the small model suffices, not yet bounded. */
  small: number;
  features: Float64Array;
  /** Share of its words that training has seen. */
  known: number;
  /** What the words, and the pieces of words, add to `gain`. */
  topic: { words: number; pieces: number };
}

const features = new Float64Array(featureNames.length);

/** Reads a text (at most `maxScanned` characters) of a prompt of so many characters. */
export function opinionOf(model: Model, text: string, characters: number): Opinion {
  const scan = scanText(text);
  describe(scan, characters, features);
  const known = knownShare(scan, model.rarity);
  const form = formOf(features);
  if (form === null) return { form, gain: 0, small: 0, features, known, topic: { words: 0, pieces: 0 } };
  const words = wordsOf(scan);
  weigh(words, wordRarity(model, form));
  const pieces = piecesOf(text);
  weigh(pieces, model.pieceRarity);
  const inWords = (column: number) => bagTotal(model.words, words, column, wordSlots);
  const inPieces = (column: number) => bagTotal(model.pieces, pieces, column, pieceSlots);
  const gain = columnOf(form, 'gain');
  const small = columnOf(form, 'small');
  const topic = { words: inWords(gain), pieces: inPieces(gain) };
  return {
    form,
    gain: (model.bias[gain] ?? 0) + topic.words + topic.pieces + featuresTotal(model, features, gain),
    small: (model.bias[small] ?? 0) + inWords(small) + inPieces(small) + featuresTotal(model, features, small),
    features,
    known,
    topic,
  };
}
