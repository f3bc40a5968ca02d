// Rows of an evaluation file (JSONL, gzip or not), read once and described once.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { featureNames } from '../../dist/router/complexity/feature-names.js';
import { describe } from '../../dist/router/complexity/features.js';
import { formOf } from '../../dist/router/complexity/form.js';
import { fillBag } from '../../dist/router/complexity/model.js';
import { scanText } from '../../dist/router/complexity/scan.js';

export function readRows(file) {
  const bytes = readFileSync(file);
  const text = (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString('utf8');
  const rows = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
  return { rows, sha256: createHash('sha256').update(text).digest('hex') };
}

/** Features, form and words (slots with how often) of each row. */
export function describeRows(rows) {
  const known = new Map();
  return rows.map((row) => {
    let described = known.get(row.prompt);
    if (!described) {
      const scan = scanText(row.prompt);
      const features = new Float64Array(featureNames.length);
      describe(scan, row.prompt.length, features);
      const bag = fillBag(scan, null);
      const weights = Float64Array.from(bag.weights.subarray(0, bag.length));
      const square = Math.sqrt(weights.reduce((sum, weight) => sum + weight * weight, 0)) || 1;
      let least = Infinity;
      for (const weight of weights) least = Math.min(least, weight);
      // The most common multiplicity is one; undoing the norm gives back 1 + ln(count).
      for (let at = 0; at < weights.length; at += 1) weights[at] /= weights.length === 0 ? square : least;
      described = {
        features,
        form: formOf(features),
        slots: Uint16Array.from(bag.slots.subarray(0, bag.length)),
        weights,
      };
      known.set(row.prompt, described);
    }
    return { ...row, ...described, set: `${row.source}|${row.pair}` };
  });
}
