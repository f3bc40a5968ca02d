import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventReader } from '../../src/router/backends/event-reader.ts';
import type { Piece } from '../../src/router/types.ts';
import { chunk, events, finish, role, usageChunk } from '../support/upstream.ts';

function readIn(parts: Buffer[], choices = 1): { reader: EventReader; pieces: Piece[]; bytes: string; text: string } {
  const reader = new EventReader('Backend test', choices);
  const pieces = parts.flatMap((part) => reader.read(part) ?? []);
  const last = reader.end();
  if (last) pieces.push(last);
  return {
    reader,
    pieces,
    bytes: Buffer.concat(pieces.map((piece) => piece.bytes)).toString('utf8'),
    text: pieces.map((piece) => piece.text).join(''),
  };
}

const endings = ['\n', '\r\n'];
/** Any text, also such as looks like the frame that it stands in. */
const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.constantFrom('\n\n', 'data: ', '[DONE]', 'ü😀'),
);

/** One event in any legal spelling. */
const anyEvent = fc
  .record({
    text: anyText,
    ending: fc.constantFrom(...endings),
    space: fc.constantFrom('', ' '),
    before: fc.constantFrom('', ': a comment', 'event: message', 'id: 7', 'retry: 10'),
  })
  .map(({ text, ending, space, before }) => ({
    text,
    bytes: `${before === '' ? '' : before + ending}data:${space}${chunk({ content: text })}${ending}${ending}`,
  }));

/** A text in parts, cut anywhere, also within a character. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].toSorted((one, other) => one - other);
  return [0, ...at].map((start, index) => bytes.subarray(start, at[index] ?? bytes.length));
}

describe('the reader of event streams', () => {
  it('gives the same bytes and the same text however they are cut', () => {
    fc.assert(
      fc.property(
        fc.array(anyEvent, { minLength: 1, maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 40 }),
        (said, places) => {
          const whole = said.map(({ bytes }) => bytes).join('');
          const all = Buffer.from(`${whole}data: ${finish}\n\ndata: [DONE]\n\n`);
          const { reader, bytes, text } = readIn(cut(all, places));
          expect(text).toBe(said.map((event) => event.text).join(''));
          expect(bytes).toBe(`${whole}data: ${finish}\n\n`);
          expect([reader.failure, reader.finished, reader.done]).toEqual([null, true, true]);
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each(endings)(
    'finds every event when each byte comes alone, or the stream is cut once anywhere (%j)',
    (ending) => {
      const said = `data: ${role}${ending}${ending}: beat${ending}${ending}data:${chunk({ content: 'ü😀' })}${ending}${ending}`;
      const all = Buffer.from(said);
      expect(readIn([...all].map((byte) => Buffer.from([byte]))).bytes).toBe(said);
      for (let at = 0; at <= all.length; at += 1)
        expect(readIn([all.subarray(0, at), all.subarray(at)]).bytes).toBe(said);
    },
  );

  it('keeps usage apart, and tells it', () => {
    const { pieces, bytes } = readIn([Buffer.from(events(role, finish, usageChunk, '[DONE]'))]);
    expect(bytes).toBe(events(role, finish));
    expect(pieces[0]?.usageBytes?.toString()).toBe(events(usageChunk));
    expect(pieces[0]?.usage?.usage).toMatchObject({ inputTokens: 11, outputTokens: 3 });
  });

  it('leaves usage that stands in a chunk with text where it is', () => {
    const both = chunk({ content: 'x' }).replace('{', '{"usage":{"prompt_tokens":5,"completion_tokens":1},');
    const { pieces, bytes } = readIn([Buffer.from(events(both))]);
    expect(bytes).toBe(events(both));
    expect(pieces[0]?.usageBytes).toBeNull();
    expect(pieces[0]?.usage?.usage?.inputTokens).toBe(5);
  });

  it('does not look at what follows nonsense, and gives what came before it', () => {
    const { reader, text } = readIn([
      Buffer.from(events(chunk({ content: 'good' }), '{"bro', chunk({ content: 'bad' }))),
    ]);
    expect(text).toBe('good');
    expect(reader.failure?.code).toBe('upstream_invalid');
  });

  it('does not look at what follows [DONE]', () => {
    const { reader, text } = readIn([
      Buffer.from(events(chunk({ content: 'a' }), '[DONE]', chunk({ content: 'b' }), '{')),
    ]);
    expect([text, reader.done, reader.failure]).toEqual(['a', true, null]);
  });

  it('takes a last event without its blank line', () => {
    const { reader, text } = readIn([Buffer.from(`${events(role)}data: ${chunk({ content: 'x' }, 'stop')}`)]);
    expect([text, reader.finished]).toEqual(['x', true]);
  });

  it('passes comments on only after the first event', () => {
    expect(readIn([Buffer.from(': one\n\n'), Buffer.from(`${events(role)}: two\n\n`)]).bytes).toBe(
      `${events(role)}: two\n\n`,
    );
  });

  it('counts a choice that ends twice once', () => {
    const { reader } = readIn([Buffer.from(events(chunk({}, 'stop'), chunk({}, 'stop')))], 2);
    expect(reader.isWhole).toBe(false);
    reader.read(Buffer.from(events(chunk({}, 'length', 1))));
    expect(reader.isWhole).toBe(true);
  });

  it('takes a hostile stream without end in linear time', () => {
    const time = (parts: number) => {
      const reader = new EventReader('Backend test', 1);
      const part = Buffer.alloc(16_384, 'x');
      const startedAt = performance.now();
      for (let sent = 0; sent < parts; sent += 1) reader.read(part);
      return performance.now() - startedAt;
    };
    time(200);
    const few = Math.min(time(250), time(250), time(250));
    const many = Math.min(time(2_000), time(2_000));
    // Eight times as much; quadratic work would take 64 times as long.
    expect(many / few).toBeLessThan(30);
  });
});
