import { describe, expect, it } from 'vitest';
import { addTo, newBag, weigh } from '../../../src/router/complexity/bag.ts';
import { pieceBits, piecesOf } from '../../../src/router/complexity/pieces.ts';

/** Slots of the pieces of a text, with how often; the bag is empty again. */
function countsOf(text: string): Map<number, number> {
  const bag = piecesOf(text);
  const counts = new Map<number, number>();
  for (const slot of bag.slots.subarray(0, bag.length)) {
    counts.set(slot, bag.counts[slot] ?? 0);
    bag.counts[slot] = 0;
  }
  return counts;
}

function total(counts: Map<number, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

describe('pieces of words', () => {
  it('are three characters between spaces, so that a word has as many pieces as letters', () => {
    expect(total(countsOf('the'))).toBe(3);
    expect(total(countsOf('the  cat\n'))).toBe(6);
    expect(total(countsOf('a'))).toBe(1);
    expect(countsOf('  \n').size).toBe(0);
  });

  it('do not depend on case, place or neighbours', () => {
    expect(countsOf('Cat dog')).toEqual(countsOf('dog\ncat'));
    expect(countsOf('cat')).not.toEqual(countsOf('act'));
  });

  it('survive one typo in a long word for the most part', () => {
    const right = countsOf('jurisprudence');
    const wrong = countsOf('jurisprudance');
    expect([...right.keys()].filter((slot) => wrong.has(slot)).length).toBe(right.size - 3);
  });
});

describe('a weighed bag', () => {
  it('has length one, damps repetition, and is empty for the next text', () => {
    const bag = newBag(4);
    for (const slot of [3, 3, 3, 5]) addTo(bag, slot);
    weigh(bag, new Float32Array(16).fill(1));
    const [often = 0, once = 0] = bag.weights;
    expect(often ** 2 + once ** 2).toBeCloseTo(1);
    expect(often / once).toBeCloseTo(1 + Math.log(3));
    expect([...bag.counts].every((count) => count === 0)).toBe(true);
  });

  it('ignores what training has not seen', () => {
    const bag = piecesOf('zzz');
    weigh(bag, new Float32Array(2 ** pieceBits));
    expect([...bag.weights.subarray(0, bag.length)]).toEqual([0, 0, 0]);
  });
});
