import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { type Gateway, readEvents, startGateway } from '../support/gateway.ts';
import {
  beginStream,
  chunk,
  events,
  finish,
  role,
  sendJson,
  sendStream,
  startUpstream,
  usageChunk,
  wholeAnswer,
} from '../support/upstream.ts';

async function gatewayFor(handle: (response: ServerResponse) => void): Promise<Gateway> {
  const upstream = await startUpstream(({ response }) => handle(response));
  return startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url, idleTimeoutMs: 5_000 }] });
}

async function streamOf(gateway: Gateway, fields: Record<string, unknown> = {}): Promise<Buffer> {
  const answer = await gateway.chat({ model: 'm', stream: true, ...fields });
  expect(answer.status).toBe(200);
  return Buffer.from(await answer.arrayBuffer());
}

const usageOption = { stream_options: { include_usage: true } };

describe('a stream', () => {
  it('is relayed as it came, usage aside', async () => {
    const said = events(role, chunk({ content: 'Hel' }), chunk({ content: 'lo ü 😀' }), finish);
    const gateway = await gatewayFor((response) => sendStream(response, said + events(usageChunk, '[DONE]')));
    expect((await streamOf(gateway)).toString()).toBe(said + events('[DONE]'));
    expect((await streamOf(gateway, usageOption)).toString()).toBe(said + events(usageChunk, '[DONE]'));
    const [one, other] = await gateway.settled(2);
    expect(one).toMatchObject({ status: 'ok', input_tokens: 11, output_tokens: 3, usage_source: 'provider' });
    expect(other).toMatchObject({ status: 'ok', input_tokens: 11, output_tokens: 3 });
  });

  it('keeps odd but legal spelling: CRLF, no space, comments, ids, several data lines', async () => {
    const said = [
      `data:${role}\r\n\r\n`,
      `: keep-alive\n\n`,
      `event: message\nid: 7\ndata:  ${chunk({ content: 'one ' })}\n\n`,
      `data: ${chunk({ content: 'two' }).replace(',"object"', ',\ndata: "object"')}\n\n`,
      `retry: 100\r\ndata: ${finish}\r\n\r\n`,
    ].join('');
    const gateway = await gatewayFor((response) => sendStream(response, `${said}data:[DONE]\r\n\r\n`));
    expect((await streamOf(gateway)).toString()).toBe(`${said}data: [DONE]\n\n`);
  });

  it('is the same however TCP cuts it', async () => {
    const said = Buffer.from(events(role, chunk({ content: 'a ü 😀 b' }), finish));
    for (const size of [1, 2, 3, 5, 7]) {
      const gateway = await gatewayFor((response) => {
        beginStream(response);
        response.socket?.setNoDelay(true);
        const all = Buffer.concat([said, Buffer.from(events('[DONE]'))]);
        let at = 0;
        const next = () => {
          response.write(all.subarray(at, at + size));
          at += size;
          if (at < all.length) setImmediate(next);
          else response.end();
        };
        next();
      });
      expect((await streamOf(gateway)).equals(Buffer.concat([said, Buffer.from('data: [DONE]\n\n')]))).toBe(true);
    }
  });

  it('carries tool calls, logprobs and reasoning untouched, and counts them', async () => {
    const logprobs = '"logprobs":{"content":[{"token":"a","logprob":-0.10,"bytes":[97]}]}';
    const said =
      events(role, chunk({ reasoning_content: 'Let me think about the weather for a while.' })) +
      events(chunk({ content: 'a' }).replace('"finish_reason":null', `${logprobs},"finish_reason":null`)) +
      events(chunk({ tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{"x":1}' } }] })) +
      events(chunk({}, 'tool_calls'));
    const gateway = await gatewayFor((response) => sendStream(response, said + events('[DONE]')));
    expect((await streamOf(gateway)).toString()).toBe(said + events('[DONE]'));
    const [row] = await gateway.settled(1);
    expect(row).toMatchObject({ usage_source: 'estimate', finish_reason: 'tool_calls' });
    expect(row?.output_tokens).toBeGreaterThan(8);
  });

  it('of two choices ends when both have ended', async () => {
    const first = events(role, chunk({ content: 'A' }), chunk({}, 'stop'), chunk({}, 'stop'));
    const second = events(chunk({ content: 'B' }, null, 1));
    const last = events(chunk({ content: 'C' }, 'stop', 1), '[DONE]');
    const gateway = await gatewayFor((response) => {
      beginStream(response);
      response.write(first);
      setTimeout(() => response.write(second), 700);
      setTimeout(() => response.end(last), 1_600);
    });
    expect((await streamOf(gateway, { n: 2 })).toString()).toBe(first + second + last);
  });

  it('of two prompts ends when both are answered', async () => {
    const piece = (index: number, text: string, reason: string | null) =>
      JSON.stringify({ object: 'text_completion', choices: [{ index, text, finish_reason: reason }] });
    const first = events(piece(0, 'A', 'stop'));
    const last = events(piece(1, 'B', null), piece(1, 'C', 'stop'), '[DONE]');
    const gateway = await gatewayFor((response) => {
      beginStream(response);
      response.write(first);
      setTimeout(() => response.end(last), 1_500);
    });
    const body = { model: 'm', prompt: ['one', 'two'], stream: true };
    const answer = await gateway.post('/v1/completions', body);
    expect(await answer.text()).toBe(first + last);
  });

  it('ends when the answer is whole, though the provider sends no mark and holds the connection', async () => {
    const said = events(role, chunk({ content: 'Hello' }), finish, usageChunk);
    const gateway = await gatewayFor((response) => {
      beginStream(response);
      response.write(said);
    });
    const startedAt = performance.now();
    const { done, text } = readEvents((await streamOf(gateway)).toString());
    expect({ done, text }).toEqual({ done: true, text: 'Hello' });
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect((await gateway.settled(1))[0]).toMatchObject({ status: 'ok', output_tokens: 3 });
  });

  it('is made of the whole answer of a provider that does not stream', async () => {
    const gateway = await gatewayFor((response) => sendJson(response, 200, wholeAnswer));
    const { chunks, text, done } = readEvents((await streamOf(gateway, usageOption)).toString());
    expect({ text, done }).toEqual({ text: 'Hello', done: true });
    expect(chunks.at(-1)?.usage).toEqual(wholeAnswer.usage);
    expect(chunks[0]?.object).toBe('chat.completion.chunk');
  });

  it('has no body of its own for a refusal: that is an answer like any other', async () => {
    const said = events(chunk({ role: 'assistant', content: null, refusal: 'I cannot help with that.' }), finish);
    const gateway = await gatewayFor((response) => sendStream(response, said + events('[DONE]')));
    expect((await streamOf(gateway)).toString()).toBe(said + events('[DONE]'));
  });
});
