import { describe, expect, it } from 'vitest';
import { atScore, scoreByModel } from '../../../src/router/complexity/scorer.ts';
import { route } from '../../../src/router/route.ts';
import type { Complexity } from '../../../src/router/types.ts';
import { ladder } from '../../support/decisions.ts';
import { variedPrompts } from '../../support/prompts.ts';

/** A typo moves a score by less than this. */
const near = 0.2;

const score = (prompt: string) => scoreByModel([{ role: 'user', content: prompt }]);

function choice(complexity: Complexity): string {
  const request = { operation: 'chat', priority: 'balanced', backend: 'auto', choices: 1, needs: [] } as const;
  return route({ request, complexity, inputTokens: 100 }, ladder).candidates[0]?.backend ?? '';
}

/** One letter wrong, missing, or too many, at every place of a text. */
function* typosOf(text: string): Generator<string> {
  for (let at = 0; at < text.length; at += 1) {
    yield `${text.slice(0, at)}x${text.slice(at + 1)}`;
    yield text.slice(0, at) + text.slice(at + 1);
    yield `${text.slice(0, at)}e${text.slice(at)}`;
  }
}

describe.each(variedPrompts)('one typo in: $name', ({ prompt }) => {
  it('moves the score a little, and flips no decision that is not near its threshold', () => {
    const right = score(prompt);
    const bounded = (value: number) => Math.min(1, Math.max(0, value));
    const around = [right.score - near, right.score + near].map((value) => choice(atScore(right, bounded(value))));
    const isNearThreshold = around.some((other) => other !== choice(right));
    let most = 0;
    let flips = 0;
    for (const typo of typosOf(prompt)) {
      const wrong = score(typo);
      most = Math.max(most, Math.abs(wrong.score - right.score));
      if (choice(wrong) !== choice(right)) flips += 1;
    }
    expect(most).toBeLessThan(near);
    if (!isNearThreshold) expect(flips).toBe(0);
  });
});
