// Ridge regression of the heads by conjugate gradients: plain float64 loops in a fixed order, so that equal data give
// equal bytes.

import { featureNames } from '../../dist/router/complexity/feature-names.js';
import { forms } from '../../dist/router/complexity/form.js';
import { columns, pieceSlots, wordRarity, wordSlots } from '../../dist/router/complexity/model.js';
import { fieldOf } from './fields.mjs';
import { solve } from './solve.mjs';

/**
 * By form: the regressions whose sum is the head; what the gain is before any data, per unit of `effort` and per usual
 * spread of `length`; `small`: how much of the target is that the small model fails. Of a regression: `share` in the
 * sum for the gain, and `smallShare` for the other head (1 when not given); `ridge`; how free `words`, `pieces` and
 * `features` are (0: not used); `own`: how much of the target is the row's own outcome and not its task's mean;
 * `others`: the weight of rows of other forms. Shares were chosen so that predictions of unseen rows have slope one.
 */
export const settings = {
  few_choices: {
    fits: [
      { share: 0.68, smallShare: 0.9, ridge: 1, words: 1, pieces: 1, features: 0, own: 0, others: 0 },
      { share: 0.54, smallShare: 0.7, ridge: 10, words: 0, pieces: 1, features: 0, own: 1, others: 0 },
    ],
    effort: 0,
    length: 0,
    small: 0,
  },
  many_choices: {
    fits: [{ share: 0.5, smallShare: 1.3, ridge: 4, words: 1, pieces: 0, features: 0.01, own: 0.4, others: 0.05 }],
    effort: 0,
    length: 0.015,
    small: 0,
  },
  story: {
    fits: [{ share: 1, ridge: 100, words: 1, pieces: 0, features: 0.05, own: 1, others: 0.02 }],
    effort: 0.04,
    length: 0,
    small: 0.5,
  },
  formula: {
    fits: [{ share: 1, ridge: 40, words: 1, pieces: 0, features: 0.3, own: 1, others: 0 }],
    effort: 0,
    length: 0,
    small: 0.2,
  },
};
const fewestRows = 3;
const shrinkRows = 7;
const fieldRows = 40;
/** A form with fewer rows than this learns from all rows alike. */
const fewestOwn = 300;
export const poor = {
  fits: [{ share: 2, ridge: 500, words: 1, pieces: 0, features: 0.05, own: 1, others: 1 }],
  effort: 0,
  length: 0,
  small: 0,
};

export function trainModel(described, tuned = settings, sparse = poor) {
  const rows = withoutStrays(described);
  const rarity = rarityOf(rows, 'words', wordSlots);
  const choices = rows.filter((row) => row.form === 'few_choices');
  const ofChoices = choices.length < fewestOwn ? rows : choices;
  const choiceRarity = rarityOf(ofChoices, 'words', wordSlots);
  const pieceRarity = rarityOf(ofChoices, 'pieces', pieceSlots);
  const { center, spread } = moments(rows);
  const model = {
    rarity,
    choiceRarity,
    pieceRarity,
    words: new Float64Array(columns * wordSlots),
    pieces: new Float64Array(columns * pieceSlots),
    features: new Float64Array(columns * featureNames.length),
    bias: levelsOf(described),
    center,
    spread,
  };
  const bases = rows.map((row) => ({
    pieces: weighed(row.pieces, pieceRarity),
    features: row.features.map((value, at) => Math.max(-4, Math.min(4, (value - center[at]) / spread[at]))),
  }));
  for (const [at, form] of forms.entries()) {
    const inputs = rows.map((row, index) => ({
      ...bases[index],
      words: weighed(row.words, wordRarity(model, form)),
    }));
    const ownRows = rows.filter((row) => row.form === form).length;
    const set = ownRows < fewestOwn && form.endsWith('choices') ? sparse : tuned[form];
    for (const fit of set.fits) {
      const { target: small, weights } = targets(rows, form, fit, smallOf);
      const { target: gain } = targets(rows, form, fit, gainOf);
      const wanted = gain.map((value, index) => (1 - set.small) * value - set.small * small[index]);
      for (const [output, target] of [wanted, small].entries()) {
        const prior = (output === 0 ? 1 : -1) * set.effort * spread[effort];
        const left = target.map((value, index) => value - prior * inputs[index].features[effort]);
        const column = at * 2 + output;
        const share = output === 0 ? fit.share : (fit.smallShare ?? fit.share);
        addFit(model, column, solve(inputs, left, weights, fit), share);
        model.features[column * featureNames.length + effort] += prior;
      }
    }
    model.features[at * 2 * featureNames.length + length] += set.length;
  }
  return model;
}

