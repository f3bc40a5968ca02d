import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { AppError } from './errors.ts';
import { escalationGain } from './router/cascade.ts';
import { checkAnswer } from './router/complexity/answer.ts';
import { scoreByModel } from './router/complexity/scorer.ts';
import type { Scorer } from './router/types.ts';

const rowSchema = z.object({
  // Larger numbers would come out as others.
  id: z.union([z.string().regex(/^[^\t\n\r]*$/, 'has a tab or a line break'), z.int()]),
  prompt: z.string(),
  weak_answer: z.string().nullish(),
});

/**
 * The extra cost of the large model grows with the prompt. The full power (1) would let length drown a gain that is
 * known only roughly; this much saved most at equal quality.
 */
const lengthPower = 0.2;

/**
 * Rates the prompts of a JSONL file (or of stdin) and prints `id<TAB>score`: higher needs the strong model.
 * With `perDollar`, higher gains more per extra dollar. With `cascade`, the small model's answer (`weak_answer`) is
 * checked where it is given, and the score is what the large model would add to it, as a share of right answers.
 * Throws `invalid_input` with the number of the first bad line.
 */
export async function scoreFile(
  file: string | undefined,
  print: (text: string) => void,
  { perDollar = false, cascade = false }: { perDollar?: boolean; cascade?: boolean } = {},
  scorer: Scorer = scoreByModel,
): Promise<void> {
  const input = file === undefined || file === '-' ? process.stdin : createReadStream(file);
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  let number = 0;
  let out = '';
  try {
    for await (const line of lines) {
      number += 1;
      if (line.trim() === '') continue;
      const { id, prompt, weak_answer: answer } = readRow(line, number);
      const complexity = scorer([{ role: 'user', content: prompt }]);
      const check = cascade && typeof answer === 'string' ? checkAnswer(prompt, answer) : null;
      const score = cascade ? escalationGain(complexity, check) : complexity.score;
      out += `${id}\t${perDollar ? score / Math.max(1, prompt.length) ** lengthPower : score}\n`;
      if (out.length > 65_536) {
        print(out);
        out = '';
      }
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('invalid_input', `The prompts cannot be read: ${String(error)}.`, {
      next: 'Give a JSONL file, or pipe one to stdin.',
      cause: error,
    });
  } finally {
    if (out !== '') print(out);
  }
}

function readRow(line: string, number: number): z.infer<typeof rowSchema> {
  try {
    // Some editors begin a file with a byte order mark.
    return rowSchema.parse(JSON.parse(number === 1 ? line.replace(/^\uFEFF/, '') : line));
  } catch (error) {
    const [issue] = error instanceof z.ZodError ? error.issues : [];
    const why = issue ? `${issue.path.join('.') || 'the row'}: ${issue.message}` : 'it is no JSON';
    throw new AppError('invalid_input', `Line ${number} is no row with \`id\` and \`prompt\` (${why}).`, {
      next: 'Each line must be JSON such as {"id": "1", "prompt": "..."}, and "weak_answer" a text where it is given.',
      cause: error,
    });
  }
}
