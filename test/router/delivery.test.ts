import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { EventReader } from '../../src/router/backends/event-reader.ts';
import { Delivery } from '../../src/router/delivery.ts';
import type { Piece, Sink } from '../../src/router/types.ts';
import { candidate, chatRequest, emptyDecision } from '../support/candidates.ts';
import { readEvents } from '../support/gateway.ts';
import { chunk, events, finish, role } from '../support/upstream.ts';

const [one, two] = [candidate('one'), candidate('two')];

function start(request = chatRequest): { delivery: Delivery; taken: () => ReturnType<typeof readEvents> } {
  const bytes: Buffer[] = [];
  const delivery = new Delivery(request, emptyDecision, (piece) => {
    bytes.push(piece.bytes);
    return undefined;
  });
  return { delivery, taken: () => readEvents(Buffer.concat(bytes).toString()) };
}

/** Sends each text as one event; the last one with the reason of its end. */
function send(sink: Sink, texts: readonly string[], ends: boolean): void {
  const reader = new EventReader('Backend test', 1);
  const said = [role, ...texts.map((content) => chunk({ content })), ...(ends ? [finish] : [])];
  for (const text of said) {
    const piece = reader.read(Buffer.from(events(text)));
    if (piece) sink(piece);
  }
}

/** A text in pieces. */
const anyPieces = fc.array(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 8 });

function cutAnywhere(text: string, places: readonly number[]): string[] {
  const letters = [...text];
  const at = [...new Set(places.map((place) => place % (letters.length + 1)))].toSorted((x, y) => x - y);
  return [0, ...at].map((from, index) => letters.slice(from, at[index] ?? letters.length).join(''));
}

describe('the delivery of a stream', () => {
  it('passes nothing on before the first token, and then all that was held', () => {
    const { delivery, taken } = start();
    send(delivery.sinkFor(one, null), [], false);
    expect(delivery.started).toBe(false);
    expect(taken().chunks).toEqual([]);
    send(delivery.sinkFor(two, null), ['Hello'], true);
    expect(delivery.started).toBe(true);
    // The role of the first attempt is not among them.
    expect(taken().chunks).toHaveLength(3);
  });

  it('gives an empty answer as it is', () => {
    const { delivery, taken } = start();
    send(delivery.sinkFor(one, null), [], true);
    expect(taken().chunks).toHaveLength(2);
  });

  it('gives the whole text exactly once, wherever it broke off and however it is said again', () => {
    fc.assert(
      fc.property(anyPieces, fc.nat(), fc.array(fc.nat(), { maxLength: 8 }), (pieces, where, places) => {
        const text = pieces.join('');
        const { delivery, taken } = start();
        send(delivery.sinkFor(one, null), pieces.slice(0, where % (pieces.length + 1)), false);
        send(delivery.sinkFor(two, null), cutAnywhere(text, places), true);
        const read = taken();
        expect(read.text).toBe(text);
        expect(read.chunks.filter(({ choices }) => choices[0].finish_reason !== null)).toHaveLength(1);
        expect(read.chunks.filter(({ choices }) => choices[0].delta.role)).toHaveLength(1);
      }),
      { numRuns: 300 },
    );
  });

  it('gives the whole text exactly once over several losses', () => {
    fc.assert(
      fc.property(anyPieces, fc.array(fc.tuple(fc.nat(), fc.boolean()), { maxLength: 4 }), (pieces, losses) => {
        const text = pieces.join('');
        const { delivery, taken } = start();
        let said = '';
        const attempt = (upTo: number, prefills: boolean, ends: boolean) => {
          const begun = delivery.begunFor(prefills ? 'assistant' : null);
          const rest = begun ? text.slice(begun.text.length) : text;
          const goal = [...rest].slice(0, upTo).join('');
          send(delivery.sinkFor(one, begun), goal === '' ? [] : [goal], ends);
          said = taken().text;
          expect(text.startsWith(said)).toBe(true);
        };
        for (const [upTo, prefills] of losses) attempt(upTo % 40, prefills, false);
        attempt(Number.POSITIVE_INFINITY, false, true);
        expect(said).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  it('refuses another answer, and passes none of it on', () => {
    fc.assert(
      fc.property(anyPieces, anyPieces, (pieces, others) => {
        const [text, other] = [pieces.join(''), others.join('')];
        fc.pre(!other.startsWith(text));
        const { delivery, taken } = start();
        send(delivery.sinkFor(one, null), pieces, false);
        expect(() => send(delivery.sinkFor(two, null), others, true)).toThrow(AppError);
        expect(taken().text).toBe(text);
      }),
    );
  });

  it('knows what it can finish', () => {
    const resumable = (delta: Record<string, unknown>, fields = {}) => {
      const { delivery } = start({ ...chatRequest, ...fields });
      const sink = delivery.sinkFor(one, null);
      const reader = new EventReader('Backend test', 1);
      sink(reader.read(Buffer.from(events(chunk(delta)))) as Piece);
      return delivery.isResumable;
    };
    expect(resumable({ content: 'x' })).toBe(true);
    expect(resumable({ content: 'x', refusal: null })).toBe(true);
    expect(resumable({ reasoning_content: 'x' })).toBe(false);
    expect(resumable({ tool_calls: [{ index: 0 }] })).toBe(false);
    expect(resumable({ content: 'x' }, { choices: 2 })).toBe(false);
    expect(resumable({ content: 'x' }, { operation: 'completions' })).toBe(false);
  });

  it('waits while the caller cannot take more', async () => {
    let release = () => {};
    const wait = new Promise<void>((resolve) => {
      release = resolve;
    });
    const delivery = new Delivery(chatRequest, emptyDecision, () => wait);
    const sink = delivery.sinkFor(one, null);
    const piece = new EventReader('Backend test', 1).read(Buffer.from(events(chunk({ content: 'x' })))) as Piece;
    const taking = sink(piece);
    expect(taking).toBeInstanceOf(Promise);
    release();
    await taking;
  });
});
