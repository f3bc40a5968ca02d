import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AppError } from '../../../errors.ts';
import { logOdds } from '../prior.ts';
import type { Kind } from './question.ts';
import { signNames } from './signs.ts';

export type TrainedKind = Exclude<Kind, 'open'>;

/** What training found for one kind of question. */
export interface Head {
  /** Share of right answers in its training data. */
  rightRate: number;
  /** Log odds of an answer without anything unusual. */
  base: number;
  /** In the order of `signNames`; weight 0 for signs that it does not use. */
  mean: Float64Array;
  scale: Float64Array;
  weight: Float64Array;
}

export type AnswerWeights = ReadonlyMap<Kind, Head>;

const fileSchema = z.object({
  version: z.literal(1),
  heads: z.partialRecord(
    z.enum(['story', 'formula', 'choice']),
    z.object({
      right_rate: z.number().gt(0).lt(1),
      base: z.number(),
      /** By name: mean and scale of the sign, and what one scale adds to the log odds. */
      signs: z.record(z.string(), z.tuple([z.number(), z.number().positive(), z.number()])),
    }),
  ),
});

/** Signs further from their mean than this many scales count no more. */
export const furthest = 8;

const file = new URL('../../../../data/answer-weights.json', import.meta.url);
let loaded: AnswerWeights | undefined;

/** The weights that are shipped, read when first needed. */
export function answerWeights(): AnswerWeights {
  loaded ??= parseAnswerWeights(JSON.parse(readFileSync(file, 'utf8')));
  return loaded;
}

export function parseAnswerWeights(content: unknown): AnswerWeights {
  const parsed = fileSchema.safeParse(content);
  const unknown = parsed.data && Object.values(parsed.data.heads).flatMap(({ signs }) => unknownNames(signs));
  if (!parsed.success || unknown === undefined || unknown.length > 0) {
    const what = parsed.success
      ? `it weighs signs that do not exist: ${unknown?.join(', ')}`
      : z.prettifyError(parsed.error);
    throw new AppError('internal', `data/answer-weights.json is not what this version reads: ${what}`, {
      next: 'Install the package again, or train the file with bench/routing/train-answers.mjs.',
    });
  }
  return new Map(
    Object.entries(parsed.data.heads).map(([kind, head]) => [
      kind as TrainedKind,
      {
        rightRate: head.right_rate,
        base: head.base,
        mean: Float64Array.from(signNames, (name) => head.signs[name]?.[0] ?? 0),
        scale: Float64Array.from(signNames, (name) => head.signs[name]?.[1] ?? 1),
        weight: Float64Array.from(signNames, (name) => head.signs[name]?.[2] ?? 0),
      },
    ]),
  );
}

function unknownNames(signs: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(signs).filter((name) => !signNames.includes(name));
}

/** What sign number `at` adds to the log odds that the answer is right. */
export function contributionOf(head: Head, at: number, value: number): number {
  const weight = head.weight[at] ?? 0;
  if (weight === 0) return 0;
  const distance = (value - (head.mean[at] ?? 0)) / (head.scale[at] ?? 1);
  return weight * Math.min(furthest, Math.max(-furthest, distance));
}

/** Without training: three answers in four are taken to be right. */
export const priorBase = logOdds(0.75);
