import { nanoToUsd } from '../money.ts';
import { totalCostNano } from '../router/attempt.ts';
import type { Answer } from '../router/router.ts';
import type { Decision } from '../router/types.ts';

/** What the whole answer cost, failed attempts included, in dollars; `unknown` where nobody can tell. */
export const costHeader = 'x-tandem-cost-usd';

export function costText(answer: Answer): string {
  const usd = nanoToUsd(totalCostNano(answer.attempts));
  return usd === null ? 'unknown' : usd.toFixed(9).replace(/\.?0+$/, '');
}

/** Who answers, and how hard the prompt was found. */
export function routeHeaders(source: { backend: string; model: string }, decision: Decision): Record<string, string> {
  return {
    'x-tandem-backend': plain(source.backend),
    'x-tandem-model': plain(source.model),
    'x-tandem-score': decision.complexity.score.toFixed(3),
  };
}

/** Model ids come from the lists of others: nothing in them may end a header. */
function plain(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}
