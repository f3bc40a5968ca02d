import type { Chunk } from './chunk.ts';

const opening = '"content":"';
/** What would end the text, or would have to be read as something else than it looks like. */
const notPlain = /["\\\p{Cc}]/u;

/**
 * The chunks of one stream differ in nothing but a few words. Where a chunk begins and ends as an earlier one did, and
 * that one was parsed and checked, what stands between is the text: nothing in it can end the string that it is in.
 */
export class Template {
  #before = '';
  #after = '';

  /** Remembers the form of a chunk that was parsed, if text is all that it brought. */
  learn(data: string, { text, otherText, finishReason, usage }: Chunk): void {
    if (text === '' || otherText !== '' || finishReason !== null || usage !== null || data.includes('\\')) return;
    const found = `${opening}${text}"`;
    const at = data.indexOf(found);
    if (at < 0 || data.indexOf(opening) !== data.lastIndexOf(opening)) return;
    this.#before = data.slice(0, at + opening.length);
    this.#after = data.slice(at + found.length - 1);
  }

  /** The text of a chunk of that form, or null: it has to be parsed. */
  textOf(data: string): string | null {
    const { length } = this.#before;
    const textLength = data.length - length - this.#after.length;
    if (length === 0 || textLength <= 0 || !data.startsWith(this.#before) || !data.endsWith(this.#after)) return null;
    const text = data.slice(length, length + textLength);
    return notPlain.test(text) ? null : text;
  }
}
