import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { billedMinutes, formatUsd, instanceCostNano, nanoToUsd, usdToNano } from '../src/money.ts';

describe('dollars and nano-dollars', () => {
  it('turns every price with up to nine decimals into a whole number', () => {
    expect(usdToNano(0.1 + 0.2)).toBe(300_000_000);
    expect(usdToNano(0.000_000_001)).toBe(1);
    expect(usdToNano(12.34)).toBe(12_340_000_000);
  });

  it('gives back what was put in', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1e15, max: 1e15 }), (nano) => {
        expect(usdToNano(nanoToUsd(nano))).toBe(nano);
      }),
    );
  });

  it('keeps unknown unknown', () => {
    expect(nanoToUsd(null)).toBeNull();
  });
});

describe('the cost of a machine', () => {
  it('is its price for an hour', () => {
    expect(instanceCostNano(75, 60 * 60_000)).toBe(usdToNano(0.75));
  });

  it('counts a part of a minute as a whole one', () => {
    expect(billedMinutes(1)).toBe(1);
    expect(billedMinutes(60_000)).toBe(1);
    expect(billedMinutes(60_001)).toBe(2);
    expect(instanceCostNano(60, 60_001)).toBe(usdToNano(0.02));
  });

  it('is nothing for no time, and for a clock that went back', () => {
    expect(instanceCostNano(75, 0)).toBe(0);
    expect(instanceCostNano(75, -60_000)).toBe(0);
  });

  it('is a whole number of nano-dollars where a minute of the price is not', () => {
    expect(instanceCostNano(100, 60_000)).toBe(16_666_667);
    expect(instanceCostNano(100, 60 * 60_000)).toBe(usdToNano(1));
  });

  it('never falls while time goes on', () => {
    const ms = fc.integer({ min: 0, max: 90 * 24 * 60 * 60_000 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), ms, ms, (price, first, more) => {
        expect(instanceCostNano(price, first + more)).toBeGreaterThanOrEqual(instanceCostNano(price, first));
      }),
    );
  });
});

describe('formatUsd', () => {
  it.each([
    [0, '$0.00'],
    [1, '$0.000000001'],
    [12_345, '$0.0000123'],
    [50_000_000, '$0.05'],
    [51_230_000, '$0.0512'],
    [100_000_000, '$0.10'],
    [12_300_000_000, '$12.30'],
    [1_234_567_890_000, '$1,234.57'],
    [null, 'unknown'],
  ])('writes %s as %s', (nano, text) => {
    expect(formatUsd(nano)).toBe(text);
  });

  it('never writes an amount above zero as nothing', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e15 }), (nano) => {
        expect(formatUsd(nano)).toMatch(/[1-9]/);
      }),
    );
  });

  it('stays within one percent of the amount', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e15 }), (nano) => {
        const written = Number(formatUsd(nano).replace(/[$,]/g, '')) * 1e9;
        expect(Math.abs(written - nano)).toBeLessThanOrEqual(Math.max(nano * 0.01, 5_000_000 * Number(nano >= 1e8)));
      }),
    );
  });
});
