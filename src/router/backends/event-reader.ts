import { createParser } from 'eventsource-parser';
import { AppError } from '../../errors.ts';
import { parseJson } from '../../http.ts';
import type { Piece } from '../types.ts';
import { type Chunk, readChunk } from './chunk.ts';
import { Template } from './template.ts';

const newline = 10;
const carriageReturn = 13;
const nothing = Buffer.alloc(0);
/** Longer events are none: an image in one event is smaller than this. */
const longestEventBytes = 8_000_000;
/** A blank line is at most CR LF CR LF; so much of it can have come without its last byte. */
const mostOfEnd = 3;

/**
 * Reads an event stream by whole events, and keeps their bytes, so that they can be passed on as they came. Each is
 * checked first; what follows one that makes no sense is not looked at, and `failure` says why.
 */
export class EventReader {
  /** Any event has arrived; comments, which only keep a connection open, are none. */
  begun = false;
  /** Every choice has its `finish_reason`. */
  finished = false;
  /** `[DONE]` was seen. */
  done = false;
  /** What is wrong with the stream. What `read` returned besides came before it, and is good. */
  failure: AppError | null = null;
  readonly #who: string;
  readonly #template = new Template();
  readonly #data: string[] = [];
  readonly #parser = createParser({ onEvent: ({ data }) => this.#data.push(data) });
  readonly #choices: number;
  /** Some servers give the reason of a choice more than once. */
  readonly #finished = new Set<number>();
  /** The beginning of an event whose end has not arrived, in the parts in which it came. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  /** The last bytes of it: an end may have begun there. */
  #tail: Buffer = nothing;

  constructor(who: string, choices: number) {
    this.#who = who;
    this.#choices = choices;
  }

  /** Nothing that matters can follow. */
  get isWhole(): boolean {
    return this.finished || this.done;
  }

  read(bytes: Buffer): Piece | null {
    if (this.done || this.failure || bytes.length === 0) return null;
    const seam = this.#tail.length > 0 ? Buffer.concat([this.#tail, bytes]) : bytes;
    const firstEnd = endOfEvent(seam, 0);
    if (firstEnd < 0) {
      this.#rest.push(bytes);
      this.#restBytes += bytes.length;
      this.#tail = seam.subarray(-mostOfEnd);
      if (this.#restBytes > longestEventBytes)
        this.failure ??= new AppError('upstream_invalid', `${this.#who} sent an event without end.`);
      return null;
    }
    const all = this.#rest.length > 0 ? Buffer.concat([...this.#rest, bytes]) : bytes;
    const piece = new PieceBuilder(all);
    let start = 0;
    for (let end = all.length - seam.length + firstEnd; end >= 0; end = endOfEvent(all, start)) {
      this.#take(all.toString('utf8', start, end), piece, start, end);
      start = end;
      if (this.failure || this.done || start === all.length) break;
    }
    this.#keep(all, start);
    return piece.build();
  }

  #keep(all: Buffer, start: number): void {
    const rest = start < all.length ? all.subarray(start) : nothing;
    this.#rest = rest === nothing ? [] : [rest];
    this.#restBytes = rest.length;
    this.#tail = rest === nothing ? nothing : rest.subarray(-mostOfEnd);
  }

  /** Some servers leave out the blank line that ends the last event. */
  end(): Piece | null {
    return this.#rest.length > 0 && !this.done && !this.failure ? this.read(Buffer.from('\n\n')) : null;
  }

  /** One event, and where its bytes are. */
  #take(event: string, piece: PieceBuilder, start: number, end: number): void {
    const data = onlyData(event);
    if (data === null) this.#parser.feed(event);
    else this.#takeData(data, piece, start, end);
    if (this.#data.length === 0) {
      if (data === null && this.begun) piece.relay(start, end);
      return;
    }
    for (const data of this.#data.splice(0)) {
      this.#takeData(data, piece, start, end);
      if (this.failure || this.done) break;
    }
  }

  #takeData(data: string, piece: PieceBuilder, start: number, end: number): void {
    this.begun = true;
    const text = this.#template.textOf(data);
    if (text !== null) {
      piece.addText(text, start, end);
      return;
    }
    if (data === '[DONE]') {
      this.done = true;
      return;
    }
    try {
      const chunk = readChunk(this.#who, parseJson(data));
      this.#template.learn(data, chunk);
      piece.add(chunk, start, end);
      for (const index of chunk.finished) this.#finished.add(index);
      this.finished ||= this.#finished.size >= this.#choices;
    } catch (error) {
      this.failure = error as AppError;
    }
  }
}

/** The data of an event that has one line of it and nothing else, as nearly all have; null: ask the parser. */
function onlyData(text: string): string | null {
  if (!text.startsWith('data: ')) return null;
  const end = text.indexOf('\n');
  return end === text.length - 2 && text[end - 1] !== '\r' ? text.slice('data: '.length, end) : null;
}

/** Gathers the events that arrived together: what they say, and the bytes of those that are passed on. */
class PieceBuilder {
  readonly #all: Buffer;
  readonly #earlier: Buffer[] = [];
  /** Events that follow each other are cut out together. */
  #start = 0;
  #end = 0;
  readonly #piece: Piece = {
    bytes: nothing,
    text: '',
    otherText: '',
    finishReason: null,
    usage: null,
    usageBytes: null,
  };
  #empty = true;

  constructor(all: Buffer) {
    this.#all = all;
  }

  addText(text: string, start: number, end: number): void {
    this.#piece.text += text;
    this.relay(start, end);
  }

  add(chunk: Chunk, start: number, end: number): void {
    this.#empty = false;
    const piece = this.#piece;
    piece.text += chunk.text;
    piece.otherText += chunk.otherText;
    piece.finishReason ??= chunk.finishReason;
    piece.usage = chunk.usage ?? piece.usage;
    if (chunk.onlyUsage) piece.usageBytes = this.#all.subarray(start, end);
    else this.relay(start, end);
  }

  relay(start: number, end: number): void {
    this.#empty = false;
    if (start !== this.#end) {
      if (this.#end > this.#start) this.#earlier.push(this.#all.subarray(this.#start, this.#end));
      this.#start = start;
    }
    this.#end = end;
  }

  build(): Piece | null {
    if (this.#empty) return null;
    const last = this.#end > this.#start ? this.#all.subarray(this.#start, this.#end) : nothing;
    this.#piece.bytes = this.#earlier.length > 0 ? Buffer.concat([...this.#earlier, last]) : last;
    return this.#piece;
  }
}

/** Where the event ends that begins before `from`: after its blank line; -1: not yet. */
function endOfEvent(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(newline, from); at >= 0; at = bytes.indexOf(newline, at + 1)) {
    if (bytes[at + 1] === newline) return at + 2;
    if (bytes[at + 1] === carriageReturn && bytes[at + 2] === newline) return at + 3;
  }
  return -1;
}
