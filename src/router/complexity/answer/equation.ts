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

/**
 * Judges `left = right`; null when a side cannot be calculated or nothing was calculated at all. A sum is only wrong
 * when it is in every way that it may be meant.
 */
export function judge(left: readonly Term[], right: readonly Term[]): Equation | null {
  const operators = left.filter(isOperator).map((term) => term.operator);
  if (operators.length === 0) return null;
  const values = [false, true].flatMap((bindsTight) => [
    evaluate(left, bindsTight, true),
    evaluate(left, bindsTight, false),
  ]);
  const operands = left.filter((term) => term.kind === 'number').map((term) => term.value);
  const mayScale = operands.includes(100) || hasPercent(left) || hasPercent(right);
  let best: Equation | null = null;
  for (const result of resultsOf(right)) {
    // As a share of 100 a result is written as 0.75, 75 or 75 %.
    const readings = mayScale ? [result, result * 100, result / 100] : [result];
    for (const value of values) {
      if (value === null) continue;
      for (const reading of readings) {
        const verdict = compare(value, reading, left, right);
        if (verdict === 'right') return { operands, operators: operators.join(''), result, verdict };
        if (best === null || verdict === 'rounded') best = { operands, operators: operators.join(''), result, verdict };
      }
    }
  }
  return best;
}

/** What the right side comes to; in "31 - 10 = 21 + 15 = 36" also what it begins with. */
function resultsOf(right: readonly Term[]): number[] {
  const whole = evaluate(right, false, true);
  if (whole === null) return [];
  const first = right[0];
  return right.some(isOperator) && first?.kind === 'number' ? [whole, first.value] : [whole];
}

function isOperator(term: Term): boolean {
  return term.kind === 'operator' && term.value === 0;
}

function compare(value: number, stated: number, left: readonly Term[], right: readonly Term[]): Equation['verdict'] {
  const difference = Math.abs(value - stated);
  if (difference <= 1e-6 * Math.max(1, Math.abs(value))) return 'right';
  if (left.every((term) => term.decimals === 0 && term.operator !== '/' && term.operator !== '%')) return 'wrong';
  const decimals = Math.max(...right.map((term) => term.decimals));
  const allowed = Math.max(1.01 * 10 ** -decimals, 0.002 * Math.abs(value), roundingOf(value, left));
  if (decimals === 0) return difference < 1 ? 'rounded' : difference <= roundingOf(value, left) ? 'right' : 'wrong';
  return difference <= allowed ? 'right' : 'wrong';
}

/** How far off a result may be because its numbers were rounded to the decimals that they are written with. */
function roundingOf(value: number, left: readonly Term[]): number {
  const isSum = left.every((term) => !isOperator(term) || term.operator === '+' || term.operator === '-');
  return left.reduce((sum, { kind, value: number, decimals }) => {
    if (kind !== 'number' || decimals === 0 || number === 0) return sum;
    const half = 0.5 * 10 ** -decimals;
    return sum + (isSum ? half : (half / Math.abs(number)) * Math.abs(value));
  }, 0);
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
