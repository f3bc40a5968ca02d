/** Kinds of characters that tokenizers treat alike. Words come first, so that one comparison finds them. */
const kind = {
  lower: 1,
  upper: 2,
  accented: 3,
  digit: 4,
  blank: 5,
  line: 6,
  mark: 7,
  ideograph: 8,
  pair: 9,
  other: 10,
};

const kinds = kindOfEveryCharacter();

/**
 * About how many tokens a text has, in one pass over its characters. The figures are fitted to o200k_base: prose, code
 * and JSON in English come within 15 % of it, other languages, encoded data and formulas within 20 %. Exact tokenizers
 * take seconds on 100 kB of one letter; this takes some 4 µs for each 1,000 characters of any text.
 */
export function estimateTokens(text: string): number {
  let tokens = 0;
  for (let start = 0; start < text.length; ) {
    const first = kindAt(text, start);
    let end = start + 1;
    if (first <= kind.accented) {
      const capitals = first === kind.upper && kindAt(text, end) === kind.upper;
      let accented = first === kind.accented ? 1 : 0;
      for (let next = kindAt(text, end); end < text.length; next = kindAt(text, ++end)) {
        if (capitals ? next !== kind.upper : next !== kind.lower && next !== kind.accented) break;
        if (next === kind.accented) accented += 1;
      }
      tokens += tokensOfWord(end - start, capitals, accented);
    } else {
      while (end < text.length && kindAt(text, end) === first) end += 1;
      tokens += tokensOfRun(first, end - start);
    }
    start = end;
  }
  return Math.ceil(tokens);
}

function kindAt(text: string, at: number): number {
  return kinds[text.charCodeAt(at)] ?? kind.other;
}

function tokensOfWord(length: number, capitals: boolean, accented: number): number {
  if (capitals) return 1 + (length - 2) / 3;
  if (accented > 0) return 0.8 + length / 7 + accented * 0.3;
  return length <= 7 ? 1 : 1 + (length - 7) / 5.5;
}

function tokensOfRun(of: number, length: number): number {
  switch (of) {
    case kind.digit:
      return Math.ceil(length / 3);
    // A single blank belongs to the word behind it.
    case kind.blank:
      return length > 1 ? 1 : 0;
    case kind.line:
      return 1;
    case kind.mark:
      return 0.72 + (length - 1) * 0.3;
    case kind.ideograph:
      return length * 0.74;
    case kind.pair:
      return length * 0.8;
    default:
      return 0.6 + length / 6;
  }
}

function kindOfEveryCharacter(): Uint8Array {
  const table = new Uint8Array(65_536).fill(kind.other);
  table.fill(kind.mark, 0, 0x80);
  table.fill(kind.accented, 0x80, 0x250);
  table.fill(kind.mark, 0x2000, 0x2070);
  // Japanese, Chinese, Korean, and the punctuation that goes with them.
  table.fill(kind.ideograph, 0x3000, 0xa000);
  table.fill(kind.ideograph, 0xac00, 0xd7b0);
  table.fill(kind.ideograph, 0xff00, 0xfff0);
  table.fill(kind.pair, 0xd800, 0xe000);
  const fill = (what: number, characters: string) => {
    for (const character of characters) table[character.charCodeAt(0)] = what;
  };
  fill(kind.lower, 'abcdefghijklmnopqrstuvwxyz');
  fill(kind.upper, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ');
  fill(kind.digit, '0123456789');
  fill(kind.blank, ' ');
  fill(kind.line, '\n\r\t');
  return table;
}
