/** The fields of a JSON object, each where it stands in the text. */
interface Member {
  key: string;
  /** Of the value: from its first character to the one after its last. */
  start: number;
  end: number;
}

/**
 * A JSON object as it was sent. Fields can be replaced while every other byte stays as it is: what is parsed and
 * written again loses digits of large numbers, and the order and the spelling of what only the receiver knows.
 */
export class JsonText {
  readonly text: string;
  /** The same, parsed; never an array or null. */
  readonly fields: Readonly<Record<string, unknown>>;
  #members: Member[] | undefined;

  /** Throws a SyntaxError when the text is not JSON, or not an object. */
  constructor(text: string) {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new SyntaxError('not an object');
    this.text = text;
    this.fields = parsed as Record<string, unknown>;
  }

  /** With these fields set to these values (JSON texts), in every place where they stand. */
  with(values: Readonly<Record<string, string>>): string {
    this.#members ??= membersOf(this.text);
    let result = '';
    let copied = 0;
    const missing = new Set(Object.keys(values));
    for (const { key, start, end } of this.#members) {
      const value = Object.hasOwn(values, key) ? values[key] : undefined;
      if (value === undefined) continue;
      missing.delete(key);
      result += this.text.slice(copied, start) + value;
      copied = end;
    }
    result += this.text.slice(copied);
    if (missing.size === 0) return result;
    const open = result.indexOf('{') + 1;
    const added = [...missing].map((key) => `${JSON.stringify(key)}:${values[key]}`).join(',');
    return `${result.slice(0, open)}${added}${this.#members.length > 0 ? ',' : ''}${result.slice(open)}`;
  }

  /** The value of a field as it stands in the text, the last one where there are several; undefined: none. */
  rawOf(key: string): string | undefined {
    this.#members ??= membersOf(this.text);
    const member = this.#members.findLast((known) => known.key === key);
    return member && this.text.slice(member.start, member.end);
  }
}

/** The text has been parsed before, so it is known to be well-formed. */
function membersOf(text: string): Member[] {
  const members: Member[] = [];
  let at = afterSpace(text, text.indexOf('{') + 1);
  while (text[at] === '"') {
    const keyEnd = afterString(text, at);
    const start = afterSpace(text, afterSpace(text, keyEnd) + 1);
    const end = afterValue(text, start);
    members.push({ key: JSON.parse(text.slice(at, keyEnd)) as string, start, end });
    at = afterSpace(text, end);
    if (text[at] === ',') at = afterSpace(text, at + 1);
  }
  return members;
}

const space = /\s*/y;
const bracketOrQuote = /["{}[\]]/g;
const endOfPlain = /[\s,}]/g;

function afterSpace(text: string, from: number): number {
  space.lastIndex = from;
  space.test(text);
  return space.lastIndex;
}

function afterString(text: string, from: number): number {
  for (let quote = text.indexOf('"', from + 1); ; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === '\\') backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
  }
}

function afterValue(text: string, from: number): number {
  const first = text[from];
  if (first === '"') return afterString(text, from);
  if (first !== '{' && first !== '[') {
    endOfPlain.lastIndex = from;
    return endOfPlain.exec(text)?.index ?? text.length;
  }
  let depth = 0;
  for (let at = from; ; ) {
    bracketOrQuote.lastIndex = at;
    const found = bracketOrQuote.exec(text);
    if (!found) return text.length;
    if (found[0] === '"') {
      at = afterString(text, found.index);
      continue;
    }
    at = found.index + 1;
    depth += found[0] === '{' || found[0] === '[' ? 1 : -1;
    if (depth === 0) return at;
  }
}
