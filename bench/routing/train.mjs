// Makes data/router-weights.json from evaluation rows, the same bytes for the same rows:
// `npm run build && node bench/routing/train.mjs --data FILE [--out FILE] [--without SOURCE,...] [--date YYYY-MM-DD]`
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { featureNames } from '../../dist/router/complexity/feature-names.js';
import { columns } from '../../dist/router/complexity/model.js';
import { describeRows, readRows } from './data.mjs';
import { trainModel } from './fit.mjs';

const { values: options } = parseArgs({
  options: {
    data: { type: 'string' },
    out: { type: 'string', default: new URL('../../data/router-weights.json', import.meta.url).pathname },
    without: { type: 'string', default: '' },
    date: { type: 'string', default: '2026-11-23' },
  },
});
if (!options.data) throw new Error('--data FILE is missing: JSONL rows of prompts with outcomes of two models');
const without = options.without.split(',');
const { rows, sha256 } = readRows(options.data);
const used = describeRows(rows.filter((row) => !without.includes(row.source)));
const model = trainModel(used);
const file = {
  version: 2,
  date: options.date,
  // Nothing is drawn at random; the field keeps the format ready for it.
  seed: 0,
  trained_on: {
    sha256,
    rows: used.length,
    sources: [...new Set(used.map((row) => row.source))].sort(),
    licences:
      'Labels only, no rows: RouteLLM routellm/evals (Apache-2.0; MMLU and GSM8K MIT), MMLU-Pro eval_results (Apache-2.0, set MIT), ZeroEval result_dirs (Apache-2.0, sets MIT).',
  },
  features: featureNames,
  rarity: pack(model.rarity, 1),
  choice_rarity: pack(model.choiceRarity, 1),
  words: pack(model.words, columns),
  piece_rarity: pack(model.pieceRarity, 1),
  pieces: pack(model.pieces, columns),
  feature_weights: numbers(model.features),
  bias: numbers(model.bias),
  center: numbers(model.center),
  spread: numbers(model.spread),
};
writeFileSync(options.out, `${JSON.stringify(file)}\n`);

function numbers(values) {
  return Array.from(values, (value) => Number(value.toPrecision(7)));
}

/** Signed bytes, column after column, each with a scale of its own. */
function pack(table, width) {
  const rows = table.length / width;
  const scale = Array.from({ length: width }, (_, column) => {
    let most = 0;
    for (let at = column * rows; at < (column + 1) * rows; at += 1) most = Math.max(most, Math.abs(table[at]));
    return Number((most / 127 || 1).toPrecision(7));
  });
  const bytes = Int8Array.from(table, (value, at) => Math.round(value / scale[Math.floor(at / rows)]));
  return { scale, base64: Buffer.from(bytes.buffer).toString('base64') };
}
