import { createHash } from 'node:crypto';
import { estimateTokenCount } from 'tokenx';
import { z } from 'zod';

const usualDimensions = 8;

export const embeddingCallSchema = z.looseObject({
  model: z.string(),
  input: z.union([z.string(), z.array(z.string()).min(1)]),
  dimensions: z.int().min(1).max(4_096).optional(),
  encoding_format: z.enum(['float', 'base64']).optional(),
});

/** Vectors that are the same for the same text, and mean nothing. */
export function embeddings(call: z.output<typeof embeddingCallSchema>): unknown {
  const inputs = typeof call.input === 'string' ? [call.input] : call.input;
  const tokens = inputs.reduce((sum, input) => sum + estimateTokenCount(input), 0);
  return {
    object: 'list',
    data: inputs.map((input, index) => {
      const vector = vectorOf(input, call.dimensions ?? usualDimensions);
      const embedding =
        call.encoding_format === 'base64' ? Buffer.from(vector.buffer).toString('base64') : Array.from(vector);
      return { object: 'embedding', index, embedding };
    }),
    model: call.model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

function vectorOf(text: string, dimensions: number): Float32Array {
  return Float32Array.from({ length: dimensions }, (_, index) => {
    const digest = createHash('sha256').update(`${index}:${text}`).digest();
    return digest.readUInt32BE(0) / 2 ** 31 - 1;
  });
}
