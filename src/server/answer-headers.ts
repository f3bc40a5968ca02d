import { nanoPerUsd } from '../money.ts';
import { totalCostNano } from '../router/attempt.ts';
import type { Answer } from '../router/router.ts';
import type { Decision } from '../router/types.ts';

/** What the whole answer cost, failed attempts included, in dollars; `unknown` where nobody can tell. */
export const costHeader = 'x-tandem-cost-usd';

export function costText(answer: Answer): string {
  const nanoUsd = totalCostNano(answer.attempts);
  return nanoUsd === null ? 'unknown' : plainUsd(nanoUsd);
}

/** Digits only, and no more of them than needed: `0.00000146`. */
function plainUsd(nanoUsd: number): string {
  const [whole, fraction] = [Math.floor(nanoUsd / nanoPerUsd), nanoUsd % nanoPerUsd];
  if (fraction === 0) return String(whole);
  const digits = String(fraction).padStart(9, '0');
  let length = digits.length;
  while (digits[length - 1] === '0') length -= 1;
  return `${whole}.${digits.slice(0, length)}`;
}

/** Who answers, and how hard the prompt was found. */
export function routeHeaders(source: { backend: string; model: string }, decision: Decision): Record<string, string> {
  return {
    'x-tandem-backend': plain(source.backend),
    'x-tandem-model': plain(source.model),
    'x-tandem-score': decision.complexity.score.toFixed(3),
  };
}

const isPlain = /^[\x20-\x7e]*$/;

/** Model ids come from the lists of others: nothing in them may end a header. */
function plain(text: string): string {
  return isPlain.test(text) ? text : text.replace(/[^\x20-\x7e]/g, '?');
}

/** Name, value, name, value, as node:http takes them: turning objects into that by spreading is dear for every answer. */
export function flatHeaders(...sets: Readonly<Record<string, unknown>>[]): string[] {
  const flat: string[] = [];
  for (const set of sets) for (const name of Object.keys(set)) flat.push(name, String(set[name]));
  return flat;
}
