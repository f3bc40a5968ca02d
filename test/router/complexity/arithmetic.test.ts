import { describe, expect, it } from 'vitest';
import { readArithmetic } from '../../../src/router/complexity/answer/arithmetic.ts';

const verdicts = (text: string) => readArithmetic(text).equations.map(({ verdict }) => verdict);

describe('the sums of a text', () => {
  it.each([
    '12 * 3 = 36',
    '2 + 3 * 4 = 14',
    '$5 x 4 = $20',
    '3/4 of 20 is 15',
    '60 mph * 2 hours = <<60*2=120>>120 miles',
    '1,500 + 500 = 2,000 telephone calls',
    '50% of 80 = 40, and 20 * 15% = 3',
    '15 / 20 * 100 = 75%',
    '(2 + 3) × 4 = 20',
    '2 1/2 * 4 = 10',
    '60 / 1/2 = 120',
    '8 / 1.5 = 5.33 (rounded to two decimals)',
    '20 divided by 4 equals 5',
    '31 - 10 = 21 days in October + 15 days in November = 36 days',
    '\\(3 \\times 4 = 12\\)',
    '6.50 + 2.00 - (-1) = 9.50',
    '0.33 - 0.2 = 0.1333',
    'all of the pencils (4 * 12 = 48) and the pens',
  ])('holds: %s', (text) => {
    const found = verdicts(text);
    expect(found.length).toBeGreaterThan(0);
    expect(new Set(found)).toEqual(new Set(['right']));
  });

  it.each([
    '12 * 3 = 35',
    '2 + 3 * 4 = 20',
    '$5 x 4 = $21',
    '3/4 of 20 is 14',
    '<<48/2=25>>25',
    '425 / 5 + 17 = 108',
    '4 feet + 3 inches = 48 inches',
    '6.50 + 2.00 + 1.00 + 1.00 + 0.50 + 3.00 = 13.50',
    '100 - 37 = 53.',
  ])('does not hold: %s', (text) => {
    expect(verdicts(text)).toContain('wrong');
  });

  it('calls a result that was rounded to a whole number rounded', () => {
    expect(verdicts('17 / 3 = 6')).toEqual(['rounded']);
  });

  it.each([
    ['unknowns', '2x + 5 = 11, so 3(4B - 1) = 9 and y = 3'],
    ['powers', 'x^2 - 576 = 0, 10^3 * 2 = 2000, 5.0 × 10⁻³ = 1.0 × 10⁻⁴ / 0.02, 3² + 1 = 10'],
    ['names', 'x1 + x2 = 0 and CO2 + 1 = 3'],
    ['functions', 'sqrt(16) + 1 = 5 and ln(0.343/0.105) = 2'],
    ['factors in words', "2 * Dora's age + 8 = 38"],
    ['factorials', '5! / 2 = 60'],
    ['fractions of formulas', '\\frac{6 \\times 5 \\times 4}{3 \\times 2 \\times 1} = 20'],
    ['Greek letters', '5π / 3 = 300 degrees'],
    ['times of day', 'from 9:00 + 2 hours = 11:00'],
    ['list marks', '1. Take 5 apples\n2. = 7'],
    ['ranges, rates and hyphens', 'a 3-hour walk, 5-10 people, $5/hour, pages 3 - 5'],
    ['a plain statement', 'the price is 15, the number 4 of 12 is 3'],
  ])('accuses nothing because of %s', (_what, text) => {
    expect(verdicts(text)).not.toContain('wrong');
  });

  it('tells what was calculated with and what came out', () => {
    expect(readArithmetic('She has 3 boxes * 4 pens + 2 = 14 pens').equations).toEqual([
      { operands: [3, 4, 2], operators: '*+', result: 14, verdict: 'right' },
    ]);
  });
});
