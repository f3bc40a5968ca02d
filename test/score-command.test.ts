import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { scoreFile } from '../src/score-command.ts';

const home = mkdtempSync(join(tmpdir(), 'tandem-score-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

async function run(...lines: string[]): Promise<string> {
  return runWith({}, ...lines);
}

async function runWith(options: Parameters<typeof scoreFile>[2], ...lines: string[]): Promise<string> {
  const file = join(home, 'prompts.jsonl');
  writeFileSync(file, lines.join('\n'));
  let out = '';
  await scoreFile(
    file,
    (text) => {
      out += text;
    },
    options,
  );
  return out;
}

describe('tandem score', () => {
  it('prints an id and a score for each prompt, in order', async () => {
    const out = await run('{"id": "b", "prompt": "hi"}', '', '{"id": 2, "prompt": "Prove that 7 is prime."}');
    expect(out).toMatch(/^b\t0\.\d+\n2\t0\.\d+\n$/);
  });

  it('names the first line that is no row', async () => {
    await expect(run('{"id": "a", "prompt": "hi"}', '{"id": "b"}')).rejects.toThrow(/Line 2/);
  });

  it('says what is wrong with a row', async () => {
    await expect(run('{"id": "a\\tb", "prompt": "hi"}')).rejects.toThrow(/Line 1 .*id: has a tab/);
    await expect(run('{"id": 12345678901234567890, "prompt": "hi"}')).rejects.toThrow(/Line 1 .*id: /);
    await expect(run('{"id": "a"')).rejects.toThrow(/Line 1 .*it is no JSON/);
    await expect(run('{"id": "a", "prompt": 5}')).rejects.toThrow(/Line 1 .*prompt: /);
  });

  it('reads past a byte order mark', async () => {
    expect(await run('\uFEFF{"id": "a", "prompt": "hi"}')).toMatch(/^a\t0/);
  });

  describe('with --cascade', () => {
    const prompt =
      'A farmer has 12 crates with 24 apples in each crate. He gives 30 apples to his neighbour. How many apples does he have left?';
    const row = (id: string, weak_answer?: unknown) => JSON.stringify({ id, prompt, weak_answer });
    const scores = async (...lines: string[]) =>
      Object.fromEntries(
        (await runWith({ cascade: true }, ...lines))
          .trim()
          .split('\n')
          .map((line) => line.split('\t'))
          .map(([id, score]) => [id, Number(score)]),
      );

    it('rates a wrong answer above none, and none above a right one', async () => {
      const found = await scores(
        row('wrong', '12 * 24 = 268 apples. 268 - 30 = 233 apples. The answer is 233.5.'),
        row('none'),
        row('right', 'He has 12 * 24 = 288 apples. 288 - 30 = 258. The answer is 258.'),
        row('null', null),
      );
      expect(found.wrong).toBeGreaterThan(found.none ?? 1);
      expect(found.none).toBeGreaterThan(found.right ?? 1);
      expect(found.null).toBe(found.none);
    });

    it('names the line whose answer is no text', async () => {
      await expect(scores(row('a'), row('b', 7))).rejects.toThrow(/Line 2/);
    });

    it('reads answers only when it is told to', async () => {
      const answer = '{"id": "a", "prompt": "hi", "weak_answer": "hello"}';
      expect(await run(answer)).toBe(await run('{"id": "a", "prompt": "hi"}'));
    });
  });
});
