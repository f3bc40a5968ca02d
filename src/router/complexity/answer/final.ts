/** What an answer commits itself to. */
export interface FinalAnswer {
  /** As written; empty when nothing was marked as the answer. */
  text: string;
  /** The first number of it; without a marked answer the last number of all. */
  value: number | null;
  /** The letter of an option. */
  letter: string | null;
  /** How it was marked, or `none`. */
  mark: 'field' | 'hashes' | 'boxed' | 'phrase' | 'none';
  /** Where it starts, in characters. */
  at: number;
  /** Answers that were marked and differ. */
  distinct: number;
}

const marks: { mark: Exclude<FinalAnswer['mark'], 'none'>; pattern: RegExp }[] = [
  { mark: 'field', pattern: /"answer"\s*:\s*("?[^"\n}]{0,200})/g },
  { mark: 'hashes', pattern: /####\s*([^\n]{0,120})/g },
  { mark: 'boxed', pattern: /\\boxed\s*\{([^\n]{0,120})/g },
  { mark: 'phrase', pattern: /\banswer\s*(?:is|:|=)[\s:*($]*([^\n]{0,80})/gi },
];
/** What follows is no more of the answer. */
const sentenceEnd = /[.!?;](?=\s)/;
const numberPattern = /-?\$?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\$?\d+(?:\.\d+)?/g;

export function findFinal(text: string): FinalAnswer {
  for (const { mark, pattern } of marks) {
    pattern.lastIndex = 0;
    let found: FinalAnswer | null = null;
    const seen = new Set<string>();
    for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
      const written = (match[1] ?? '').replace(/^"/, '').split(sentenceEnd, 1)[0]?.trim() ?? '';
      if (written === '') continue;
      const value = firstNumber(written);
      const letter = /^[("'\s]*([A-P])(?![\p{L}\d'])/u.exec(written)?.[1] ?? null;
      seen.add(letter ?? (value === null ? written : String(value)));
      found = { text: written, value, letter, mark, at: match.index, distinct: seen.size };
    }
    if (found !== null) return { ...found, distinct: seen.size };
  }
  return { text: '', value: lastNumber(text), letter: null, mark: 'none', at: text.length, distinct: 0 };
}

function firstNumber(text: string): number | null {
  numberPattern.lastIndex = 0;
  const match = numberPattern.exec(text);
  return match === null ? null : toNumber(match[0]);
}

function lastNumber(text: string): number | null {
  const matches = text.slice(-300).match(numberPattern);
  const last = matches?.at(-1);
  return last === undefined ? null : toNumber(last);
}

function toNumber(text: string): number {
  return Number(text.replaceAll(/[$,]/g, ''));
}
