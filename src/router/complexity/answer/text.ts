/** An answer as it is checked: without the wrapping of JSON, head and tail of what is very long. */
export interface AnswerText {
  text: string;
  lower: string;
  /** As it came. */
  raw: string;
  /** Of `raw`. */
  characters: number;
}

/** The head shows the kind of an answer, the tail its end. */
const readCharacters = 8_000;

export function headAndTail(text: string): string {
  const half = readCharacters / 2;
  return text.length <= readCharacters ? text : `${text.slice(0, half)}\n${text.slice(-half)}`;
}

export function viewAnswer(answer: string): AnswerText {
  let text = headAndTail(answer);
  // Inside JSON line ends, quotes and the commands of LaTeX are escaped.
  if (/^\s*(?:```\w*\s*)?[{[]/.test(text) || text.includes('"answer"')) {
    text = text.replace(/\\(["\\n])/g, (_, sign: string) => (sign === 'n' ? '\n' : sign));
  }
  if (text.includes('frac')) text = text.replace(/\\[dt]?frac\{(\d+)\}\{(\d+)\}/g, '($1/$2)');
  return { text, lower: text.toLowerCase(), raw: answer, characters: answer.length };
}

/** How often a global pattern is found. */
export function countMatches(text: string, pattern: RegExp): number {
  let found = 0;
  pattern.lastIndex = 0;
  while (pattern.test(text)) found += 1;
  return found;
}

/** Numbers that differ by less than a rounding are one. */
export function keyOf(value: number): number {
  return Math.round(value * 1e6);
}

/** Ends in the middle of a sentence or of a block of code. */
export function isUnfinished(text: string): boolean {
  const last = text.trimEnd().at(-1) ?? '';
  return !/[.!?。！？؟)\]}"'`*$>|\d]/.test(last) || text.split('```').length % 2 === 0;
}
