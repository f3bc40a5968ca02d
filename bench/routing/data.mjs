// Rows of an evaluation file (JSONL, gzip or not), read once and described once.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { damped } from '../../dist/router/complexity/bag.js';
import { featureNames } from '../../dist/router/complexity/feature-names.js';
import { describe } from '../../dist/router/complexity/features.js';
import { formOf } from '../../dist/router/complexity/form.js';
import { wordsOf } from '../../dist/router/complexity/model.js';
import { piecesOf } from '../../dist/router/complexity/pieces.js';
import { maxScanned, scanText } from '../../dist/router/complexity/scan.js';

export function readRows(file) {
  const bytes = readFileSync(file);
  const text = (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString('utf8');
  const rows = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
  return { rows, sha256: createHash('sha256').update(text).digest('hex') };
}

/** Features, form, words and pieces of words (slots with damped counts) of each row. */
export function describeRows(rows) {
  const known = new Map();
  return rows.map((row) => {
    let described = known.get(row.prompt);
    if (!described) {
      const scan = scanText(row.prompt);
      const features = new Float64Array(featureNames.length);
      describe(scan, row.prompt.length, features);
      described = {
        features,
        form: formOf(features),
        words: countsOf(wordsOf(scan)),
        pieces: countsOf(piecesOf(row.prompt.slice(0, maxScanned))),
      };
      known.set(row.prompt, described);
    }
    return { ...row, ...described, set: `${row.source}|${row.pair}` };
  });
}

/** A copy of a bag; the bag is empty again. */
function countsOf(bag) {
  const slots = Uint16Array.from(bag.slots.subarray(0, bag.length));
  const weights = Float64Array.from(slots, (slot) => damped(bag.counts[slot]));
  for (const slot of slots) bag.counts[slot] = 0;
  return { slots, weights };
}
