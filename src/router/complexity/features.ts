import { effortOf } from './effort.ts';
import { shapeNames } from './feature-names.ts';
import { classesOf, classNames } from './lexicon.ts';
import { hashOf, kind, type Scan } from './scan.ts';

const index = Object.fromEntries(shapeNames.map((name, at) => [name, at])) as Record<
  (typeof shapeNames)[number],
  number
>;
const classesFrom = shapeNames.length;
const sharesFrom = classesFrom + classNames.length;

const logs = Float64Array.from({ length: 10_000 }, (_, count) => Math.log1p(count));
function log(count: number): number {
  return logs[count] ?? Math.log1p(count);
}

const seen = new Uint32Array(4_096);
let round = 0;
const optionLengths = new Float64Array(26);
const optionNumbers = new Uint8Array(26);

/** Fills `into` (as long as `featureNames`) from a scan; `characters` is the length of the whole prompt. */
export function describe(scan: Scan, characters: number, into: Float64Array): void {
  into.fill(0);
  const { text, length, kinds, values, starts, ends } = scan;
  round = (round + 1) >>> 0;
  let words = 0,
    letters = 0,
    long = 0,
    distinct = 0,
    names = 0,
    capitals = 0,
    numbers = 0,
    distinctNumbers = 0;
  let largest = 0,
    decimals = 0,
    operators = 0,
    latex = 0,
    braces = 0,
    percents = 0,
    money = 0,
    quotes = 0;
  let parentheses = 0,
    foreign = 0,
    questionMarks = 0,
    blanks = 0,
    code = 0,
    items = 0,
    roman = 0,
    lines = 1;
  let sentences = 0,
    sentenceWords = 0,
    lastQuestion = 0,
    optionAll = 0,
    optionWords = 0,
    optionRepeats = 0;
  let options = 0,
    stemWords = -1,
    stemEnd = 0,
    lineStart = true,
    half = 0;
  const middle = (ends[length - 1] ?? 0) / 2;
  for (let at = 0; at < length; at += 1) {
    const what = kinds[at];
    const value = values[at] ?? 0;
    const start = starts[at] ?? 0;
    const size = (ends[at] ?? 0) - start;
    const atLineStart = lineStart;
    lineStart = false;
    if (what === kind.word || what === kind.capitalized) {
      const opened = atLineStart && size === 1 && what === kind.capitalized ? optionOpened(scan, at, options) : 0;
      if (opened > 0) {
        if (stemWords < 0) {
          stemWords = words;
          stemEnd = at;
        }
        optionLengths.fill(0, options, opened);
        optionNumbers.fill(0, options, opened);
        options = opened;
        at += 1;
        sentenceWords = 0;
        continue;
      }
      words += 1;
      letters += size;
      if (size >= 9) long += 1;
      const slot = value & 4_095;
      const known = seen[slot] === ((round << 8) | (value >>> 24)) >>> 0;
      if (!known) {
        seen[slot] = ((round << 8) | (value >>> 24)) >>> 0;
        distinct += 1;
      }
      if (options > 0) {
        optionWords += 1;
        if (known) optionRepeats += 1;
        if (options <= 26) optionLengths[options - 1] = (optionLengths[options - 1] ?? 0) + 1;
        if (value === allHash || value === noneHash || value === bothHash) optionAll += 1;
      }
      if (what === kind.capitalized) {
        if (sentenceWords > 0 && size > 1) names += 1;
        if (size > 1 && isUpper(text, start + 1)) {
          capitals += 1;
          if (value === secondHash || value === thirdHash) roman += 1;
        }
      }
      sentenceWords += 1;
      let classes = classesOf(value);
      while (classes !== 0) {
        const bit = 31 - Math.clz32(classes);
        classes &= ~(1 << bit);
        into[classesFrom + bit] = (into[classesFrom + bit] ?? 0) + 1;
      }
    } else if (what === kind.number) {
      if (atLineStart && isSign(scan, at + 1, 46, 41)) items += 1;
      numbers += 1;
      if (start < middle) half += 1;
      if (size > value) decimals += 1;
      largest = Math.max(largest, value);
      const hash = numberHash(text, start, size);
      const slot = hash & 4_095;
      if (seen[slot] !== ((round << 8) | 1) >>> 0) {
        seen[slot] = ((round << 8) | 1) >>> 0;
        distinctNumbers += 1;
      }
      if (options > 0 && options <= 26) optionNumbers[options - 1] = 1;
    } else if (what === kind.newline) {
      lines += 1;
      lineStart = true;
      if (sentenceWords > 2) {
        sentences += 1;
        sentenceWords = 0;
      }
    } else {
      switch (value) {
        case 46:
        case 33:
        case 0x3002:
          if (sentenceWords > 1) sentences += 1;
          sentenceWords = 0;
          break;
        case 63:
        case 0xff1f:
        case 0x61f:
          questionMarks += 1;
          if (sentenceWords > 0) {
            sentences += 1;
            lastQuestion = sentenceWords;
          }
          sentenceWords = 0;
          break;
        case 42:
        case 45:
        case 0x2022:
          if (atLineStart) items += 1;
          else if (value === 42) operators += 1;
          break;
        case 43:
        case 47:
        case 61:
        case 94:
        case 60:
        case 62:
        case 124:
        case 126:
          operators += 1;
          if (value === 62 && isSign(scan, at - 1, 61, 45)) code += 1;
          break;
        case 92:
          latex += 1;
          break;
        case 36:
          if (kinds[at + 1] === kind.number) money += 1;
          else latex += 0.5;
          break;
        case 123:
        case 125:
        case 91:
        case 93:
        case 59:
          braces += 1;
          break;
        case 95:
          if (isSign(scan, at + 1, 95, 95)) blanks = 1;
          else braces += 1;
          break;
        case 37:
          percents += 1;
          break;
        case 34:
        case 0x201c:
        case 0x201d:
          quotes += 1;
          break;
        case 40:
          parentheses += 1;
          break;
        case 96:
          code += 1;
          break;
        default:
          if (value >= 0x2190 && value <= 0x22ff) operators += 1;
      }
      if (value > 127) foreign += 1;
    }
    if (what === kind.word && size > 0 && text.charCodeAt(start) > 127) foreign += size;
  }
  if (sentenceWords > 2) sentences += 1;
  const read = Math.min(options, 26);
  let least = Infinity,
    most = 0,
    numeric = 0;
  for (let option = 0; option < read; option += 1) {
    least = Math.min(least, optionLengths[option] ?? 0);
    most = Math.max(most, optionLengths[option] ?? 0);
    numeric += optionNumbers[option] ?? 0;
  }
  const stem = stemWords < 0 ? words : stemWords;
  const lastSign = stemWords < 0 ? -1 : lastMark(scan, stemEnd);
  const set = (name: keyof typeof index, value: number) => {
    into[index[name]] = value;
  };
  set('characters', Math.log1p(characters));
  set('words', log(words));
  set('sentences', log(sentences));
  set('lines', log(lines));
  set('word_length', words === 0 ? 0 : Math.min(12, letters / words));
  set('long_words', share(long, words));
  set('sentence_length', log(Math.round(words / Math.max(1, sentences))));
  set('repetition', words === 0 ? 0 : 1 - distinct / words);
  set('names', log(names));
  set('capitals', log(capitals));
  set('numbers', log(numbers));
  set('distinct_numbers', log(distinctNumbers));
  set('largest_number', Math.min(12, largest));
  set('decimals', log(decimals));
  set('operators', log(operators));
  set('latex', Math.log1p(latex));
  set('braces', log(braces));
  set('percent_signs', log(percents));
  set('money_signs', log(money));
  set('quotes', log(quotes));
  set('parentheses', log(parentheses));
  set('foreign', share(foreign, text.length));
  set('question_marks', log(questionMarks));
  set('blank', blanks);
  set('code', log(code));
  set('list_items', log(items));
  set('options', Math.min(12, options));
  set('option_words', read === 0 ? 0 : Math.log1p(optionWords / read));
  set('option_spread', read === 0 ? 0 : log(most - least));
  set('option_numbers', share(numeric, read));
  set('stem_words', log(stem));
  set('stem_open', lastSign < 0 ? 0 : lastSign);
  set('roman', log(roman));
  set('option_all', Math.min(3, optionAll));
  set('option_repeats', share(optionRepeats, optionWords));
  set('early_numbers', share(half, numbers));
  set('last_question', log(lastQuestion));
  for (let bit = 0; bit < classNames.length; bit += 1) {
    const count = into[classesFrom + bit] ?? 0;
    into[sharesFrom + bit] = share(count, words);
    into[classesFrom + bit] = log(count);
  }
  set('effort', effortOf(into));
}

