// Trains data/answer-weights.json. Equal data, date and seed give an equal file, byte for byte:
//   npm run -s build && node bench/routing/train-answers.mjs --data dev.jsonl.gz --answers dev.weak_answers.jsonl.gz \
//     --date 2026-11-23 [--out FILE] [--without SOURCE,...] [--seed 1]
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { trainHeads, withSigns } from './cascade/heads.mjs';
import { readAnswered } from './cascade/rows.mjs';

const shipped = fileURLToPath(new URL('../../data/answer-weights.json', import.meta.url));
const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    answers: { type: 'string' },
    date: { type: 'string' },
    out: { type: 'string', default: shipped },
    without: { type: 'string', default: '' },
    seed: { type: 'string', default: '1' },
  },
});
if (!values.data || !values.answers || !values.date) {
  console.error('Say where the rows are and which day it is: --data FILE --answers FILE --date YYYY-MM-DD');
  process.exit(2);
}

const left = values.without.split(',');
const { rows, sha256 } = readAnswered(values.data, values.answers);
const used = rows.filter((row) => !left.includes(row.source));
const sources = [...new Set(used.map(({ source, pair }) => `${source} (${pair.split('|')[0]})`))].sort();
const content = {
  version: 1,
  trained_on: `Whether answers of small models were right: ${sources.join(', ')}. Published evaluation results of RouteLLM, MMLU-Pro and ZeroEval (Apache-2.0) on GSM8K, MATH and MMLU-Pro (MIT).`,
  date: values.date,
  seed: Number(values.seed),
  data_sha256: sha256,
  heads: trainHeads(withSigns(used), Number(values.seed)),
};
writeFileSync(values.out, `${layOut(content)}\n`);
for (const [kind, { rows: count, right_rate }] of Object.entries(content.heads)) {
  console.error(`${kind}: ${count} answers, ${(100 * right_rate).toFixed(1)} % right`);
}

/** JSON with one sign a line. */
function layOut(value) {
  return JSON.stringify(value, null, 1).replaceAll(
    /\[\s+([^[\]]+?)\s+\]/g,
    (_, inner) => `[${inner.replaceAll(/\s+/g, ' ')}]`,
  );
}
