import type { Feature } from '../types.ts';
import { gather } from './answer/evidence.ts';
import { findDefects } from './answer/format.ts';
import { type Kind, readQuestion } from './answer/question.ts';
import { readSigns, signNames } from './answer/signs.ts';
import { viewAnswer } from './answer/text.ts';
import { type AnswerWeights, answerWeights, contributionOf, priorBase } from './answer/weights.ts';
import { chance } from './prior.ts';

/** What can be said on the CPU of an answer, without knowing the right one. */
export interface AnswerCheck {
  /** Chance that the answer is right, 0..1. */
  right: number;
  /** `trained`: of a kind with known outcomes. `prior`: judged by its form alone, which says little of its content. */
  basis: 'trained' | 'prior';
  kind: Kind;
  /** Share of right answers among those of this kind, before this one was read. */
  rightRate: number;
  /** What moved the log odds, the strongest first; with `base` they add up to those of `right`. */
  signs: readonly Feature[];
  base: number;
}

/** What kind of prompt it is; an answer without a sum may show that a `story` is none. */
export function kindOfPrompt(prompt: string): Kind {
  const { kind, asksQuantity } = readQuestion(prompt);
  return kind === 'story' && !asksQuantity ? 'open' : kind;
}

/**
 * Checks the answer of a small model before a larger one is asked: whether its sums are right, whether it uses what was
 * given, whether it ends in an answer of the form that was asked for, how sure it sounds. Linear in what it reads, at
 * most 8,000 characters of each; pure.
 */
export function checkAnswer(prompt: string, answer: string, weights: AnswerWeights = answerWeights()): AnswerCheck {
  const evidence = gather(readQuestion(prompt), viewAnswer(answer));
  const { kind } = evidence;
  const head = weights.get(kind);
  const signs: Feature[] = findDefects(evidence, head !== undefined);
  if (head !== undefined) {
    for (const [at, value] of readSigns(evidence).entries()) {
      const contribution = contributionOf(head, at, value);
      if (contribution !== 0) signs.push({ name: signNames[at] ?? '', value, contribution });
    }
  }
  const base = head?.base ?? priorBase;
  const odds = signs.reduce((sum, { contribution }) => sum + contribution, base);
  signs.sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution));
  return {
    right: chance(odds),
    basis: head === undefined ? 'prior' : 'trained',
    kind,
    rightRate: head?.rightRate ?? chance(priorBase),
    signs,
    base,
  };
}
