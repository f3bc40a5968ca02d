import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { catalogueOf, type Price, priceFromUsd, tokenCostNano } from '../../src/usage/prices.ts';

const tokens = (inputTokens: number, outputTokens: number, cachedInputTokens = 0) => ({
  inputTokens,
  cachedInputTokens,
  outputTokens,
  reasoningTokens: 0,
});

function price(input: number, output: number, cached?: number): Price {
  return priceFromUsd(
    { inputUsdPerMTok: input, outputUsdPerMTok: output, cachedInputUsdPerMTok: cached },
    'config',
    null,
  );
}

describe('token cost', () => {
  it('is a thousand nano-dollars per token for each dollar per million', () => {
    expect(tokenCostNano(price(1, 0), tokens(1, 0))).toBe(1_000);
    expect(tokenCostNano(price(0.05, 0.08), tokens(1_000, 500))).toBe(1_000 * 50 + 500 * 80);
  });

  it('is the list price for a million tokens of each kind', () => {
    expect(tokenCostNano(price(3, 15, 0.3), tokens(2_000_000, 1_000_000, 1_000_000))).toBe(18_300_000_000);
  });

  it('rounds a part of a nano-dollar up', () => {
    const tiny = price(0.000_1, 0);
    expect(tiny.inputNanoUsdPerMTok).toBe(100_000);
    expect(tokenCostNano(tiny, tokens(1, 0))).toBe(1);
    expect(tokenCostNano(tiny, tokens(10, 0))).toBe(1);
    expect(tokenCostNano(tiny, tokens(11, 0))).toBe(2);
  });

  it('counts cached tokens at their own price', () => {
    expect(tokenCostNano(price(1, 1, 0.1), tokens(100, 0, 40))).toBe(60 * 1_000 + 40 * 100);
  });

  it('counts cached tokens at the full price where there is no other', () => {
    expect(tokenCostNano(price(1, 1), tokens(100, 0, 40))).toBe(100_000);
  });

  it('does not count reasoning tokens twice', () => {
    expect(tokenCostNano(price(1, 2), { ...tokens(0, 100), reasoningTokens: 80 })).toBe(200_000);
  });

  it('is nothing for a free model', () => {
    expect(tokenCostNano(price(0, 0), tokens(1_000_000, 1_000_000))).toBe(0);
  });

  it('is what exact arithmetic gives, rounded up', () => {
    const count = fc.integer({ min: 0, max: 100_000 });
    const nanoPerMTok = fc.integer({ min: 0, max: 20_000_000_000 });
    fc.assert(
      fc.property(count, count, count, nanoPerMTok, nanoPerMTok, nanoPerMTok, (fresh, cached, out, a, b, c) => {
        const usage = tokens(fresh + cached, out, cached);
        const exact = BigInt(fresh) * BigInt(a) + BigInt(cached) * BigInt(b) + BigInt(out) * BigInt(c);
        const list: Price = {
          inputNanoUsdPerMTok: a,
          cachedInputNanoUsdPerMTok: b,
          outputNanoUsdPerMTok: c,
          source: 'config',
          asOf: null,
        };
        expect(BigInt(tokenCostNano(list, usage))).toBe((exact + 999_999n) / 1_000_000n);
      }),
    );
  });

  it('of a reservation is never below the cost of an answer within it', () => {
    const count = fc.integer({ min: 0, max: 2_000_000 });
    const usd = fc.double({ min: 0, max: 600, noNaN: true });
    fc.assert(
      fc.property(count, count, count, count, usd, usd, (input, moreInput, output, moreOutput, a, b) => {
        const list = price(a, b);
        const reserved = tokenCostNano(list, tokens(input + moreInput, output + moreOutput));
        expect(tokenCostNano(list, tokens(input, output))).toBeLessThanOrEqual(reserved);
      }),
    );
  });
});

describe('the price snapshot', () => {
  it('has models with the day their prices were read', () => {
    const models = catalogueOf('groq');
    expect(models.length).toBeGreaterThan(0);
    for (const model of models) expect(model.price).toMatchObject({ source: 'snapshot', asOf: '2026-07-02' });
  });

  it('has whole, sensible prices for every model', () => {
    for (const { id, price: list, contextWindowTokens } of catalogueOf('groq')) {
      for (const nano of [list.inputNanoUsdPerMTok, list.outputNanoUsdPerMTok, list.cachedInputNanoUsdPerMTok]) {
        expect(Number.isSafeInteger(nano) && nano >= 0, id).toBe(true);
      }
      expect(list.cachedInputNanoUsdPerMTok, id).toBeLessThanOrEqual(list.inputNanoUsdPerMTok);
      expect(contextWindowTokens === null || contextWindowTokens > 0, id).toBe(true);
    }
  });

  it('has nothing for a provider that it does not know, also one named like a part of every object', () => {
    expect(catalogueOf('nobody')).toEqual([]);
    expect(catalogueOf('constructor')).toEqual([]);
  });
});
