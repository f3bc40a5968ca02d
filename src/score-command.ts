import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { AppError } from './errors.ts';
import { scoreByModel } from './router/complexity/scorer.ts';
import type { Scorer } from './router/types.ts';

const rowSchema = z.object({ id: z.union([z.string(), z.number()]), prompt: z.string() });

/**
 * The extra cost of the large model grows with the prompt. The full power (1) would let length drown a gain that is
 * known only roughly; this much saved most at equal quality.
 */
const lengthPower = 0.2;

/**
 * Rates the prompts of a JSONL file (or of stdin) and prints `id<TAB>score`: higher needs the strong model.
 * With `perDollar`, higher gains more per extra dollar. Throws `invalid_input` with the number of the first bad line.
 */
export async function scoreFile(
  file: string | undefined,
  print: (text: string) => void,
  { perDollar = false }: { perDollar?: boolean } = {},
  scorer: Scorer = scoreByModel,
): Promise<void> {
  const input = file === undefined ? process.stdin : createReadStream(file);
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  let number = 0;
  let out = '';
  try {
    for await (const line of lines) {
      number += 1;
      if (line.trim() === '') continue;
      const { id, prompt } = readRow(line, number);
      const { score } = scorer([{ role: 'user', content: prompt }]);
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
    const row = rowSchema.parse(JSON.parse(line));
    if (/[\t\n\r]/.test(String(row.id))) throw new Error('its id has a tab or a line break');
    return row;
  } catch (error) {
    throw new AppError('invalid_input', `Line ${number} is no row with \`id\` and \`prompt\`.`, {
      next: 'Each line must be JSON such as {"id": "1", "prompt": "..."}.',
      cause: error,
    });
  }
}
