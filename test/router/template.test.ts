import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readChunk } from '../../src/router/backends/chunk.ts';
import { Template } from '../../src/router/backends/template.ts';

const read = (data: string) => readChunk('Backend test', JSON.parse(data));

/** Chunks of many kinds of servers: what stands around the text, and in which order. */
const anyForm = fc.constantFrom<(text: string) => unknown>(
  (content) => ({ id: 'a', choices: [{ index: 0, delta: { content }, finish_reason: null }] }),
  (content) => ({ choices: [{ delta: { role: 'assistant', content }, index: 0 }], model: 'content' }),
  (content) => ({ content: 'elsewhere', choices: [{ index: 0, delta: { content } }] }),
  (content) => ({
    choices: [
      { index: 0, delta: { content } },
      { index: 1, delta: { content } },
    ],
  }),
  (content) => ({ choices: [{ index: 1, delta: { content } }] }),
  (content) => ({ choices: [{ index: 0, delta: { content, reasoning_content: content } }] }),
  (content) => ({ choices: [{ index: 0, delta: { content } }], usage: { prompt_tokens: 1, completion_tokens: 2 } }),
  (content) => ({ choices: [{ index: 0, delta: { content }, finish_reason: 'stop' }] }),
  (content) => ({ choices: [{ index: 0, delta: {}, logprobs: { content } }] }),
);
const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.constantFrom('"', '\\', '\\"', '"}}]}', '","content":"', 'content', '\n', '\u2028', ''),
);

describe('the template of chunks', () => {
  it('reads the same text as the parser does, or leaves the chunk to it', () => {
    fc.assert(
      fc.property(anyForm, fc.array(anyText, { minLength: 2, maxLength: 8 }), (form, texts) => {
        const template = new Template();
        for (const text of texts) {
          const data = JSON.stringify(form(text));
          const known = template.textOf(data);
          const chunk = read(data);
          if (known !== null) expect(chunk).toEqual({ ...read('{"choices":[]}'), text: known });
          template.learn(data, chunk);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('leaves what is no JSON to the parser, however it is dressed', () => {
    const template = new Template();
    const chunkWith = (raw: string) => `{"choices":[{"index":0,"delta":{"content":"${raw}"}}]}`;
    template.learn(chunkWith('Hello'), read(chunkWith('Hello')));
    expect(template.textOf(chunkWith(' world'))).toBe(' world');
    for (const raw of ['a"b', 'a\\', 'a\tb', 'a\u0000b', '']) expect(template.textOf(chunkWith(raw))).toBeNull();
    expect(template.textOf(`${chunkWith('a')} `)).toBeNull();
    expect(template.textOf(chunkWith('a').slice(0, -1))).toBeNull();
  });

  it('knows nothing before it has seen a chunk', () => {
    expect(new Template().textOf('')).toBeNull();
    expect(new Template().textOf('{"choices":[{"delta":{"content":"a"}}]}')).toBeNull();
  });
});
