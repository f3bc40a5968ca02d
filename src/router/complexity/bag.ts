/** A sparse vector: slots of a table, with weights whose squares add up to 1. Reused: good until it is filled again. */
export interface Bag {
  length: number;
  slots: Uint16Array;
  weights: Float32Array;
  /** By slot: how often it was added. All zero but while a text is read. */
  counts: Uint16Array;
}

/** Larger than the number of tokens of any text that is read. */
const bagSize = 16_384;

/** An empty bag over `2 ** bits` slots, at most 2 ** 16. */
export function newBag(bits: number): Bag {
  return {
    length: 0,
    slots: new Uint16Array(bagSize),
    weights: new Float32Array(bagSize),
    counts: new Uint16Array(2 ** bits),
  };
}

/** A slot for a 32-bit key. */
export function slotOf(key: number, bits: number): number {
  return Math.imul(key ^ (key >>> 15), 0x9e3779b1) >>> (32 - bits);
}

export function addTo(bag: Bag, slot: number): void {
  const before = bag.counts[slot] ?? 0;
  bag.counts[slot] = before + 1;
  if (before > 0) return;
  bag.slots[bag.length] = slot;
  bag.length += 1;
}

/** Weighs what was added: damped by how often it came, times how telling it is (`rarity`, by slot). */
export function weigh(bag: Bag, rarity: Float32Array): void {
  const { length, slots, weights, counts } = bag;
  let square = 0;
  for (let at = 0; at < length; at += 1) {
    const slot = slots[at] ?? 0;
    const weight = damped(counts[slot] ?? 0) * (rarity[slot] ?? 0);
    counts[slot] = 0;
    weights[at] = weight;
    square += weight * weight;
  }
  const scale = square === 0 ? 0 : 1 / Math.sqrt(square);
  for (let at = 0; at < length; at += 1) weights[at] = (weights[at] ?? 0) * scale;
}

/** The weight of so many occurrences. */
export function damped(count: number): number {
  return logs[count] ?? 1 + Math.log(count);
}

const logs = Float64Array.from({ length: 256 }, (_, count) => 1 + Math.log(Math.max(1, count)));
