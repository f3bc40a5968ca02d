import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { scoreFile } from '../src/score-command.ts';

const home = mkdtempSync(join(tmpdir(), 'tandem-score-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

async function run(...lines: string[]): Promise<string> {
  const file = join(home, 'prompts.jsonl');
  writeFileSync(file, lines.join('\n'));
  let out = '';
  await scoreFile(file, (text) => {
    out += text;
  });
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
});
