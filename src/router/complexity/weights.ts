import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AppError } from '../../errors.ts';
import { featureNames } from './feature-names.ts';
import { columns, type Model, pieceSlots, wordSlots } from './model.ts';

const packed = z.object({ scale: z.array(z.number()), base64: z.string() });

/** `data/router-weights.json`. Tables are signed bytes, column by column, in base64; a column's
 * numbers are bytes times its scale. */
export const weightsSchema = z.object({
  version: z.literal(2),
  date: z.string(),
  seed: z.number(),
  trained_on: z.object({ sha256: z.string(), rows: z.number(), sources: z.array(z.string()), licences: z.string() }),
  features: z.array(z.string()),
  rarity: packed,
  choice_rarity: packed,
  words: packed,
  piece_rarity: packed,
  pieces: packed,
  feature_weights: z.array(z.number()).length(featureNames.length * columns),
  bias: z.array(z.number()).length(columns),
  center: z.array(z.number()).length(featureNames.length),
  spread: z.array(z.number().positive()).length(featureNames.length),
});

const shipped = new URL('../../../data/router-weights.json', import.meta.url);

let loaded: Model | undefined;

/** The shipped model: read on first use, once. Throws `config_invalid` when the file is missing or broken. */
export function shippedModel(): Model {
  loaded ??= loadModel(shipped);
  return loaded;
}

export function loadModel(file: string | URL): Model {
  try {
    return decodeModel(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    throw new AppError('config_invalid', `The router's weights cannot be read: ${String(error).slice(0, 300)}`, {
      next: 'Install Tandem again, or make the file with `node bench/routing/train.mjs`.',
      cause: error,
    });
  }
}

export function decodeModel(value: unknown): Model {
  const file = weightsSchema.parse(value);
  if (file.features.join() !== featureNames.join()) throw new Error('they were trained with other features');
  return {
    rarity: unpack(file.rarity, wordSlots, 1),
    choiceRarity: unpack(file.choice_rarity, wordSlots, 1),
    pieceRarity: unpack(file.piece_rarity, pieceSlots, 1),
    words: unpack(file.words, wordSlots, columns),
    pieces: unpack(file.pieces, pieceSlots, columns),
    features: Float32Array.from(file.feature_weights),
    bias: Float32Array.from(file.bias),
    center: Float32Array.from(file.center),
    spread: Float32Array.from(file.spread),
  };
}

function unpack({ scale, base64 }: { scale: number[]; base64: string }, rows: number, width: number): Float32Array {
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length !== rows * width || scale.length !== width) throw new Error('a table has the wrong size');
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  const numbers = new Float32Array(signed);
  for (let column = 0; column < width; column += 1) {
    const factor = scale[column] ?? 0;
    for (let at = column * rows; at < (column + 1) * rows; at += 1) numbers[at] = (numbers[at] ?? 0) * factor;
  }
  return numbers;
}
