/**
 * Cuts a text into tokens in one pass: words (lower case, as hashes), numbers and signs. Nothing is allocated per
 * token, so that 1 kB costs some 10 us; the arrays are reused, and a `Scan` is good until the next one.
 */
export interface Scan {
  text: string;
  /** How many tokens. */
  length: number;
  kinds: Uint8Array;
  /** Of words: FNV-1a of the lower-case code units. Of signs: the code unit. Of numbers: how many digits. */
  values: Uint32Array;
  starts: Uint16Array;
  ends: Uint16Array;
}

export const kind = { word: 1, capitalized: 2, number: 3, sign: 4, newline: 5 } as const;

/** Longest text that is read. */
export const maxScanned = 8_192;

const hashStart = 0x811c9dc5;
const hashFactor = 0x01000193;

const scan: Scan = {
  text: '',
  length: 0,
  kinds: new Uint8Array(maxScanned),
  values: new Uint32Array(maxScanned),
  starts: new Uint16Array(maxScanned),
  ends: new Uint16Array(maxScanned),
};

const charClass = { space: 0, lower: 1, upper: 2, digit: 3, sign: 4, newline: 5 } as const;
const classes = new Uint8Array(128).map((_, code) => classOfAscii(String.fromCharCode(code)));

export function scanText(text: string): Scan {
  const end = Math.min(text.length, maxScanned);
  const { kinds, values, starts, ends } = scan;
  let count = 0;
  let at = 0;
  while (at < end) {
    const from = at;
    const what = classAt(text, at);
    at += 1;
    if (what === charClass.space) continue;
    if (what === charClass.lower || what === charClass.upper) {
      let hash = mix(hashStart, lowerAt(text, from));
      while (at < end && isLetter(classAt(text, at))) {
        hash = mix(hash, lowerAt(text, at));
        at += 1;
      }
      kinds[count] = what === charClass.upper ? kind.capitalized : kind.word;
      values[count] = hash >>> 0;
    } else if (what === charClass.digit) {
      let digits = 1;
      while (at < end && continuesNumber(text, at, end)) {
        if (classAt(text, at) === charClass.digit) digits += 1;
        at += 1;
      }
      kinds[count] = kind.number;
      values[count] = digits;
    } else {
      kinds[count] = what === charClass.newline ? kind.newline : kind.sign;
      values[count] = text.charCodeAt(from);
    }
    starts[count] = from;
    ends[count] = at;
    count += 1;
  }
  scan.text = text;
  scan.length = count;
  return scan;
}

/** The hash under which `scanText` reports a word. */
export function hashOf(word: string): number {
  let hash = hashStart;
  for (let at = 0; at < word.length; at += 1) hash = mix(hash, lowerAt(word, at));
  return hash >>> 0;
}

function mix(hash: number, code: number): number {
  return Math.imul(hash ^ code, hashFactor);
}

function classAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code < 128 ? (classes[code] ?? 0) : classOfOther(code);
}

function lowerAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code >= 65 && code <= 90 ? code + 32 : code;
}

function isLetter(what: number): boolean {
  return what === charClass.lower || what === charClass.upper;
}

/** Digits, and a point or comma between digits. */
function continuesNumber(text: string, at: number, end: number): boolean {
  const what = classAt(text, at);
  if (what === charClass.digit) return true;
  const code = text.charCodeAt(at);
  return (code === 44 || code === 46) && at + 1 < end && classAt(text, at + 1) === charClass.digit;
}

function classOfAscii(sign: string): number {
  if (sign === '\n') return charClass.newline;
  if (sign <= ' ') return charClass.space;
  if (/[a-z]/.test(sign)) return charClass.lower;
  if (/[A-Z]/.test(sign)) return charClass.upper;
  if (/\d/.test(sign)) return charClass.digit;
  return charClass.sign;
}

/** Letters of other scripts count as lower-case letters; general punctuation, arrows and mathematics as signs. */
function classOfOther(code: number): number {
  if (code === 0xa0 || (code >= 0x2000 && code <= 0x200b) || code === 0x3000) return charClass.space;
  if (code < 0xc0 || code === 0xd7 || code === 0xf7) return charClass.sign;
  if (code >= 0x2010 && code <= 0x2bff) return charClass.sign;
  if (code >= 0x3001 && code <= 0x303f) return charClass.sign;
  return charClass.lower;
}
