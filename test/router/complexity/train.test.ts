import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { scorerOf } from '../../../src/router/complexity/scorer.ts';
import { loadModel } from '../../../src/router/complexity/weights.ts';

const home = mkdtempSync(join(tmpdir(), 'tandem-train-'));
const script = join(import.meta.dirname, '../../../bench/routing/train.mjs');
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** Questions of which those about courts need the large model. */
function prompt(topic: string, number: number): string {
  return `Which ${topic} rule is number ${number}?\nA. the first ${topic}\nB. the second\nC. the third\nD. none\nAnswer:`;
}

describe('training', () => {
  it('makes the same bytes of the same rows, and weights that know what they were shown', { timeout: 60_000 }, () => {
    const rows = Array.from({ length: 400 }, (_, at) => {
      const topic = at % 2 === 0 ? 'court' : 'kitchen';
      return {
        source: 'made',
        pair: 'weak|strong',
        task: topic,
        group: String(at),
        prompt: prompt(topic, at),
        weak_correct: topic === 'court' ? 0 : 1,
        strong_correct: 1,
      };
    });
    const data = join(home, 'rows.jsonl');
    writeFileSync(data, rows.map((row) => JSON.stringify(row)).join('\n'));
    const files = ['one.json', 'other.json'].map((name) => join(home, name));
    for (const file of files) execFileSync(process.execPath, [script, '--data', data, '--out', file]);
    const [one, other] = files.map((file) => readFileSync(file, 'utf8'));
    expect(one).toBe(other);
    const score = scorerOf(loadModel(files[0]!));
    const rate = (topic: string) => score([{ role: 'user', content: prompt(topic, 17) }]).score;
    expect(rate('court')).toBeGreaterThan(rate('kitchen'));
  });
});
