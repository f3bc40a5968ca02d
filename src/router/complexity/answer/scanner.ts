type TokenKind =
  | 'number'
  | 'operator'
  | 'equals'
  | 'is'
  | 'of'
  | 'open'
  | 'close'
  | 'note'
  | 'note-end'
  | 'unknown'
  | 'word'
  | 'break'
  | 'line-end';

/** Commands of LaTeX that a sum can be read through; the others make it unreadable. */
const plainCommands = new Set([
  'text',
  'mathrm',
  'left',
  'right',
  'boxed',
  'quad',
  'textbf',
  'mathbf',
  'dollar',
  'circ',
]);
const commandSigns = new Map([
  ['times', '*'],
  ['cdot', '*'],
  ['div', '/'],
]);
const signs = new Map([
  [0x2b, '+'],
  [0x2d, '-'],
  [0x2212, '-'],
  [0x2013, '-'],
  [0x2a, '*'],
  [0xd7, '*'],
  [0xb7, '*'],
  [0x2219, '*'],
  [0x2f, '/'],
  [0xf7, '/'],
]);
const unknownLetters = 'abcnpqrwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

/**
 * Cuts a text into what matters to a sum, in one pass. The fields describe the token that `next` found: one object is
 * used throughout, because most tokens are words that nobody keeps.
 */
export class Scanner {
  kind: TokenKind = 'break';
  /** Of an operator a sign of calculation, of a number `%` or empty. */
  sign = '';
  value = 0;
  decimals = 0;
  /** No blank before or after. */
  isTight = false;
  private at = 0;
  private readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  next(): boolean {
    const { text } = this;
    while (this.at < text.length) {
      const code = text.charCodeAt(this.at);
      if (code === 32) this.at += 1;
      else if (isDigit(code) || (code === 46 && isDigit(text.charCodeAt(this.at + 1)))) {
        if (this.readNumber()) return true;
      } else if (isLetter(code)) return this.readWord();
      else if (code === 92) {
        if (this.readCommand()) return true;
      } else if (this.readSign(code)) return true;
    }
    return false;
  }

  /** False for a number that only counts the lines. */
  private readNumber(): boolean {
    const { text } = this;
    const start = this.at;
    let end = digitsEnd(text, start);
    let hasCommas = false;
    while (end - start <= 15 && text.charCodeAt(end) === 44 && digitsEnd(text, end + 1) === end + 4) {
      hasCommas = true;
      end += 4;
    }
    this.decimals = 0;
    if (text.charCodeAt(end) === 46 && isDigit(text.charCodeAt(end + 1))) {
      const last = digitsEnd(text, end + 1);
      this.decimals = last - end - 1;
      end = last;
    }
    const digits = text.slice(start, end);
    this.value = Number(hasCommas ? digits.replaceAll(',', '') : digits);
    if (this.decimals === 0 && text.charCodeAt(end) === 32) end = this.readMixed(end);
    this.isTight = !isBlank(text.charCodeAt(start - 1)) && !isBlank(text.charCodeAt(end));
    this.sign = '';
    const percent = percentEnd(text, end);
    if (percent > 0) this.sign = '%';
    const before = text.charCodeAt(start - 1);
    const isTime = text.charCodeAt(end) === 58 && isDigit(text.charCodeAt(end + 1));
    // `x1`, `CO2` and `T_2` are names.
    const isName = isLetter(before) || before === 95;
    this.kind = isTime || isName || this.value > 1e15 ? 'unknown' : 'number';
    this.at = isTime ? digitsEnd(text, end + 1) : Math.max(end, percent);
    return !isListMark(text, start, end);
  }

  /** `2 1/2` is one number. Returns where it ends. */
  private readMixed(end: number): number {
    const slash = digitsEnd(this.text, end + 1);
    if (slash === end + 1 || slash > end + 4 || this.text.charCodeAt(slash) !== 47) return end;
    const last = digitsEnd(this.text, slash + 1);
    const below = Number(this.text.slice(slash + 1, last));
    if (last > slash + 4 || !(below > 0) || this.text.charCodeAt(last) === 47) return end;
    this.value += Number(this.text.slice(end + 1, slash)) / below;
    this.decimals = 3;
    return last;
  }

  private readWord(): true {
    const { text } = this;
    const start = this.at;
    let end = start + 1;
    while (isLetter(text.charCodeAt(end))) end += 1;
    this.at = end;
    // Before a bracket a word is a function: `sqrt(2)`.
    this.kind = end - start === 1 ? this.letterKind(start, end) : text.charCodeAt(end) === 40 ? 'unknown' : 'word';
    if (end - start > 1 && end - start <= 10) this.readSpelled(text.slice(start, end).toLowerCase(), end);
    return true;
  }

  private letterKind(start: number, end: number): TokenKind {
    const { text } = this;
    const letter = text.charAt(start);
    const isTimes = (letter === 'x' || letter === 'X') && startsNumber(text, end);
    if (isTimes) {
      this.sign = '*';
      this.isTight = !isBlank(text.charCodeAt(start - 1)) && !isBlank(text.charCodeAt(end));
      return 'operator';
    }
    if (isGreek(text.charCodeAt(start))) return 'unknown';
    // `2x` and `4B`, but not `5kg`, `20m` or "a" and "I" between words.
    if (isDigit(text.charCodeAt(start - 1))) {
      return unknownLetters.includes(letter) && !isDigit(text.charCodeAt(end)) ? 'unknown' : 'word';
    }
    const isWord = letter === 'a' || letter === 'I' || letter === 's' || text.charCodeAt(start) > 127;
    return isWord && text.charCodeAt(end) !== 40 && text.charCodeAt(end) !== 94 ? 'word' : 'unknown';
  }

