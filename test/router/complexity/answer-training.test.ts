import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { parseAnswerWeights } from '../../../src/router/complexity/answer/weights.ts';
import { checkAnswer } from '../../../src/router/complexity/answer.ts';
import { temporaryFolder } from '../../support/folder.ts';

const script = join(import.meta.dirname, '../../../bench/routing/train-answers.mjs');

/** Word problems of which every third has a slip in its sum and is wrong. */
function writeRows(folder: string): { data: string; answers: string } {
  const rows = Array.from({ length: 240 }, (_, at) => {
    const [boxes, pens, slip] = [3 + (at % 7), 4 + (at % 11), at % 3 === 0 ? 1 : 0];
    return {
      id: `row-${at}`,
      source: at % 2 === 0 ? 'even' : 'odd',
      pair: 'small|large',
      group: `group-${at % 60}`,
      prompt: `Ann has ${boxes} boxes with ${pens} pens in each of them. How many pens does she have?`,
      weak_correct: 1 - slip,
      answer: `She has ${boxes} * ${pens} = ${boxes * pens + slip} pens.`,
    };
  });
  const [data, answers] = [join(folder, 'rows.jsonl'), join(folder, 'answers.jsonl')];
  writeFileSync(data, rows.map(({ answer: _, ...row }) => JSON.stringify(row)).join('\n'));
  writeFileSync(answers, rows.map(({ id, answer }) => JSON.stringify({ id, weak_answer: answer })).join('\n'));
  return { data, answers };
}

describe('the training of the answer check', () => {
  it('gives the same file byte for byte, and one that has learned', async () => {
    const folder = temporaryFolder();
    const { data, answers } = writeRows(folder);
    const outs = ['one.json', 'two.json'].map((name) => join(folder, name));
    for (const out of outs) {
      await execa('node', [script, '--data', data, '--answers', answers, '--date', '2026-01-01', '--out', out]);
    }
    const [one, two] = outs.map((out) => readFileSync(out, 'utf8'));
    expect(one).toBe(two);
    const weights = parseAnswerWeights(JSON.parse(one ?? ''));
    const prompt = 'Bob has 12 bags with 15 nuts in each of them. How many nuts does he have?';
    expect(checkAnswer(prompt, 'He has 12 * 15 = 180 nuts.', weights).right).toBeGreaterThan(0.8);
    expect(checkAnswer(prompt, 'He has 12 * 15 = 170 nuts.', weights).right).toBeLessThan(0.4);
  });

  it('leaves sources out, and trains nothing of too few rows', async () => {
    const folder = temporaryFolder();
    const { data, answers } = writeRows(folder);
    const out = join(folder, 'none.json');
    const args = ['--data', data, '--answers', answers, '--date', '2026-01-01', '--out', out];
    await execa('node', [script, ...args, '--without', 'even,odd']);
    expect(JSON.parse(readFileSync(out, 'utf8'))).toMatchObject({ version: 1, date: '2026-01-01', heads: {} });
  });

  it('says which arguments it misses', async () => {
    const { exitCode, stderr } = await execa('node', [script], { reject: false });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('--data FILE');
  });
});
