import { describe, expect, it } from 'vitest';
import { priceSnapshot, quoteFor, usualLeadMs } from '../../src/lambda/rates.ts';
import { entryOf } from './entries.ts';

const prices = new Map([
  ['small', 100],
  ['gpu_8x_large', 400],
]);
const quote = (types: string[], maxCentsPerHour: number | null = null) =>
  quoteFor(entryOf({ types, maxCentsPerHour }), prices, (type) => type.length);

describe('what a machine of the schedule costs', () => {
  it('is the price of the type that is wanted most, and at worst that of the dearest', () => {
    expect(quote(['small', 'gpu_8x_large'])).toEqual({
      usual: { type: 'small', centsPerHour: 100, leadMs: 5 },
      worst: { type: 'gpu_8x_large', centsPerHour: 400, leadMs: 12 },
      isTooDear: false,
    });
  });

  it('counts the longest lead for the worst case, whichever type has it', () => {
    expect(quote(['gpu_8x_large', 'a type with a longer name'], 400)?.worst).toMatchObject({ leadMs: 25 });
  });

  it('leaves out types above the limit of the entry; a price at the limit is within it', () => {
    expect(quote(['gpu_8x_large', 'small'], 399)).toMatchObject({ usual: { type: 'small' }, worst: { type: 'small' } });
    expect(quote(['gpu_8x_large', 'small'], 400)).toMatchObject({ usual: { type: 'gpu_8x_large' } });
  });

  it('is the limit of the entry for a type whose price is not known', () => {
    expect(quote(['new', 'small'], 250)).toMatchObject({
      usual: { type: 'new', centsPerHour: 250 },
      worst: { type: 'new', centsPerHour: 250 },
    });
  });

  it('is unknown, not nothing, for a type without price and limit', () => {
    expect(quote(['small', 'new'])).toBeNull();
  });

  it('is the limit, and said to be too dear, when no type costs that little', () => {
    expect(quote(['gpu_8x_large', 'small'], 99)).toMatchObject({
      usual: { type: 'gpu_8x_large', centsPerHour: 99 },
      isTooDear: true,
    });
  });

  it('is in the list that comes with Tandem, which says of when it is', () => {
    const { asOf, prices: known } = priceSnapshot();
    expect(asOf).toBe('2026-09');
    expect(known.get('gpu_1x_gh200')).toBe(229);
    expect([...known.keys()].map(usualLeadMs).every((ms) => ms === 900_000 || ms === 1_500_000)).toBe(true);
    expect(usualLeadMs('gpu_8x_h100_sxm5')).toBeGreaterThan(usualLeadMs('gpu_1x_h100_sxm5'));
  });
});
