import { describe, expect, it } from 'vitest';
import { type Gateway, readEvents, startGateway } from '../support/gateway.ts';
import {
  beginStream,
  chunk,
  cutAfter,
  events,
  finish,
  role,
  sendStream,
  startUpstream,
  type Upstream,
  usageChunk,
  wholeStream,
} from '../support/upstream.ts';
import type { BackendYaml } from '../support/yaml.ts';

const question = [{ role: 'user', content: 'Count.' }];

interface Setup {
  gateway: Gateway;
  first: Upstream;
  second: Upstream;
}

async function pair(
  one: Upstream['handle'],
  two: Upstream['handle'],
  settings: { one?: Partial<BackendYaml>; two?: Partial<BackendYaml>; onStreamLoss?: 'resume' | 'error' } = {},
): Promise<Setup> {
  const first = await startUpstream(one);
  const second = await startUpstream(two);
  const { onStreamLoss = 'resume' } = settings;
  const gateway = await startGateway({
    backends: [
      { id: 'first', models: ['a-8b'], baseUrl: first.url, price: [0.1, 0.1], maxRetries: 0, ...settings.one },
      { id: 'second', models: ['b-8b'], baseUrl: second.url, price: [1, 1], maxRetries: 0, ...settings.two },
    ],
    rest: { routing: { onStreamLoss } },
  });
  return { gateway, first, second };
}

async function stream(gateway: Gateway, fields: Record<string, unknown> = {}) {
  const answer = await gateway.chat({ model: 'auto', stream: true, messages: question, ...fields });
  expect(answer.status).toBe(200);
  const text = await answer.text();
  const read = readEvents(text);
  return {
    ...read,
    raw: text,
    error: read.chunks.find((one) => one.error)?.error,
    backend: answer.headers.get('x-tandem-backend'),
  };
}

