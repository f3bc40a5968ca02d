import { describe, expect, it } from 'vitest';
import { startGateway } from '../support/gateway.ts';
import { waitFor } from '../support/process.ts';
import { rawConnection, rawPost } from '../support/raw-http.ts';
import {
  beginStream,
  chunk,
  events,
  finish,
  role,
  sendJson,
  startUpstream,
  type Upstream,
} from '../support/upstream.ts';

const chat = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'Hi' }];
const streamBody = JSON.stringify({ model: 'm', messages, stream: true });

async function gatewayTo(handle: Upstream['handle'], limits = {}) {
  const upstream = await startUpstream(handle);
  const gateway = await startGateway({
    backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url, maxRetries: 0 }],
    limits,
  });
  return { upstream, gateway };
}

describe('a caller who hangs up', () => {
  it('in the middle of a stream: the provider is told at once, and the row has what was generated', async () => {
    const { upstream, gateway } = await gatewayTo(({ response }) => {
      beginStream(response);
      response.write(events(role, chunk({ content: 'Some words that were generated. ' })));
    });
    const times: number[] = [];
    for (let tried = 0; tried < 5; tried += 1) {
      const leave = new AbortController();
      const answer = await fetch(gateway.origin + chat, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: streamBody,
        signal: leave.signal,
      });
      await answer.body?.getReader().read();
      const leftAt = performance.now();
      leave.abort();
      await waitFor(() => upstream.requests[tried]?.abortedAtMs !== null, 'the abort');
      times.push((upstream.requests[tried]?.abortedAtMs ?? 0) - leftAt);
    }
    process.stderr.write(`the provider was told after ${times.map((ms) => ms.toFixed(1)).join(', ')} ms\n`);
    expect(Math.min(...times)).toBeLessThan(100);
    const [row] = await gateway.settled(5);
    expect(row).toMatchObject({ status: 'cancelled', error_code: 'cancelled', usage_source: 'estimate' });
    expect(row?.output_tokens).toBeGreaterThan(3);
    expect(row?.cost_nano_usd).toBeGreaterThan(0);
    expect(await gateway.reservedNanoUsd()).toBe(0);
  });

  it.each([true, false])(
    'before the first byte (stream: %s): the provider is told, nobody else is asked',
    async (stream) => {
      const { upstream, gateway } = await gatewayTo(() => undefined);
      const connection = await rawConnection(gateway.port);
      connection.socket.write(rawPost(chat, JSON.stringify({ model: 'm', messages, stream })));
      await waitFor(() => upstream.requests.length === 1, 'the call');
      connection.socket.destroy();
      await waitFor(() => upstream.requests[0]?.abortedAtMs !== null, 'the abort');
      const [row] = await gateway.settled(1);
      expect(row).toMatchObject({ status: 'cancelled', cost_nano_usd: null });
      expect(upstream.requests).toHaveLength(1);
    },
  );

  it('says nothing about the provider: it is asked again at once', async () => {
    const { upstream, gateway } = await gatewayTo(() => undefined);
    for (let tried = 1; tried <= 4; tried += 1) {
      const connection = await rawConnection(gateway.port);
      connection.socket.write(rawPost(chat, streamBody));
      await waitFor(() => upstream.requests.length === tried, 'the call');
      connection.socket.destroy();
      await waitFor(() => upstream.requests[tried - 1]?.abortedAtMs !== null, 'the abort');
    }
  });
});

describe('a caller who does not read', () => {
  /** Few words and many bytes: the limit of words would end it before the buffers on the way are full. */
  const piece = events(chunk({ content: 'x' }).replace('{', `{"padding":"${'-'.repeat(10_000)}",`));

  /** Writes as fast as it is read, and says how much that was. */
  function flood(): { handle: Upstream['handle']; written(): number } {
    let written = 0;
    return {
      written: () => written,
      handle({ response }) {
        beginStream(response);
        response.write(events(role));
        const more = () => {
          while (!response.destroyed) {
            written += piece.length;
            if (!response.write(piece)) return void response.once('drain', more);
          }
        };
        more();
      },
    };
  }

  it('makes the provider wait: memory stays flat', async () => {
    const { handle, written } = flood();
    const { gateway } = await gatewayTo(handle);
    const connection = await rawConnection(gateway.port);
    connection.socket.pause();
    connection.socket.write(rawPost(chat, streamBody));
    await waitFor(() => written() > 100_000, 'the first pieces');
    let last = -1;
    await waitFor(async () => {
      const before = last;
      last = written();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return before === last && last === written();
    }, 'the flood to stand still');
    process.stderr.write(`the provider could write ${last} bytes before it had to wait\n`);
    // What stands in the buffers of four sockets, the kernel's among them.
    expect(last).toBeLessThan(25_000_000);
    expect((await gateway.attempts())[0]?.status).toBe('open');
    connection.socket.destroy();
    expect((await gateway.settled(1))[0]?.status).toBe('cancelled');
  });

  it('for too long is hung up on', async () => {
    const { handle } = flood();
    const { gateway, upstream } = await gatewayTo(handle, { unreadMs: 300 });
    const connection = await rawConnection(gateway.port);
    connection.socket.pause();
    connection.socket.write(rawPost(chat, streamBody));
    await waitFor(() => upstream.requests[0]?.abortedAtMs != null, 'the abort');
    expect((await gateway.settled(1))[0]).toMatchObject({ status: 'cancelled' });
    connection.socket.resume();
    await connection.closed;
    expect(connection.received()).not.toContain('[DONE]');
  });
});

