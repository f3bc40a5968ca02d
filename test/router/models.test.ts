import { describe, expect, it } from 'vitest';
import { presetIds, presets } from '../../src/config/presets.ts';
import { configuredModels, discoveredModels, tierOf } from '../../src/router/backends/models.ts';
import { catalogueOf } from '../../src/usage/prices.ts';
import { startWorld } from '../support/world.ts';

const deepinfra = catalogueOf('deepinfra');
const listed = (ids: string[]) => ids.map((id) => ({ id, contextWindowTokens: null, supports: null }));
const picks = (models: { id: string; auto: boolean }[]) => models.filter(({ auto }) => auto).map(({ id }) => id);

describe('tiers', () => {
  it.each([
    ['meta-llama/Llama-3.1-8B-Instruct', 'small'],
    ['openai/gpt-oss-20b', 'small'],
    ['Qwen/Qwen3-32B', 'medium'],
    ['mistralai/Mixtral-8x7B-Instruct', 'medium'],
    ['openai/gpt-oss-120b', 'large'],
    ['Qwen/Qwen3-235B-A22B-Instruct-2507', 'large'],
    ['gemma-3-4b-it', 'small'],
    ['some-model', 'medium'],
  ])('%s is %s', (id, tier) => {
    expect(tierOf(id, undefined)).toBe(tier);
  });

  it('come from the price where the name says nothing', () => {
    expect([0.1e9, 0.5e9, 5e9].map((price) => tierOf('mystery', price))).toEqual(['small', 'medium', 'large']);
  });
});

describe('models of a provider', () => {
  it('are picked for routing from what the provider lists now', () => {
    const models = discoveredModels(listed(['openai/gpt-oss-120b', 'openai/gpt-oss-20b', 'brand/new-9b']), deepinfra);
    expect(picks(models)).toEqual(['openai/gpt-oss-120b', 'openai/gpt-oss-20b']);
    expect(models[2]).toMatchObject({ id: 'brand/new-9b', auto: false, price: null });
  });

  it('are replaced by the cheapest of their tier when the well-known ones are gone', () => {
    const left = deepinfra
      .filter(({ id }) => !/gpt-oss|qwen|llama|gemma|mistral|deepseek/i.test(id))
      .map(({ id }) => id);
    const models = discoveredModels(listed(left), deepinfra);
    expect(left.length).toBeGreaterThan(0);
    expect(picks(models).length).toBeGreaterThan(0);
  });

  it('come from the dated snapshot when the provider cannot be asked', () => {
    const models = discoveredModels(null, deepinfra);
    expect(models).toHaveLength(deepinfra.length);
    expect(picks(models)).toContain('openai/gpt-oss-120b');
  });

  it("may all be picked on a server of one's own, but not embedders", () => {
    expect(picks(discoveredModels(listed(['my-llm', 'my-embedding']), []))).toEqual(['my-llm']);
  });

  it.each(presetIds)('of the preset %s include something for the router', (id) => {
    const models = discoveredModels(null, catalogueOf(presets[id].catalogue));
    const chosen = picks(models);
    expect(chosen.length).toBeGreaterThan(0);
    expect(chosen.length).toBeLessThanOrEqual(3);
    expect(chosen.filter((model) => /embed|guard|rerank|whisper|ocr/i.test(model))).toEqual([]);
  });

  it('take what the configuration leaves out from the snapshot', () => {
    const [model] = configuredModels([{ id: 'openai/gpt-oss-120b' }], deepinfra);
    expect(model).toMatchObject({
      tier: 'large',
      price: { source: 'snapshot', asOf: '2026-07-02', inputNanoUsdPerMTok: 39_000_000 },
    });
    expect(model?.contextWindowTokens).toBeGreaterThan(100_000);
  });

  it('are asked for live when the configuration names none, and used', async () => {
    const { call } = await startWorld({
      yaml: (sandbox) => JSON.stringify({ dedicated: [{ id: 'box', baseUrl: `${sandbox.url}/dedicated/v1` }] }),
    });
    const { result } = await call('complete', { prompt: 'Hello' });
    expect(result).toMatchObject({ backend: 'box', model: 'large-70b' });
  });
});
