import { describe, expect, it } from 'vitest';
import { startWorld } from '../support/world.ts';

const hard =
  'Prove step by step that the algorithm is correct, derive its complexity, compare two designs and justify the trade-offs. It must not use recursion and should need at most O(n) memory.';

describe('route_explain', () => {
  it('says where a prompt would go, what moved the score, what it would cost and what would change the decision', async () => {
    const world = await startWorld();
    const { result, text } = await world.call('route_explain', { prompt: hard });
    expect(result.order[0]).toBe('sandbox-box/large-70b');
    expect(result.candidates).toHaveLength(3);
    expect(result.features.map(({ name }: { name: string }) => name)).toContain('reasoning');
    expect(result.would_change.length).toBeGreaterThan(0);
    for (const candidate of result.candidates) {
      expect(text).toContain(`${candidate.backend}/${candidate.model}`);
      expect(text).toContain(candidate.reason);
    }
    for (const fact of [result.why, String(result.score), ...result.would_change]) expect(text).toContain(fact);
  });

  it('calls no model and writes no row', async () => {
    const world = await startWorld();
    await world.call('route_explain', { prompt: hard });
    const rows = await world.readLedger(({ read }) => read.selectFrom('attempt').selectAll().execute());
    expect(rows).toEqual([]);
    expect([...world.sandbox.serverless.calls, ...world.sandbox.dedicated.calls]).toEqual([]);
  });

  it('predicts the backend that complete then uses, and a cost above what it then costs at most by its estimate of the output', async () => {
    const { call } = await startWorld();
    const explained = await call('route_explain', { prompt: 'What is the capital of France?' });
    const done = await call('complete', { prompt: 'What is the capital of France?' });
    expect(explained.result.order[0]).toBe(`${done.result.backend}/${done.result.model}`);
    expect(done.result.cost_usd).toBeLessThan(explained.result.candidates[0].predicted_cost_usd);
  });

  it('lists excluded candidates last, with the reason', async () => {
    const { call } = await startWorld();
    const { result } = await call('route_explain', { prompt: hard, backend: 'serverless' });
    expect(result.candidates.at(-1)).toMatchObject({
      backend: 'sandbox-box',
      verdict: 'excluded',
      reason: 'not asked for (backend: serverless)',
    });
    expect(result.order).not.toContain('sandbox-box/large-70b');
  });

  it('adds the price, its source and age in detail', async () => {
    const { call } = await startWorld();
    const { result } = await call('route_explain', { prompt: 'hi', response_format: 'detailed' });
    expect(result.candidates[0]).toMatchObject({ price_source: 'config', price_as_of: null, max_tokens: 4096 });
    expect(result.features).toHaveLength(8);
  });

  it('dates prices that come from the snapshot', async () => {
    const { call } = await startWorld({
      yaml: (sandbox) =>
        JSON.stringify({
          serverless: [
            {
              id: 'p',
              preset: 'groq',
              baseUrl: `${sandbox.url}/serverless/v1`,
              apiKeyEnv: 'SANDBOX_KEY',
              models: [{ id: 'openai/gpt-oss-20b' }],
            },
          ],
        }),
    });
    const { result, text } = await call('route_explain', { prompt: 'hi', response_format: 'detailed' });
    expect(result.candidates[0]).toMatchObject({
      model: 'openai/gpt-oss-20b',
      tier: 'small',
      price_source: 'snapshot',
      price_as_of: '2026-07-02',
    });
    expect(text).toContain('snapshot of 2026-07-02');
  });

  it('explains also when nothing can take the request', async () => {
    const { call } = await startWorld();
    const { result, isError } = await call('route_explain', { prompt: 'word '.repeat(60_000) });
    expect(isError).toBe(false);
    expect(result).toMatchObject({ order: [], why: 'No candidate can take this request.' });
  });
});