describe('a caller who does not read a whole answer', () => {
  it('for too long is hung up on', async () => {
    const content = 'x'.repeat(25_000_000);
    const { gateway } = await gatewayTo(
      ({ response }) => sendJson(response, 200, { choices: [{ message: { content }, finish_reason: 'stop' }] }),
      { unreadMs: 400 },
    );
    const connection = await rawConnection(gateway.port);
    connection.socket.pause();
    connection.socket.write(rawPost(chat, JSON.stringify({ model: 'm', messages })));
    await gateway.settled(1);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    connection.socket.resume();
    await connection.closed;
    expect(connection.received().length).toBeLessThan(content.length);
  });
});

describe('a provider that does not end', () => {
  it('in the time for a request, is left, and the stream ends with an error', async () => {
    const upstream = await startUpstream(({ response }) => {
      beginStream(response);
      const beat = setInterval(() => response.write(events(chunk({ content: 'word ' }))), 50);
      response.on('close', () => clearInterval(beat));
    });
    const gateway = await startGateway({
      backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }],
      rest: { server: { requestTimeoutMs: 1_000 } },
    });
    const text = await (await gateway.chat({ model: 'm', stream: true })).text();
    expect(text).toContain('"code":"deadline_exceeded"');
    expect(text).not.toContain('[DONE]');
    expect(upstream.requests).toHaveLength(1);
    expect((await gateway.settled(1))[0]).toMatchObject({ error_code: 'deadline_exceeded', usage_source: 'estimate' });
  });

  it('is cut, and the stream ends with an error', async () => {
    const { gateway, upstream } = await gatewayTo(({ response }) => {
      beginStream(response);
      const more = () => {
        while (!response.destroyed)
          if (!response.write(events(chunk({ content: 'and so on '.repeat(500) }))))
            return void response.once('drain', more);
      };
      more();
    });
    const answer = await gateway.chat({ model: 'm', stream: true });
    const text = await answer.text();
    expect(text).toContain('did not stop sending');
    expect(text).not.toContain('[DONE]');
    expect(text.length).toBeLessThan(3_000_000);
    await waitFor(() => upstream.requests[0]?.abortedAtMs !== null, 'the abort');
    expect((await gateway.settled(1))[0]).toMatchObject({ status: 'error', error_code: 'upstream_invalid' });
  });

  it('an event, is cut as well', async () => {
    const { gateway } = await gatewayTo(({ response }) => {
      beginStream(response);
      const more = () => {
        while (!response.destroyed) if (!response.write('x'.repeat(100_000))) return void response.once('drain', more);
      };
      more();
    });
    const startedAt = performance.now();
    const answer = await gateway.chat({ model: 'm', stream: true });
    expect(answer.status).toBe(502);
    process.stderr.write(`an event without an end was cut after ${(performance.now() - startedAt).toFixed(0)} ms\n`);
  });

  it('a whole answer, is cut as well', async () => {
    const { gateway } = await gatewayTo(({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = () => {
        while (!response.destroyed) if (!response.write(' '.repeat(100_000))) return void response.once('drain', more);
      };
      more();
    });
    expect((await gateway.chat({ model: 'm' })).status).toBe(502);
  });

  it('its stream after the last word, is not waited for', async () => {
    const { gateway, upstream } = await gatewayTo(({ response }) => {
      beginStream(response);
      response.write(events(role, chunk({ content: 'Hello' }), finish));
      const beat = setInterval(() => response.write(': still here\n\n'), 20);
      response.on('close', () => clearInterval(beat));
    });
    const answer = await gateway.chat({ model: 'm', stream: true });
    expect(await answer.text()).toContain('data: [DONE]\n\n');
    await waitFor(() => upstream.requests[0]?.abortedAtMs !== null, 'the end');
  });
});