  private readSpelled(word: string, end: number): void {
    if (word === 'of') this.kind = 'of';
    else if (word === 'equals') this.kind = 'equals';
    else if (word === 'is') this.kind = startsNumber(this.text, end) ? 'is' : 'word';
    else {
      const sign = spelledSign(word);
      if (sign === '' || (word === 'times' && !startsNumber(this.text, end))) return;
      this.kind = 'operator';
      this.sign = sign;
      this.isTight = false;
      if (this.text.startsWith(' by ', end)) this.at = end + 3;
    }
  }

  private readCommand(): boolean {
    const next = this.text.charCodeAt(this.at + 1);
    if (!isLetter(next)) {
      // `\(` and `\[` open a formula; `\*` and `\$` are the sign itself.
      this.at += isBracket(next) ? 2 : 1;
      this.kind = 'break';
      return isBracket(next);
    }
    let end = this.at + 1;
    while (isLetter(this.text.charCodeAt(end)) && end < this.at + 20) end += 1;
    const command = this.text.slice(this.at + 1, end);
    this.at = end;
    const sign = commandSigns.get(command);
    if (plainCommands.has(command)) return false;
    this.kind = sign !== undefined ? 'operator' : command === 'approx' ? 'equals' : 'unknown';
    this.sign = sign ?? '';
    this.isTight = false;
    return true;
  }

  private readSign(code: number): boolean {
    const { text } = this;
    const start = this.at;
    const after = text.charCodeAt(start + 1);
    const before = text.charCodeAt(start - 1);
    this.at += 1;
    this.isTight = !isBlank(before) && !isBlank(after);
    const sign = signs.get(code);
    if (sign !== undefined) {
      // A hyphen ("3-hour"), a rate ("$5/hour") and the stars of bold text are no signs of a sum.
      const isOther =
        sign === '*' ? after === code || before === code : sign !== '+' && isLetter(after) && !isSpelledX(text, start);
      this.kind = 'operator';
      this.sign = sign;
      return !isOther;
    }
    if ((code === 60 || code === 62) && after === code) {
      this.at += 1;
      this.kind = code === 60 ? 'note' : 'note-end';
      return true;
    }
    if (code === 10 || code === 35) this.kind = 'line-end';
    else if (code === 61 || code === 0x2248) this.kind = 'equals';
    else if (code === 40) {
      this.kind = 'open';
      this.isTight = !isBlank(before);
    } else if (code === 41) this.kind = 'close';
    else if (isPower(code) || (code === 33 && (isDigit(before) || before === 41))) this.kind = 'unknown';
    else if (isPunctuation(code) && isBlank(after)) this.kind = 'break';
    else return false;
    return true;
  }
}

/** `3.` or `3)` at the start of a line counts the lines. */
function isListMark(text: string, start: number, end: number): boolean {
  const after = text.charCodeAt(end);
  if ((after !== 46 && after !== 41) || end - start > 2 || !isBlank(text.charCodeAt(end + 1))) return false;
  for (let at = start - 1; at >= Math.max(0, start - 8); at -= 1) {
    const code = text.charCodeAt(at);
    if (code === 10) return true;
    if (code !== 32 && code !== 42 && code !== 35) return false;
  }
  return start <= 8;
}

function spelledSign(word: string): string {
  if (word === 'times' || word === 'multiplied') return '*';
  if (word === 'plus') return '+';
  if (word === 'minus') return '-';
  return word === 'divided' ? '/' : '';
}

function startsNumber(text: string, end: number): boolean {
  let at = text.charCodeAt(end) === 32 ? end + 1 : end;
  const code = text.charCodeAt(at);
  if (code === 36 || code === 40 || code === 0x20ac || code === 0xa3) at += 1;
  if (text.charCodeAt(at) === 46) at += 1;
  return isDigit(text.charCodeAt(at));
}

function isSpelledX(text: string, at: number): boolean {
  return text.charCodeAt(at + 1) === 120 && !isLetter(text.charCodeAt(at + 2));
}

/** Where a percent sign after a number ends, or 0. */
function percentEnd(text: string, end: number): number {
  let at = text.charCodeAt(end) === 32 ? end + 1 : end;
  if (text.charCodeAt(at) === 92) at += 1;
  return text.charCodeAt(at) === 37 ? at + 1 : 0;
}

function digitsEnd(text: string, start: number): number {
  let at = start;
  while (isDigit(text.charCodeAt(at))) at += 1;
  return at;
}

/** `^`, a root, and digits written high or low. */
function isPower(code: number): boolean {
  return (
    code === 94 ||
    code === 0x221a ||
    code === 0xb2 ||
    code === 0xb3 ||
    code === 0xb9 ||
    (code >= 0x2070 && code < 0x20a0)
  );
}

/** After a backslash it opens or closes a formula. */
function isBracket(code: number): boolean {
  return code === 40 || code === 41 || code === 91 || code === 93;
}

function isGreek(code: number): boolean {
  return code >= 0x370 && code < 0x400;
}

function isPunctuation(code: number): boolean {
  return code === 46 || code === 44 || code === 59 || code === 58 || code === 33 || code === 63;
}

function isBlank(code: number): boolean {
  return Number.isNaN(code) || code === 32 || code === 10 || code === 9 || code === 13;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** Letters of any script, roughly: the signs beyond ASCII that matter are left out. */
function isLetter(code: number): boolean {
  if (code < 128) return (code >= 97 && code <= 122) || (code >= 65 && code <= 90);
  return code >= 0xc0 && code !== 0xd7 && code !== 0xf7 && (code < 0x2000 || code > 0x2bff);
}