describe('a stream that breaks off', () => {
  it('before its first token begins anew elsewhere, without a trace', async () => {
    const { gateway } = await pair(
      ({ response }) => cutAfter(response),
      ({ response }) => sendStream(response, wholeStream('one ', 'two')),
    );
    const { raw, backend } = await stream(gateway);
    expect(backend).toBe('second');
    expect(raw).toBe(wholeStream('one ', 'two').replace(/data: \{[^\n]*"usage"[^\n]*\n\n/, ''));
  });

  it("is continued by a server that takes the beginning as the assistant's message", async () => {
    const { gateway, second } = await pair(
      ({ response }) => cutAfter(response, 'one ', 'two '),
      ({ response }) => sendStream(response, wholeStream('three ', 'four')),
      { two: { prefill: 'assistant' } },
    );
    const { text, done, error } = await stream(gateway, { max_tokens: 100, seed: 9 });
    expect({ text, done, error }).toEqual({ text: 'one two three four', done: true, error: undefined });
    const body = JSON.parse(second.requests[0]?.body ?? '');
    expect(body.messages).toEqual([...question, { role: 'assistant', content: 'one two ' }]);
    expect(body.max_tokens).toBeLessThan(100);
    expect(body).toMatchObject({ model: 'b-8b', seed: 9, stream: true });
    expect(body).not.toHaveProperty('continue_final_message');
    const rows = await gateway.settled(2);
    expect(rows.map((row) => [row.backend, row.status, row.error_code])).toEqual([
      ['first', 'error', 'upstream_cut'],
      ['second', 'ok', null],
    ]);
    expect(new Set(rows.map((row) => row.request_id)).size).toBe(1);
    expect(rows[0]).toMatchObject({ usage_source: 'estimate' });
    expect(rows[0]?.cost_nano_usd).toBeGreaterThan(0);
  });

  it('is continued by one that can, rather than asked again of one that cannot', async () => {
    const { gateway, first } = await pair(
      ({ response }) => cutAfter(response, 'one '),
      ({ response }) => sendStream(response, wholeStream('two')),
      { one: { maxRetries: 1 }, two: { prefill: 'assistant' } },
    );
    expect(await stream(gateway)).toMatchObject({ text: 'one two', done: true });
    expect(first.requests).toHaveLength(1);
  });

  it('is continued by vLLM, which is told so', async () => {
    const { gateway, second } = await pair(
      ({ response }) => cutAfter(response, 'one '),
      ({ response }) => sendStream(response, wholeStream('two')),
      { two: { prefill: 'vllm' } },
    );
    expect(await stream(gateway)).toMatchObject({ text: 'one two', done: true });
    const body = JSON.parse(second.requests[0]?.body ?? '');
    expect(body).toMatchObject({ continue_final_message: true, add_generation_prompt: false });
    expect(body.messages.at(-1)).toEqual({ role: 'assistant', content: 'one ' });
  });

  it.each([
    ['in the same pieces', ['one ', 'two ', 'three']],
    ['in other pieces', ['o', 'ne tw', 'o thr', 'ee']],
    ['in one piece', ['one two three']],
    ['letter by letter', [...'one two three']],
  ])('is finished by one that says the same again %s: only the rest is passed on', async (_name, pieces) => {
    const { gateway, second } = await pair(
      ({ response }) => cutAfter(response, 'one ', 'two '),
      ({ response }) => sendStream(response, wholeStream(...pieces)),
    );
    expect(await stream(gateway)).toMatchObject({ text: 'one two three', done: true, error: undefined });
    expect(JSON.parse(second.requests[0]?.body ?? '').messages).toEqual(question);
    expect((await gateway.settled(2)).map(({ status }) => status)).toEqual(['error', 'ok']);
  });

  it.each([
    ['says something else', ['eins ', 'zwei']],
    ['says less', ['one ']],
    ['says something else near the end', ['one ', 'twelve']],
  ])('ends with an error in the stream where the other one %s', async (_name, pieces) => {
    const { gateway } = await pair(
      ({ response }) => cutAfter(response, 'one ', 'two '),
      ({ response }) => sendStream(response, wholeStream(...pieces)),
    );
    const { text, done, error } = await stream(gateway);
    expect({ text, done }).toEqual({ text: 'one two ', done: false });
    expect(error).toMatchObject({ type: 'server_error', message: expect.stringContaining('another answer') });
    expect((await gateway.settled(2)).map((row) => row.error_code)).toEqual(['upstream_cut', 'answer_differs']);
  });

  it('is asked once more of the same provider, when there is no other', async () => {
    const upstream = await startUpstream(({ response, ordinal }) =>
      ordinal === 1 ? cutAfter(response, 'one ') : sendStream(response, wholeStream('one ', 'two')),
    );
    const gateway = await startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }] });
    expect(await stream(gateway, { model: 'm' })).toMatchObject({ text: 'one two', done: true });
  });

  it('survives three losses in a row', async () => {
    const said = ['one ', 'two ', 'three ', 'four'];
    const upstream = await startUpstream(({ response, ordinal }) =>
      ordinal < 4 ? cutAfter(response, said[ordinal - 1] ?? '') : sendStream(response, wholeStream('four')),
    );
    const settings = { models: ['m'], baseUrl: upstream.url, prefill: 'assistant' as const, maxRetries: 3 };
    const gateway = await startGateway({ backends: [{ id: 'one', ...settings }] });
    expect(await stream(gateway, { model: 'm' })).toMatchObject({ text: said.join(''), done: true });
    expect(await gateway.settled(4)).toHaveLength(4);
  });

  it('ends with an error at once where that is wanted', async () => {
    const { gateway, second } = await pair(
      ({ response }) => cutAfter(response, 'one '),
      ({ response }) => sendStream(response, wholeStream('one ', 'two')),
      { onStreamLoss: 'error' },
    );
    const { text, done, error } = await stream(gateway);
    expect({ text, done, code: error?.code }).toEqual({ text: 'one ', done: false, code: 'upstream_cut' });
    expect(second.requests).toHaveLength(0);
  });

  it.each([
    ['a tool call was begun', { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{' } }] }, {}],
    ['reasoning was passed on', { reasoning_content: 'Hm.' }, {}],
    ['several answers were asked for', { content: 'one ' }, { n: 2 }],
  ])('is not resumed where %s', async (_name, delta, fields) => {
    const { gateway, second } = await pair(
      ({ response }) => {
        beginStream(response);
        response.write(events(role, chunk(delta)));
        setTimeout(() => response.destroy(), 30);
      },
      ({ response }) => sendStream(response, wholeStream('one ', 'two')),
      { two: { prefill: 'assistant' } },
    );
    const { done, error } = await stream(gateway, fields);
    expect({ done, code: error?.code }).toEqual({ done: false, code: 'upstream_cut' });
    expect(second.requests).toHaveLength(0);
  });

  it.each([
    ['stalls', ''],
    ['sends a malformed chunk', 'data: {"choices":[{"del\n\n'],
    ['sends an error', events('{"error":{"message":"engine died","type":"server_error"}}')],
  ])('counts as broken off when it %s', async (_name, then) => {
    const { gateway } = await pair(
      ({ response }) => {
        beginStream(response);
        response.write(events(role, chunk({ content: 'one ' })) + then);
      },
      ({ response }) => sendStream(response, wholeStream('one ', 'two')),
      { one: { idleTimeoutMs: 300 } },
    );
    const { text, done, raw } = await stream(gateway);
    expect({ text, done }).toEqual({ text: 'one two', done: true });
    expect(raw).not.toContain('engine died');
    expect(raw).not.toContain('"del\n');
  });

  it('that ends well but early, without a reason, is no whole answer', async () => {
    const { gateway } = await pair(
      ({ response }) => sendStream(response, events(role, chunk({ content: 'one ' }))),
      ({ response }) => sendStream(response, wholeStream('one ', 'two')),
    );
    expect(await stream(gateway)).toMatchObject({ text: 'one two', done: true });
  });

  it('makes the openai client throw when it cannot be finished', async () => {
    const { gateway } = await pair(
      ({ response }) => cutAfter(response, 'one '),
      ({ response }) => cutAfter(response, 'one '),
    );
    const messages = [{ role: 'user' as const, content: 'Count.' }];
    const pieces = await gateway.openai.chat.completions.create({ model: 'auto', messages, stream: true });
    let text = '';
    const read = async () => {
      for await (const piece of pieces) text += piece.choices[0]?.delta.content ?? '';
    };
    await expect(read()).rejects.toThrow(/broke off|Every backend failed/);
    expect(text).toBe('one ');
  });

  it('passes usage of the leg that finished it on to those who ask', async () => {
    const { gateway } = await pair(
      ({ response }) => cutAfter(response, 'one '),
      ({ response }) => sendStream(response, events(role, chunk({ content: 'one two' }), finish, usageChunk, '[DONE]')),
    );
    const { chunks, text } = await stream(gateway, { stream_options: { include_usage: true } });
    expect(text).toBe('one two');
    expect(chunks.at(-1)?.usage).toMatchObject({ completion_tokens: 3 });
  });
});
