// How good the router's scores are: `npm run bench:routing -- --data FILE` trains on four fifths of the questions and
// rates the last fifth, five times; `--weights FILE` rates all rows with the given weights instead. Prints Markdown.
import { parseArgs } from 'node:util';
import { scoreByRules } from '../../dist/router/complexity/rules.js';
import { scorerOf } from '../../dist/router/complexity/scorer.js';
import { loadModel } from '../../dist/router/complexity/weights.js';
import { describeRows, readRows } from './data.mjs';
import { levelsOf, trainModel } from './fit.mjs';
import { foldOf } from './folds.mjs';
import { measure, randomFrom, standardError } from './measures.mjs';
import { reliability } from './reliability.mjs';

const { values: options } = parseArgs({
  options: { data: { type: 'string' }, weights: { type: 'string' }, seed: { type: 'string', default: '1' } },
});
if (!options.data) throw new Error('--data FILE is missing: JSONL rows of prompts with outcomes of two models');
const seed = Number(options.seed);
const foldCount = 5;
/** Sources that ask the same questions belong to one family. */
const families = [['routellm-mmlu'], ['mmlu-pro'], ['routellm-gsm8k', 'zeroeval-gsm'], ['zeroeval-math-l5']];

const rows = describeRows(readRows(options.data).rows);
/** By row: what was predicted of both models. */
const suffices = [];
const messages = (row) => [{ role: 'user', content: row.prompt }];
const next = randomFrom(seed);
const ways = {
  random: rows.map(() => next()),
  length: rows.map((row) => row.prompt.length),
  rules: rows.map((row) => scoreByRules(messages(row)).score),
  ...(options.weights
    ? { tandem: rateAll(loadModel(options.weights)) }
    : { tandem: crossed(), 'tandem, family out': withoutFamily() }),
};

// The same score per extra dollar, as `tandem score --per-dollar` prints it.
ways['tandem, per dollar'] = rows.map((row, at) => ways.tandem[at] / row.prompt.length ** 0.2);

console.log('| set | n | way | APGR | CPT50 | CPT80 | save95 |\n|---|---|---|---|---|---|---|');
for (const set of [...new Set(rows.map((row) => row.set))].sort()) {
  for (const [way, scores] of Object.entries(ways)) {
    const rated = rows
      .map((row, at) => ({
        set: row.set,
        score: scores[at],
        weak: row.weak_correct,
        strong: row.strong_correct,
        weakCost: row.weak_cost,
        strongCost: row.strong_cost,
      }))
      .filter((row) => row.set === set);
    const { count, apgr, cpt50, cpt80, save95 } = measure(rated);
    const percent = (value) => `${(100 * value).toFixed(1)} %`;
    console.log(
      `| ${nameOf(set)} | ${count} | ${way} | ${apgr.toFixed(3)} ± ${standardError(rated).toFixed(3)} | ${percent(cpt50)} | ${percent(cpt80)} | ${percent(save95)} |`,
    );
  }
}
printReliability();
console.log(`\n${latencies()}`);

function rateAll(model) {
  const score = scorerOf(model);
  return rows.map((row, at) => rateRow(score, row, at));
}

/**
 * Every row rated by a model that has seen no row of its question. All models get the levels of the whole: a model that
 * misses a fold of large gains has a lower level for it, and pooled over folds that would count as a wrong ranking.
 */
function crossed() {
  const scores = new Float64Array(rows.length);
  const bias = levelsOf(rows);
  for (let fold = 0; fold < foldCount; fold += 1) {
    const isHeld = (row) => foldOf(row.group, seed, foldCount) === fold;
    const score = scorerOf({ ...trainModel(rows.filter((row) => !isHeld(row))), bias });
    for (const [at, row] of rows.entries()) if (isHeld(row)) scores[at] = rateRow(score, row, at);
  }
  return scores;
}

function rateRow(score, row, at) {
  const rated = score(messages(row));
  suffices[at] = rated.suffices;
  return rated.score;
}

/** Every row rated by a model that has seen no row of its family, nor of its question. */
function withoutFamily() {
  const scores = new Float64Array(rows.length);
  for (const family of families) {
    for (let fold = 0; fold < foldCount; fold += 1) {
      const isHeld = (row) => foldOf(row.group, seed, foldCount) === fold;
      const seen = rows.filter((row) => !isHeld(row) && !family.includes(row.source));
      const score = scorerOf(trainModel(seen));
      for (const [at, row] of rows.entries()) {
        if (isHeld(row) && family.includes(row.source)) scores[at] = score(messages(row)).score;
      }
    }
  }
  return scores;
}

function printReliability() {
  console.log('\n| set | model | Brier | of the mean | calibration error, by decile |\n|---|---|---|---|---|');
  for (const set of [...new Set(rows.map((row) => row.set))].sort()) {
    for (const [model, outcome] of Object.entries({ small: 'weak_correct', large: 'strong_correct' })) {
      const own = rows.map((_, at) => at).filter((at) => rows[at].set === set);
      const { brier, ofMean, error } = reliability(
        own.map((at) => suffices[at][model]),
        own.map((at) => rows[at][outcome]),
      );
      console.log(
        `| ${nameOf(set)} | ${model} | ${[brier, ofMean, error].map((value) => value.toFixed(3)).join(' | ')} |`,
      );
    }
  }
}

function nameOf(set) {
  return set.replace('|', ': ').replace('|', ' or ');
}

function latencies() {
  const score = scorerOf(options.weights ? loadModel(options.weights) : trainModel(rows.slice(0, 2_000)));
  const times = [];
  for (const pass of [0, 1]) {
    for (const row of rows) {
      const startedAt = performance.now();
      score(messages(row));
      if (pass > 0) times.push(1_000 * (performance.now() - startedAt));
    }
  }
  const kilobyte = [
    {
      role: 'user',
      content: rows
        .map((row) => row.prompt)
        .join(' ')
        .slice(0, 1_000),
    },
  ];
  const single = Array.from({ length: 5_000 }, () => {
    const startedAt = performance.now();
    score(kilobyte);
    return 1_000 * (performance.now() - startedAt);
  });
  return `One decision: 1 kB P50 ${quantile(single, 0.5)} us; these prompts P50 ${quantile(times, 0.5)} us, P99 ${quantile(times, 0.99)} us.`;
}

function quantile(values, share) {
  return values.toSorted((one, other) => one - other)[Math.floor(share * (values.length - 1))].toFixed(0);
}
