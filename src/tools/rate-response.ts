import { z } from 'zod';
import { percent } from './text.ts';
import { defineTool } from './tool.ts';

const ratingHelp = 'must be "up", "down" or a whole number from 1 (useless) to 5 (good)';

export const rateResponse = defineTool({
  name: 'rate_response',
  title: 'Rate an answer',
  effect: 'write',
  scope: 'infer',
  openWorld: false,
  description:
    'Record whether an answer of complete or the gateway was good enough, so that routing learns. Call it when the person says so, or when you checked it (tests pass, wrong fact).',
  input: z.strictObject({
    request_id: z.string().min(1).max(200),
    rating: z.union([z.enum(['up', 'down']), z.int().min(1, ratingHelp).max(5, ratingHelp)], { error: ratingHelp }),
    comment: z.string().max(500).optional(),
  }),
  output: z.object({
    request_id: z.string(),
    rating: z.number(),
    backend: z.string(),
    model: z.string(),
    replaced: z.boolean(),
    ratings_since_calibration: z.int(),
  }),
  async handler(input, { ratings, principal }) {
    const recorded = await ratings.record({
      principal,
      requestId: input.request_id.trim(),
      given: input.rating as 'up' | 'down' | 1 | 2 | 3 | 4 | 5,
      comment: input.comment?.trim() || undefined,
    });
    return {
      request_id: recorded.requestId,
      rating: recorded.rating,
      backend: recorded.backend,
      model: recorded.model,
      replaced: recorded.isReplacement,
      ratings_since_calibration: recorded.sinceCalibration,
    };
  },
  render(output) {
    const since = `${output.ratings_since_calibration} rated since the last calibration`;
    return [
      `Recorded ${percent(output.rating)} for the answer of ${output.backend}/${output.model} to request ${output.request_id}${output.replaced ? '; it takes the place of the earlier rating' : ''}.`,
      `${since}; \`tandem calibrate\` uses them.`,
    ].join(' ');
  },
});