const allHash = hashOf('all');
const noneHash = hashOf('none');
const bothHash = hashOf('both');
const secondHash = hashOf('ii');
const thirdHash = hashOf('iii');

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

/**
 * Which option begins here, from 1; 0: none. `A.` or `A)` at the start of a line, in the order of the alphabet; a typo
 * may have eaten the one before.
 */
function optionOpened(scan: Scan, at: number, options: number): number {
  const letter = scan.text.charCodeAt(scan.starts[at] ?? 0) - 64;
  return (letter === options + 1 || letter === options + 2) && isSign(scan, at + 1, 46, 41) ? letter : 0;
}

function isSign({ kinds, values }: Scan, at: number, one: number, other: number): boolean {
  return kinds[at] === kind.sign && (values[at] === one || values[at] === other);
}

function isUpper(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code >= 65 && code <= 90;
}

function numberHash(text: string, start: number, size: number): number {
  let hash = 17;
  for (let at = start; at < start + size; at += 1) hash = (Math.imul(hash, 31) + text.charCodeAt(at)) >>> 0;
  return hash;
}

/** 1 when the text before the options ends in a word or number: a sentence to be completed. */
function lastMark({ kinds }: Scan, end: number): number {
  let at = end - 1;
  while (at >= 0 && kinds[at] === kind.newline) at -= 1;
  return at >= 0 && kinds[at] !== kind.sign ? 1 : 0;
}
