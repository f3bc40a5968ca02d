/** How much two answers to one prompt say the same. */
export interface Agreement {
  /** 0 (something else) to 1 (the same). */
  value: number;
  /** What it was seen by, the surest first. */
  by: 'equal' | 'refusal' | 'json' | 'option' | 'number' | 'words';
}

/** What a comparison reads of each answer: the conclusion stands at the end, so that is kept. */
const readCharacters = 20_000;

/**
 * How much two answers agree, on the CPU and without a model. In this order: the same text but for case, spaces and
 * marks; one of them refuses (0); the same JSON, or the share of it; the same option of a choice (1 or 0); the same
 * final number (1 or 0); otherwise the words they share (F1, each word as often as both have it). Free text of the
 * same meaning seldom comes above 0.6 by words: what that is worth is for the reader to judge.
 */
export function agreement(cheap: string, strong: string): Agreement {
  const [one, other] = [clean(cheap), clean(strong)];
  if (one.lower === other.lower) return { value: 1, by: 'equal' };
  const refusals = [one, other].filter(({ lower }) => refuses(lower)).length;
  if (refusals > 0) return { value: refusals === 2 ? 1 : 0, by: 'refusal' };
  return (
    compare('json', leavesIn(cheap), leavesIn(strong), overlap) ??
    compare('option', optionIn(one.text), optionIn(other.text), isSame) ??
    compare('number', numberIn(one), numberIn(other), isNear) ?? {
      value: overlap(wordsIn(one.lower), wordsIn(other.lower)),
      by: 'words',
    }
  );
}

function compare<Found>(
  by: Agreement['by'],
  one: Found | null,
  other: Found | null,
  value: (one: Found, other: Found) => number,
): Agreement | null {
  return one === null || other === null ? null : { value: value(one, other), by };
}

interface Clean {
  text: string;
  lower: string;
}

/** Without most marks of Markdown (`####` may stand before a result), one space between words. */
function clean(answer: string): Clean {
  const text = answer
    .slice(-readCharacters)
    .normalize('NFKC')
    .replace(/[*_`~]|^#{1,3} |^> /gm, '')
    .replace(/\s+/g, ' ')
    .trim();
  return { text, lower: text.toLowerCase().replace(/[.!]$/, '') };
}

/** Only where an answer begins: in the middle of one these words are about something else. */
const refusal =
  /^(?:i['’]?m |i am )?(?:(?:really |very |so )?sorry|unfortunately|i apologi[sz]e)?[ ,.;:—–-]*(?:but )?(?:as an ai\b|i (?:can['’]?t|cannot|can not|won['’]?t|will not|am (?:not able|unable)|['’]?m (?:not able|unable)) (?:to )?(?:help|assist|answer|provide|comply|fulfil|discuss|do that|create|generate|write|support)|i must decline)/;

function refuses(lower: string): boolean {
  return refusal.test(lower.slice(0, 200));
}

/** Every value of a JSON object or list with the way to it; null: the answer is no such thing. */
function leavesIn(answer: string): Map<string, number> | null {
  if (answer.length > readCharacters) return null;
  const text = withoutFence(answer.trim());
  if (!/^[[{]/.test(text)) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const leaves = new Map<string, number>();
  // A stack of our own: what is nested without end must not use up the other.
  const open: { path: string; value: unknown }[] = [{ path: '', value }];
  for (let next = open.pop(); next; next = open.pop()) {
    const { path, value: inner } = next;
    const entries = typeof inner === 'object' && inner !== null ? Object.entries(inner) : [];
    // Long ways are cut, or the ways alone would fill the memory.
    for (const [key, each] of entries) open.push({ path: `${path}/${key}`.slice(-200), value: each });
    if (entries.length === 0) count(leaves, `${path}=${JSON.stringify(inner)}`);
  }
  return leaves;
}

const fence = '```';

function withoutFence(text: string): string {
  if (!text.startsWith(fence) || !text.endsWith(fence)) return text;
  const begin = text.indexOf('\n');
  return begin < 0 ? text : text.slice(begin, -fence.length).trim();
}

const namedOption =
  /\b(?:[Aa]nswer|[Oo]ption|[Cc]hoice)(?: is)?:? ?(?:[Oo]ption )?\(?([A-H])(?:\)|[.,:;]|$|(?= ?(?:\(|because|since|as )))/g;
const bareOption = /^\(?([A-H])(?:[).:]|$)/;

function optionIn(text: string): string | null {
  return Array.from(text.matchAll(namedOption)).at(-1)?.[1] ?? bareOption.exec(text)?.[1] ?? null;
}

const number = '[-+]?\\$?\\d[\\d,]*(?:\\.\\d+)?';
const markedNumber = new RegExp(
  `(?:####|\\\\boxed\\{|\\b(?:answer|result|total|sum)(?: is)?:?|=) ?\\$?(${number})(?![\\d/^])`,
  'gi',
);
const anyNumber = new RegExp(number, 'g');
/** An answer that is this short and has one number is that number. */
const shortCharacters = 60;

/** The number that an answer comes to; null: it does not come to one. */
function numberIn({ text }: Clean): number | null {
  const marked = Array.from(text.matchAll(markedNumber)).at(-1)?.[1];
  if (marked !== undefined) return toNumber(marked);
  if (text.length > shortCharacters) return null;
  const all = text.match(anyNumber) ?? [];
  return all.length === 1 ? toNumber(all[0] ?? '') : null;
}

function toNumber(text: string): number | null {
  const value = Number(text.replace(/[$,]/g, ''));
  return Number.isFinite(value) ? value : null;
}

function isNear(one: number, other: number): number {
  return Math.abs(one - other) <= 1e-6 * Math.max(1, Math.abs(one), Math.abs(other)) ? 1 : 0;
}

function isSame(one: string, other: string): number {
  return one === other ? 1 : 0;
}

/** Scripts without spaces are counted by their characters. */
const word =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]|[\p{L}\p{N}\p{M}]+/gu;

function wordsIn(text: string): Map<string, number> {
  const words = new Map<string, number>();
  for (const found of text.match(word) ?? []) count(words, found);
  return words;
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** Twice what both have over what each has (F1). */
function overlap(one: Map<string, number>, other: Map<string, number>): number {
  let shared = 0;
  for (const [key, times] of one) shared += Math.min(times, other.get(key) ?? 0);
  const all = sizeOf(one) + sizeOf(other);
  return all === 0 ? 0 : (2 * shared) / all;
}

function sizeOf(counts: Map<string, number>): number {
  let size = 0;
  for (const times of counts.values()) size += times;
  return size;
}