/** A row whose task mostly has another form teaches no head of its own form: its task's mean means something else. */
function withoutStrays(rows) {
  const counts = new Map();
  for (const { set, task, form } of rows) {
    const key = `${set}|${task}`;
    if (!counts.has(key)) counts.set(key, new Map());
    counts.get(key).set(form, (counts.get(key).get(form) ?? 0) + 1);
  }
  return rows.map((row) => {
    const of = counts.get(`${row.set}|${row.task}`);
    return of.get(row.form) < Math.max(...of.values()) ? { ...row, form: null } : row;
  });
}

const effort = featureNames.indexOf('effort');
const length = featureNames.indexOf('characters');
const gainOf = (row) => row.strong_correct - row.weak_correct;
const smallOf = (row) => row.weak_correct;

/** The bias of every head: the mean of its form, or a guess where there is none. */
export function levelsOf(described) {
  const rows = withoutStrays(described);
  return Float64Array.from({ length: columns }, (_, column) => {
    const own = rows.filter((row) => row.form === forms[column >> 1]);
    const [outcome, guess] = column % 2 === 0 ? [gainOf, 0.1] : [smallOf, 0.6];
    return own.length === 0 ? guess : own.reduce((sum, row) => sum + outcome(row), 0) / own.length;
  });
}

function addFit(model, column, { words, pieces, features }, share) {
  for (let at = 0; at < wordSlots; at += 1) model.words[column * wordSlots + at] += share * words[at];
  for (let at = 0; at < pieceSlots; at += 1) model.pieces[column * pieceSlots + at] += share * pieces[at];
  const from = column * features.length;
  for (let at = 0; at < features.length; at += 1) model.features[from + at] += share * features[at];
}

/** How telling each slot is: ln(rows / rows with it) + 1, or 0 below `fewestRows` different prompts. */
function rarityOf(rows, what, size) {
  const seen = new Set();
  const found = new Float64Array(size);
  for (const row of rows) {
    if (seen.has(row.prompt)) continue;
    seen.add(row.prompt);
    for (const slot of row[what].slots) found[slot] += 1;
  }
  return found.map((count) => (count < fewestRows ? 0 : Math.log((1 + seen.size) / (1 + count)) + 1));
}

function moments(rows) {
  const center = new Float64Array(featureNames.length);
  const spread = new Float64Array(featureNames.length);
  for (const { features } of rows)
    for (let at = 0; at < center.length; at += 1) center[at] += features[at] / rows.length;
  for (const { features } of rows) {
    for (let at = 0; at < center.length; at += 1) spread[at] += (features[at] - center[at]) ** 2 / rows.length;
  }
  return { center, spread: spread.map((value) => (value < 1e-9 ? 1 : Math.sqrt(value))) };
}

function weighed({ slots, weights }, rarity) {
  const values = weights.map((weight, at) => weight * rarity[slots[at]]);
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)) || 1;
  return { slots, values: values.map((value) => value / norm) };
}

/**
 * What a head is to learn. Single outcomes are noisy and tasks are clean, so an outcome (as difference from its set's
 * mean) is drawn towards the mean of its task, and that towards the mean of its field. Rows of other forms teach which
 * words belong to a field that the form knows.
 */
function targets(rows, form, { own, others }, outcome) {
  const [sets, fields, tasks] = [new Map(), new Map(), new Map()];
  for (const row of rows) add(sets, row.set, outcome(row));
  const residual = rows.map((row) => outcome(row) - mean(sets.get(row.set), 0, 0));
  const field = rows.map((row) => fieldOf(row.task));
  for (const [at, row] of rows.entries()) {
    add(tasks, `${row.set}|${row.task}`, residual[at]);
    if (row.form === form && field[at] !== null) add(fields, field[at], residual[at]);
  }
  const target = new Float64Array(rows.length);
  const weights = new Float64Array(rows.length);
  for (const [at, row] of rows.entries()) {
    const known = fields.has(field[at]);
    const ofField = known ? mean(fields.get(field[at]), fieldRows, 0) : 0;
    if (row.form === form) {
      const ofTask = mean(tasks.get(`${row.set}|${row.task}`), shrinkRows, ofField);
      target[at] = own * residual[at] + (1 - own) * ofTask;
      weights[at] = 1;
    } else {
      target[at] = own * residual[at] + (1 - own) * ofField;
      weights[at] = known || own === 1 ? others : 0;
    }
  }
  return { target, weights };
}

function add(sums, key, value) {
  const sum = sums.get(key) ?? { count: 0, total: 0 };
  sums.set(key, { count: sum.count + 1, total: sum.total + value });
}

function mean({ count, total }, shrink, towards) {
  return (total + shrink * towards) / (count + shrink);
}
