/** A part of a sum. Of a number, `operator` is `%` or empty; of a sign that belongs to a number, `value` is -1. */
export interface Term {
  kind: 'number' | 'operator' | 'open' | 'close';
  operator: string;
  value: number;
  decimals: number;
  /** Written without blanks around it: `1/2` in `60 / 1/2` is one number. */
  isTight: boolean;
}

export interface Equation {
  /** Numbers on the left. */
  operands: readonly number[];
  /** The signs between them, in order. */
  operators: string;
  /** What the text says the left side comes to. */
  result: number;
  /** `right`, `rounded` (to a whole number), or `wrong`. */
  verdict: 'right' | 'rounded' | 'wrong';
}

/** Judges `left = right`; null when a side cannot be calculated or nothing was calculated at all. */
export function judge(left: readonly Term[], right: readonly Term[]): Equation | null {
  if (!left.some((term) => term.kind === 'operator' && term.value === 0)) return null;
  const stated = evaluate(right, false, true);
  if (stated === null) return null;
  const operands = left.filter((term) => term.kind === 'number').map((term) => term.value);
  const operators = left
    .filter((term) => term.kind === 'operator' && term.value === 0)
    .map((term) => term.operator)
    .join('');
  let rounded = false;
  let isKnown = false;
  for (const bindsTight of [false, true]) {
    for (const asShare of [true, false]) {
      const value = evaluate(left, bindsTight, asShare);
      if (value === null) continue;
      isKnown = true;
      // A result is right whether it is written as 0.75, 75 or 75 %.
      const readings: number[] = [stated, stated * 100, stated / 100];
      for (const other of readings) {
        if (other !== stated && !hasPercent(left) && !hasPercent(right) && !operands.includes(100)) continue;
        const close: Equation['verdict'] = compare(value, other, left, right);
        if (close === 'right') return { operands, operators, result: stated, verdict: 'right' };
        rounded ||= close === 'rounded';
      }
    }
  }
  if (!isKnown) return null;
  return { operands, operators, result: stated, verdict: rounded ? 'rounded' : 'wrong' };
}

function compare(value: number, stated: number, left: readonly Term[], right: readonly Term[]): Equation['verdict'] {
  const difference = Math.abs(value - stated);
  if (difference <= 1e-6 * Math.max(1, Math.abs(value))) return 'right';
  const decimals = Math.max(...right.map((term) => term.decimals));
  const isWhole = left.every((term) => term.decimals === 0 && term.operator !== '/' && term.operator !== '%');
  if (isWhole) return 'wrong';
  if (decimals === 0) return difference < 1 ? 'rounded' : 'wrong';
  return difference <= Math.max(1.01 * 10 ** -decimals, 0.002 * Math.abs(value)) ? 'right' : 'wrong';
}

function hasPercent(terms: readonly Term[]): boolean {
  return terms.some((term) => term.operator === '%');
}

/**
 * The value of a sum, or null when it is none. With `bindsTight`, `a/b` without blanks goes before everything else;
 * with `asShare`, 20 % is 0.2 and otherwise 20.
 */
function evaluate(terms: readonly Term[], bindsTight: boolean, asShare: boolean): number | null {
  const values: number[] = [];
  const operators: { sign: string; rank: number }[] = [];
  const reduce = (rank: number): boolean => {
    for (let top = operators.at(-1); top !== undefined && top.rank >= rank; top = operators.at(-1)) {
      operators.pop();
      const [second, first] = [values.pop(), values.pop()];
      if (first === undefined || second === undefined) return false;
      values.push(apply(top.sign, first, second));
    }
    return true;
  };
  let sign = 1;
  let expectsValue = true;
  for (const term of terms) {
    if (term.kind === 'number') {
      if (!expectsValue) return null;
      values.push(sign * (term.operator === '%' && asShare ? term.value / 100 : term.value));
      sign = 1;
      expectsValue = false;
    } else if (term.kind === 'open') {
      if (!expectsValue || sign < 0) return null;
      operators.push({ sign: '(', rank: -1 });
    } else if (term.kind === 'close') {
      if (expectsValue || !reduce(0) || operators.pop()?.sign !== '(') return null;
      expectsValue = false;
    } else if (term.value === -1) {
      if (!expectsValue) return null;
      sign = -sign;
    } else {
      if (expectsValue) return null;
      const isSum = term.operator === '+' || term.operator === '-';
      const rank = isSum ? 1 : bindsTight && term.isTight ? 3 : 2;
      if (!reduce(rank)) return null;
      operators.push({ sign: term.operator, rank });
      expectsValue = true;
    }
  }
  if (expectsValue || !reduce(0) || operators.length > 0 || values.length !== 1) return null;
  const value = values[0];
  return value !== undefined && Number.isFinite(value) ? value : null;
}

function apply(sign: string, first: number, second: number): number {
  if (sign === '+') return first + second;
  if (sign === '-') return first - second;
  return sign === '*' ? first * second : first / second;
}
