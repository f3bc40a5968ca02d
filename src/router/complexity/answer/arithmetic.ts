import { type Equation, judge, type Term } from './equation.ts';
import { Scanner } from './scanner.ts';

/** What the sums written in a text come to. */
export interface Arithmetic {
  equations: readonly Equation[];
  /** Every number of the text, in order, except those that only count lines. */
  numbers: readonly number[];
}

interface Reading {
  run: Term[];
  /** What stood left of the equals sign that was read last. */
  left: Term[] | null;
  /** Something in this stretch cannot be calculated. */
  isOpaque: boolean;
  depth: number;
  wordsSinceTerm: number;
}

/** Longer sums are not checked; this also bounds the work. */
const maxTerms = 40;
const maxEquations = 200;
const maxWordsBetween = 4;

/**
 * Finds the sums of a text (`12 * 3 = 36`, `$5 x 4 = $20`, `3/4 of 20 is 15`, `<<48/2=24>>`) and checks each. Words
 * between the numbers are taken for units. What cannot be read for certain is left alone rather than accused.
 */
export function readArithmetic(text: string): Arithmetic {
  const scanner = new Scanner(text);
  const equations: Equation[] = [];
  const numbers: number[] = [];
  const asides: Reading[] = [];
  let now = newReading();

  const close = (keepsRun: boolean): void => {
    if (now.left !== null && now.run.length > 0 && now.depth === 0) {
      const equation = now.isOpaque ? null : judge(now.left, now.run);
      if (equation !== null && equations.length < maxEquations) equations.push(equation);
    }
    if (!keepsRun) now = newReading();
  };
  const startsAside = (): void => {
    asides.push(now);
    now = newReading();
  };
  const endsAside = (): void => {
    close(false);
    now = asides.pop() ?? newReading();
  };
  const addOperator = (sign: string, isTight: boolean): void => {
    const last = now.run.at(-1);
    const isUnary = last === undefined || last.kind === 'operator' || last.kind === 'open';
    if (isUnary && sign !== '-') return;
    now.run.push({ kind: 'operator', operator: sign, value: isUnary ? -1 : 0, decimals: 0, isTight });
    now.wordsSinceTerm = 0;
  };
  const addBracket = (kind: 'open' | 'close'): void => {
    now.run.push({ kind, operator: '', value: 0, decimals: 0, isTight: false });
    now.depth += kind === 'open' ? 1 : -1;
  };

  while (scanner.next()) {
    const last = now.run.at(-1);
    const followsValue = last?.kind === 'number' || last?.kind === 'close';
    switch (scanner.kind) {
      case 'number':
        numbers.push(scanner.value);
        if (followsValue) {
          // A power or a fraction may stand between them.
          const { isOpaque } = now;
          close(false);
          now.isOpaque = isOpaque;
        }
        now.run.push({
          kind: 'number',
          operator: scanner.sign,
          value: scanner.value,
          decimals: scanner.decimals,
          isTight: false,
        });
        now.wordsSinceTerm = 0;
        now.isOpaque ||= now.run.length > maxTerms;
        break;
      case 'operator':
        addOperator(scanner.sign, scanner.isTight);
        break;
      case 'of':
        // "50% of 20", "3/4 of 20", but not "12 of them".
        if (last?.operator === '%' || (followsValue && now.run.at(-2)?.operator === '/')) addOperator('*', false);
        else now.wordsSinceTerm += 1;
        break;
      case 'equals':
        close(true);
        if (now.depth === 1 && now.run[0]?.kind === 'open' && !now.run.some(({ kind }) => kind === 'close')) {
          // "(4 * 12 = 48)": the brackets are around all of it.
          asides.push(newReading());
          now = { ...now, run: now.run.slice(1), depth: 0 };
        }
        now = { ...newReading(), left: now.depth === 0 ? now.run : null, isOpaque: now.isOpaque };
        break;
      case 'is':
        // "3/4 of 20 is 15", but "the price is 15": only a sum is equal to something here.
        if (now.left === null && now.run.length >= 3 && now.wordsSinceTerm <= maxWordsBetween) {
          now = { ...newReading(), left: now.run, isOpaque: now.isOpaque };
        } else close(false);
        break;
      case 'unknown':
        now.isOpaque = true;
        break;
      case 'word':
        now.wordsSinceTerm += 1;
        // "2 * Dora's age": a factor that only the reader knows.
        if (last?.kind === 'operator') now.isOpaque = true;
        if (now.wordsSinceTerm > (now.left !== null && last === undefined ? 1 : maxWordsBetween)) close(false);
        break;
      case 'open':
        if (followsValue && !scanner.isTight) startsAside();
        else {
          if (followsValue) addOperator('*', true);
          addBracket('open');
        }
        break;
      case 'close':
        if (now.depth > 0) addBracket('close');
        else endsAside();
        break;
      case 'note':
        startsAside();
        break;
      case 'note-end':
        endsAside();
        break;
      case 'break':
        close(false);
        break;
      case 'line-end':
        close(false);
        asides.length = 0;
        break;
    }
  }
  close(false);
  return { equations, numbers };
}

function newReading(): Reading {
  return { run: [], left: null, isOpaque: false, depth: 0, wordsSinceTerm: 0 };
}
