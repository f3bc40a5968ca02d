import type { Equation } from './equation.ts';
import { keyOf } from './text.ts';

/** How a final value follows from the sums of an answer and the numbers that were given. */
export interface Derivation {
  /** Sums, each once. */
  equations: readonly Equation[];
  /** Sums that lead to the final value; 0 when none does. */
  steps: number;
  /** The longest chain of sums that leads to it. */
  depth: number;
  /** Sums that lead elsewhere. */
  stray: number;
  /** Share of the given numbers that the final value depends on, 0..1. */
  givenShare: number;
  /** Given numbers that the final value does not depend on; each mention counts. */
  givenMissing: number;
  /** Given numbers that no sum uses. */
  unusedMentions: number;
  /** Uses of a given number beyond its mentions. */
  excessUses: number;
}

export function derive(all: readonly Equation[], final: number | null, given: readonly number[]): Derivation {
  const equations = withoutRepeats(all);
  const producer = new Map<number, number>();
  const depths: number[] = [];
  /** By sum and operand: the sum that produced it, or -1. */
  const parents = equations.map((equation, at) => {
    const from = equation.operands.map((value) => producer.get(keyOf(value)) ?? -1);
    depths.push(1 + from.reduce((deepest, parent) => Math.max(deepest, depths[parent] ?? 0), 0));
    producer.set(keyOf(equation.result), at);
    return from;
  });
  const last = final === null ? undefined : producer.get(keyOf(final));
  const reached = new Set<number>(last === undefined ? [] : [last]);
  for (const at of reached) for (const parent of parents[at] ?? []) if (parent >= 0) reached.add(parent);

  const open = tally(given);
  const openInReach = tally(given);
  let excessUses = 0;
  equations.forEach((equation, at) => {
    equation.operands.forEach((value, operand) => {
      if (parents[at]?.[operand] !== -1) return;
      if (take(open, value) === 'gone') excessUses += 1;
      if (reached.has(at)) take(openInReach, value);
    });
  });
  const givenMissing = remaining(openInReach);
  return {
    equations,
    steps: reached.size,
    depth: last === undefined ? 0 : (depths[last] ?? 0),
    stray: last === undefined ? 0 : equations.length - reached.size,
    givenShare: last === undefined || given.length === 0 ? 0 : 1 - givenMissing / given.length,
    givenMissing: last === undefined ? 0 : givenMissing,
    unusedMentions: remaining(open),
    excessUses,
  };
}

/** Calculator notes say the same sum again. */
function withoutRepeats(all: readonly Equation[]): Equation[] {
  const seen = new Set<string>();
  return all.filter((equation) => {
    const name = `${equation.operands.map(keyOf).join()}=${keyOf(equation.result)}`;
    const isNew = !seen.has(name);
    seen.add(name);
    return isNew;
  });
}

function tally(values: readonly number[]): Map<number, number> {
  const left = new Map<number, number>();
  for (const value of values) left.set(keyOf(value), (left.get(keyOf(value)) ?? 0) + 1);
  return left;
}

function take(left: Map<number, number>, value: number): 'taken' | 'gone' | 'foreign' {
  const times = left.get(keyOf(value));
  if (times === undefined) return 'foreign';
  if (times === 0) return 'gone';
  left.set(keyOf(value), times - 1);
  return 'taken';
}

function remaining(left: Map<number, number>): number {
  let sum = 0;
  for (const times of left.values()) sum += times;
  return sum;
}
