import { featureNames } from './feature-names.ts';
import { describe } from './features.ts';
import { type Form, formOf } from './form.ts';
import { type Bag, columnOf, columnTotal, fillBag, type Model } from './model.ts';
import { scanText } from './scan.ts';

/** What the model says of one text. Features and words are reused: good until the next one. */
export interface Opinion {
  /** Null: the text is like nothing that was trained on, and `gain` and `small` mean nothing. */
  form: Form | null;
  /** Expected gain of the large model, as a share of answers. */
  gain: number;
  /** Chance that the small model suffices, not yet bounded. */
  small: number;
  features: Float64Array;
  words: Bag;
}

const features = new Float64Array(featureNames.length);

/** Reads a text (at most `maxScanned` characters) of a prompt of so many characters. */
export function opinionOf(model: Model, text: string, characters: number): Opinion {
  const scan = scanText(text);
  describe(scan, characters, features);
  const words = fillBag(scan, model.rarity);
  const form = formOf(features);
  if (form === null) return { form, gain: 0, small: 0, features, words };
  return {
    form,
    gain: columnTotal(model, features, words, columnOf(form, 'gain')),
    small: columnTotal(model, features, words, columnOf(form, 'small')),
    features,
    words,
  };
}
