import type { Evidence } from './evidence.ts';
import { countMatches, isUnfinished } from './text.ts';

/** A defect that can be seen in an answer to any prompt. Its weight is judgement, not training. */
interface Defect {
  name: string;
  /** What the whole defect adds to the log odds of the answer being right. */
  weight: number;
  /** Trained kinds weigh it by themselves. */
  isTrained?: true;
  /** 0 (absent) to 1. */
  read(evidence: Evidence): number;
}

const refusal =
  /\b(?:i'?m|i am) sorry,? (?:but|i|as)\b|\bi (?:cannot|can't|can not|won't|am unable to|am not able to|'m unable to) (?:help|assist|answer|provide|do|comply|fulfil|create|write|give|access|browse|discuss)|\bas an ai\b|\bunable to (?:help|assist|comply)\b|tut mir leid,|\blo siento,|je suis désolée?,|对不起，|申し訳ありません/;
const asksJson =
  /\b(?:as|in|valid|only|return|returns|output|respond with|reply with|answer with|produce|give me|generate)(?: (?:a|an|the|only|valid|strict|raw|single|one)){0,3} json\b/;
const asksCode =
  /\b(?:write|implement|create|code|give me|provide)(?: [\w'-]+){0,6} (?:function|script|program|class|query|regex|regexp|code|method|component|endpoint|snippet)\b/;
const looksLikeCode =
  /```|^\s{0,40}(?:def|class|import|from|const|let|var|function|return|public|#include|SELECT|select|fn|func)\b|[;{}][ \t]{0,20}$|=>|\\[dwsb]|\[\^/m;
const asksOneWord =
  /\b(?:one|single) word\b|\bjust the (?:word|name|number|letter)\b|\bonly the (?:word|name|number|letter)\b/;
const asksYesOrNo = /\byes or no\b|\btrue or false\b/;

const defects: Defect[] = [
  { name: 'empty', weight: -6, read: ({ answer }) => has(!/\S/.test(answer.text)) },
  {
    name: 'refusal',
    weight: -3,
    read: ({ answer }) => has(refusal.test(answer.lower.slice(0, 400).replaceAll('’', "'"))),
  },
  { name: 'echo', weight: -3, read: ({ answer, question }) => has(isEcho(answer.text, question.text)) },
  { name: 'loop', weight: -2.5, read: ({ answer }) => has(isLoop(answer.text)) },
  {
    name: 'no_json',
    weight: -2.5,
    read: ({ answer, question }) => (asksJson.test(question.lower) ? lacksJson(answer.raw) : 0),
  },
  {
    name: 'no_code',
    weight: -2,
    read: ({ answer, question }) => has(asksCode.test(question.lower) && !looksLikeCode.test(answer.text)),
  },
  { name: 'no_option', weight: -1.5, isTrained: true, read: (evidence) => has(namesNoOption(evidence)) },
  {
    name: 'too_long',
    weight: -1.5,
    read: ({ answer, question }) => has(asksOneWord.test(question.lower) && answer.text.trim().length > 60),
  },
  {
    name: 'neither_yes_nor_no',
    weight: -1.5,
    read: ({ answer, question }) =>
      has(asksYesOrNo.test(question.lower) && !/\b(?:yes|no|true|false)\b/.test(answer.lower)),
  },
  {
    name: 'unfinished',
    weight: -0.8,
    isTrained: true,
    read: ({ answer }) => has(endsInSentence(answer.text)),
  },
  { name: 'wrong_sums', weight: -1.2, isTrained: true, read: ({ wrongSums }) => Math.min(1, wrongSums) },
  { name: 'hedging', weight: -1, isTrained: true, read: ({ words }) => Math.min(1, words.count('hedging') / 5) },
];

const largestParsed = 200_000;

export interface FoundDefect {
  name: string;
  value: number;
  contribution: number;
}

/** The defects that are there. With `isTrained`, without those that the trained weights see already. */
export function findDefects(evidence: Evidence, isTrained: boolean): FoundDefect[] {
  return defects
    .filter((defect) => !isTrained || defect.isTrained !== true)
    .map(({ name, weight, read }) => ({ name, value: read(evidence), weight }))
    .filter(({ value }) => value > 0)
    .map(({ name, value, weight }) => ({ name, value, contribution: value * weight }));
}

function has(value: boolean): number {
  return value ? 1 : 0;
}

/** 1 without any JSON, 0.5 with JSON among other text. What is too large to be parsed on the way is believed. */
function lacksJson(answer: string): number {
  const text = answer.trim();
  if (text.length > largestParsed || parses(text)) return 0;
  const start = text.search(/[{[]/);
  const end = Math.max(text.lastIndexOf('}'), text.lastIndexOf(']'));
  if (start < 0 || end < start || !parses(text.slice(start, end + 1))) return 1;
  const isFenced = /^```(?:json)?$/i.test(text.slice(0, start).trim()) && text.slice(end + 1).trim() === '```';
  return isFenced ? 0 : 0.5;
}

function parses(text: string): boolean {
  try {
    return typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}

/** Lists and verses end without a full stop; a long last line does not. */
function endsInSentence(text: string): boolean {
  const said = text.trimEnd();
  return said.length - said.lastIndexOf('\n') > 60 && isUnfinished(said);
}

function isEcho(answer: string, prompt: string): boolean {
  const said = answer.trim();
  return said.length > 20 && said === prompt.trim();
}

/** The end of it stands there four times and makes up a good part of it, or most lines are repeats. */
function isLoop(text: string): boolean {
  const end = text.trimEnd().slice(-40);
  if (text.length < 200 || !/\p{L}/u.test(end)) return false;
  const times = text.split(end).length - 1;
  if (times >= 4 && times * end.length > text.length / 4) return true;
  const lines = text
    .split(/[\n.]/)
    .map((line) => line.trim())
    .filter((line) => line.length > 12);
  return lines.length >= 8 && new Set(lines).size < lines.length / 2;
}

function namesNoOption({ question, answer, final }: Evidence): boolean {
  if (question.options.length < 3 || final.letter !== null) return false;
  return (
    countMatches(answer.text, /\b[A-P]\b/g) === 0 && !question.options.some((option) => answer.text.includes(option))
  );
}
