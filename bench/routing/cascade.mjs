// How well the answer checker picks the answers that a stronger model should give again, by cross-validation over
// groups of questions: every row is scored by weights that saw neither it nor its like. `family out` saw no row of its
// family; sources that share their questions are one family. `checker`: 1 - chance of being right. `with scorer`: what
// `tandem score --cascade` prints, check and prompt scorer together. With --weights FILE (and --router FILE) rows are
// scored by those files instead (for a held-out set).
//   npm run -s build && node bench/routing/cascade.mjs --data dev.jsonl.gz --answers dev.weak_answers.jsonl.gz \
//     [--folds 5] [--seeds 5] [--weights data/answer-weights.json --router data/router-weights.json]
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { escalationGain } from '../../dist/router/cascade.js';
import { parseAnswerWeights } from '../../dist/router/complexity/answer/weights.js';
import { checkAnswer } from '../../dist/router/complexity/answer.js';
import { scorerOf } from '../../dist/router/complexity/scorer.js';
import { loadModel } from '../../dist/router/complexity/weights.js';
import { trainHeads, withSigns } from './cascade/heads.mjs';
import { measure, randomFrom, rankingChance, standardError } from './cascade/measures.mjs';
import { foldOf, readAnswered } from './cascade/rows.mjs';
import { describeRows, readRows } from './data.mjs';
import { trainModel } from './fit.mjs';

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    answers: { type: 'string' },
    folds: { type: 'string', default: '5' },
    seeds: { type: 'string', default: '5' },
    weights: { type: 'string' },
    router: { type: 'string', default: 'data/router-weights.json' },
  },
});
if (!values.data || !values.answers) {
  console.error('Say where the rows are: --data FILE --answers FILE');
  process.exit(2);
}
const [folds, seeds] = [Number(values.folds), Number(values.seeds)];
const rows = withSigns(readAnswered(values.data, values.answers).rows);
const random = randomFrom(7);

const prompts = describeRows(readRows(values.data).rows);

const weightsOf = (heads) => parseAnswerWeights({ version: 1, heads });

/** Both scores of a row: by the answer alone, and by answer and prompt. */
function rate(row, weights, scorer) {
  const check = checkAnswer(row.prompt, row.answer, weights);
  const complexity = scorer([{ role: 'user', content: row.prompt }]);
  return { prompt: complexity.score, checker: 1 - check.right, both: escalationGain(complexity, check) };
}

const familyOf = ({ source }) => (source.includes('gsm') ? 'gsm8k' : source);

/** The scores of every row, from weights that were trained on the rows that `isOut` leaves. */
function scoreOut(parts, isOut) {
  const scores = [];
  for (const part of parts) {
    const isIn = (row) => !isOut(row, part);
    const weights = weightsOf(trainHeads(rows.filter(isIn), 1));
    const scorer = scorerOf(trainModel(prompts.filter(isIn)));
    for (const [i, row] of rows.entries()) if (isOut(row, part)) scores[i] = rate(row, weights, scorer);
  }
  return scores;
}

/** By weights that are there already. */
function scoreBy(file, routerFile) {
  const weights = parseAnswerWeights(JSON.parse(readFileSync(file, 'utf8')));
  const scorer = scorerOf(loadModel(routerFile));
  return rows.map((row) => rate(row, weights, scorer));
}

const runs = values.weights
  ? [scoreBy(values.weights, values.router)]
  : Array.from({ length: seeds }, (_, seed) =>
      scoreOut([...Array(folds).keys()], (row, part) => foldOf(row.group, `cv${seed}`, folds) === part),
    );
const familyOut = values.weights
  ? null
  : scoreOut([...new Set(rows.map(familyOf))], (row, part) => familyOf(row) === part);

print(['source, weak model', 'n', 'score', 'APGR', '±', 'CPT50', 'CPT80', 'finds']);
const bySet = new Map();
for (const [i, row] of rows.entries()) {
  const name = `${row.source}, ${row.pair.split('|')[0]}`;
  bySet.set(name, [...(bySet.get(name) ?? []), i]);
}
for (const [name, at] of bySet) {
  const set = at.map((i) => rows[i]);
  const tests = {
    random: [set.map(() => random())],
    'answer length': [set.map((row) => row.answer.length)],
    'prompt length': [set.map((row) => row.prompt.length)],
    'prompt scorer': runs.map((scores) => at.map((i) => scores[i].prompt)),
    checker: runs.map((scores) => at.map((i) => scores[i].checker)),
    'with scorer': runs.map((scores) => at.map((i) => scores[i].both)),
    ...(familyOut && {
      'family out': [at.map((i) => familyOut[i].checker)],
      'both, family out': [at.map((i) => familyOut[i].both)],
    }),
  };
  for (const [test, scorings] of Object.entries(tests)) {
    const measured = scorings.map((scores) => measure(set, scores));
    const mean = (key) => measured.reduce((sum, one) => sum + one[key], 0) / measured.length;
    const error = standardError(set, scorings[0], random);
    const finds = scorings.reduce((sum, scores) => sum + rankingChance(set, scores), 0) / scorings.length;
    const numbers = test === 'random' ? [0.5, 0, 0.5, 0.8] : [mean('apgr'), error, mean('cpt50'), mean('cpt80')];
    print([name, set.length, test, ...numbers.map((value) => value.toFixed(3)), finds.toFixed(3)]);
  }
}

print([]);
const said = (i) => 1 - runs[0][i].checker;
print(['kind', 'said', 'n', 'right', '', '', '', '']);
for (const kind of ['story', 'formula', 'choice', 'open']) {
  const at = rows.map((_, i) => i).filter((i) => rows[i].kind === kind);
  for (const [from, to] of [
    [0, 0.25],
    [0.25, 0.5],
    [0.5, 0.75],
    [0.75, 0.9],
    [0.9, 1],
  ]) {
    const inside = at.filter((i) => said(i) >= from && said(i) < to);
    if (inside.length === 0) continue;
    const mean = (read) => inside.reduce((sum, i) => sum + read(i), 0) / inside.length;
    print([kind, mean(said).toFixed(2), inside.length, mean((i) => rows[i].weak_correct).toFixed(2)]);
  }
}

const shipped = values.weights ? undefined : weightsOf(trainHeads(rows, 1));
const times = [];
for (let round = 0; round < 2; round += 1) {
  times.length = 0;
  for (const row of rows) {
    const startedAt = performance.now();
    checkAnswer(row.prompt, row.answer, shipped);
    times.push((performance.now() - startedAt) * 1_000);
  }
}
times.sort((one, other) => one - other);
const atShare = (part) => times[Math.floor(times.length * part)].toFixed(0);
console.log(`\none check: P50 ${atShare(0.5)} us, P90 ${atShare(0.9)} us, P99 ${atShare(0.99)} us`);

function print(cells) {
  const widths = [34, 6, 17, 7, 7, 7, 7, 7];
  console.log(
    cells
      .map((cell, i) => String(cell).padEnd(widths[i] ?? 8))
      .join(' ')
      .trimEnd(),
  );
}
