import { textOf } from '../tokens.ts';
import type { Complexity, Feature, Message, Scorer } from '../types.ts';
import { sufficesAt } from './prior.ts';

/**
 * The first scorer: a documented sum of signs that a prompt is hard. Each rule reads the text once and gives a value
 * from 0 to 1; `weight` is what it adds to the score at most. The weights are judgement, not training; measured
 * routing replaces them behind the same `Scorer` type.
 */
interface Rule {
  name: string;
  weight: number;
  value(prompt: PromptView): number;
}

interface PromptView {
  /** The user's own words, all turns. */
  text: string;
  lower: string;
  /** Everything, system prompt included. */
  characters: number;
  turns: number;
}

/** Head and tail are kept: tasks are stated at the start or at the end, the middle is material. */
const readCharacters = 8_000;
const base = 0.05;

const rules: Rule[] = [
  { name: 'length', weight: 0.2, value: ({ characters }) => saturate(characters - 200, 6_000) },
  {
    name: 'reasoning',
    weight: 0.3,
    value: ({ lower }) =>
      hits(
        lower,
        /\b(prove|proof|derive|analy[sz]e|analysis|evaluate|compare|trade-?offs?|why|explain how|step by step|reason|justify|critique|design|architect\w*|strateg\w+|optimi[sz]e|diagnose|root cause|infer|deduce|plan)\b/g,
        3,
      ),
  },
  {
    name: 'mathematics',
    weight: 0.3,
    value: ({ text, lower }) =>
      Math.max(
        hits(
          lower,
          /\b(theorem|integral|derivative|equation|matrix|eigenvalue|probability|variance|polynomial|prime|modulo|asymptotic|complexity|lemma|converge\w*|distribution)\b/g,
          2,
        ),
        hits(text, /\d\s*[-+*/^=<>≤≥]\s*\d|\\frac|\\sum|\\int|[∑∫√∞≈≠∀∃]/g, 2),
      ),
  },
  {
    name: 'code',
    weight: 0.2,
    value: ({ text }) =>
      hits(
        text,
        /```|\b(function|class|def|import|return|SELECT|const|async|struct|impl|public static)\b.*[({;:]|=>|\bstack ?trace\b|\b(refactor|debug|implement|compile|deadlock|race condition|concurren\w+|thread-safe|algorithm)\b/gi,
        3,
      ),
  },
  {
    name: 'constraints',
    weight: 0.2,
    value: ({ lower, text }) =>
      hits(
        lower,
        /\b(must|should|exactly|at least|at most|without|only if|constraints?|requirements?|ensure|guarantee)\b/g,
        5,
      ) *
        0.6 +
      hits(text, /^\s*(?:[-*•]|\d+[.)])\s/gm, 5) * 0.4,
  },
  {
    name: 'expertise',
    weight: 0.15,
    value: ({ lower }) =>
      hits(
        lower,
        /\b(legal|contract|clause|clinical|diagnosis|patient|pharmac\w+|quarterly|financial|forecast\w*|regression|kubernetes|distributed|cryptograph\w+|quantum|genom\w+|jurisdiction|actuarial|econometric\w*)\b/g,
        3,
      ),
  },
  { name: 'conversation', weight: 0.1, value: ({ turns }) => saturate(turns - 1, 12) },
  {
    name: 'simple_task',
    weight: -0.2,
    value: ({ lower, characters }) =>
      characters > 2_000
        ? 0
        : hits(
            lower,
            /\b(translate|summari[sz]e in one|capital of|define|spell|rephrase|rewrite|fix the grammar|correct the|classify|yes or no|one word|one sentence|list (?:three|five|3|5)|hello|hi|thanks)\b/g,
            1,
          ),
  },
];

export const scoreByRules: Scorer = (messages: readonly Message[]): Complexity => {
  const prompt = view(messages);
  const features: Feature[] = rules.map((rule) => {
    const value = rule.value(prompt);
    return { name: rule.name, value: round(value), contribution: round(value * rule.weight) };
  });
  const total = features.reduce((sum, feature) => sum + feature.contribution, base);
  const score = round(Math.min(1, Math.max(0, total)));
  return { score, suffices: sufficesAt(score), features };
};

function view(messages: readonly Message[]): PromptView {
  const users = messages.filter((message) => message.role === 'user');
  const text = headAndTail(users.map(textOf).join('\n'));
  return {
    text,
    lower: text.toLowerCase(),
    characters: messages.reduce((sum, message) => sum + textOf(message).length, 0),
    turns: users.length,
  };
}

function headAndTail(text: string): string {
  return text.length <= readCharacters
    ? text
    : `${text.slice(0, readCharacters / 2)}\n${text.slice(-readCharacters / 2)}`;
}

/** 0 at or below zero, 0.5 at a third of `scale`, towards 1 beyond it. */
function saturate(value: number, scale: number): number {
  return value <= 0 ? 0 : value / (value + scale / 3);
}

/** Share of `enough` matches that were found, at most 1. The pattern is global, and matches no empty text. */
function hits(text: string, pattern: RegExp, enough: number): number {
  let found = 0;
  pattern.lastIndex = 0;
  while (found < enough && pattern.test(text)) found += 1;
  return found / enough;
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
