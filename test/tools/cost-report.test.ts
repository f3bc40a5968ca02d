import { describe, expect, it } from 'vitest';
import { startWorld } from '../support/world.ts';

describe('cost_report', () => {
  it('adds up what was asked, with table and chart, and text and structure carry the same facts', async () => {
    const { call } = await startWorld();
    const answers = [
      await call('complete', { prompt: 'Hello', backend: 'serverless' }),
      await call('complete', { prompt: 'Good morning', backend: 'serverless' }),
      await call('complete', { prompt: 'Hello', backend: 'dedicated' }),
    ];
    const cost = answers.reduce((sum, { result }) => sum + result.cost_usd, 0);
    const { result, text } = await call('cost_report', { period: 'today' });
    expect(result.totals).toMatchObject({ requests: 3, answered: 3, error_rate: 0 });
    expect(result.totals.cost_usd).toBeCloseTo(cost, 9);
    expect(result.totals.serverless_share).toBeCloseTo(2 / 3);
    expect(result.groups.map(({ key }: { key: string }) => key)).toEqual(['sandbox-box', 'sandbox-serverless']);
    expect(text).toContain('3 requests, 3 answered');
    expect(text).toContain('█');
    for (const group of result.groups) expect(text).toContain(group.key);
    expect(text).toContain(result.budget.daily.resets_at);
  });

  it.each(['day', 'backend', 'model', 'kind', 'principal'])('groups by %s', async (group_by) => {
    const { call } = await startWorld();
    await call('complete', { prompt: 'Hello' });
    const { result } = await call('cost_report', { group_by });
    const key = {
      day: /^\d{4}-\d\d-\d\d$/,
      backend: /^sandbox-serverless$/,
      model: /^sandbox-serverless\/small-8b$/,
      kind: /^serverless$/,
      principal: /^local$/,
    }[group_by];
    expect(result.groups).toHaveLength(1);
    expect(result.groups[0].key).toMatch(key ?? /never/);
  });

  it('counts failures, and how often each backend failed', async () => {
    const world = await startWorld();
    world.sandbox.serverless.override = 'error-500';
    await world.call('complete', { prompt: 'Hello', backend: 'serverless' });
    await world.call('complete', { prompt: 'Hello', backend: 'dedicated' });
    const { result } = await world.call('cost_report');
    expect(result.totals).toMatchObject({ requests: 2, answered: 1, error_rate: 0.5 });
    expect(result.groups).toMatchObject([
      { key: 'sandbox-box', error_rate: 0 },
      { key: 'sandbox-serverless', error_rate: 1 },
    ]);
  });

  it('is empty, not wrong, when nothing happened', async () => {
    const { call } = await startWorld();
    const { result, text } = await call('cost_report', { from: '2020-01-01', to: '2020-02-01' });
    expect(result.totals).toMatchObject({
      requests: 0,
      cost_usd: 0,
      cost_per_request_usd: null,
      p50_ms: null,
      serverless_share: null,
    });
    expect(text).toContain('0 requests');
  });

  it.each([
    [{ period: 'today', from: '2026-01-01' }, /Both period and from\/to/],
    [{ from: 'yesterday' }, /from is not a date: "yesterday"/],
    [{ from: '2026-02-01', to: '2026-01-01' }, /from is not before to/],
    [{ period: '90d' }, /period: .*"today"\|"7d"\|"30d"/],
    [{ group_by: 'colour' }, /group_by: .*"day"\|"backend"/],
  ])('refuses %j and says what is valid', async (input, message) => {
    const { call } = await startWorld();
    const { isError, text } = await call('cost_report', input);
    expect(isError).toBe(true);
    expect(text).toMatch(message);
  });
});
