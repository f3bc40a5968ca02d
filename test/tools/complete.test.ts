import { describe, expect, it } from 'vitest';
import { startWorld } from '../support/world.ts';

describe('complete', () => {
  it('answers a simple prompt from the cheap serverless model and says what it cost', async () => {
    const { call } = await startWorld();
    const { result, text } = await call('complete', { prompt: 'What is the capital of France?' });
    expect(result).toMatchObject({
      backend: 'sandbox-serverless',
      model: 'small-8b',
      finish_reason: 'stop',
      cost_basis: 'config',
    });
    expect(result.cost_usd).toBeCloseTo((result.input_tokens * 0.05 + result.output_tokens * 0.08) / 1e6, 12);
    expect(text).toContain(result.text);
    expect(text).toContain(result.why);
  });
});
