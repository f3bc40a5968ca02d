import { describe, expect, it } from 'vitest';
import { startGateway } from '../support/gateway.ts';
import { waitFor } from '../support/process.ts';
import { rawConnection, rawPost } from '../support/raw-http.ts';
import { beginStream, chunk, events, finish, role, sendJson, startUpstream, wholeAnswer } from '../support/upstream.ts';

const chat = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'Hi' }];

describe('a gateway with too much to do', () => {
  it('turns away what is above its limit, at once and with Retry-After, and takes the next one', async () => {
    const held: (() => void)[] = [];
    const upstream = await startUpstream(({ response }) => void held.push(() => sendJson(response, 200, wholeAnswer)));
    const gateway = await startGateway({
      backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }],
      rest: { server: { maxConcurrentRequests: 2 } },
    });
    const working = [gateway.chat({ model: 'm' }), gateway.chat({ model: 'm' })];
    await waitFor(() => held.length === 2, 'two calls');
    const answers = await Promise.all(Array.from({ length: 10 }, () => gateway.chat({ model: 'm' })));
    for (const answer of answers) {
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
      expect(await answer.json()).toMatchObject({ error: { code: 'overloaded', type: 'server_error' } });
    }
    expect(upstream.requests).toHaveLength(2);
    for (const release of held.splice(0)) release();
    expect((await Promise.all(working)).map(({ status }) => status)).toEqual([200, 200]);
    const next = gateway.chat({ model: 'm' });
    await waitFor(() => held.length === 1, 'the next call');
    held[0]?.();
    expect((await next).status).toBe(200);
  });

  it('still lists models', async () => {
    const upstream = await startUpstream(() => undefined);
    const backends = [{ id: 'one', models: ['m'], baseUrl: upstream.url }];
    const gateway = await startGateway({
      backends,
      rest: { server: { maxConcurrentRequests: 1, shutdownGraceMs: 0 } },
    });
    const held = gateway.chat({ model: 'm' }).catch(() => undefined);
    await waitFor(() => upstream.requests.length === 1, 'the call');
    expect((await fetch(`${gateway.origin}/v1/models`)).status).toBe(200);
    await gateway.close();
    await held;
  });
});

describe('callers who hold connections', () => {
  it('2,000 idle ones do not keep others from an answer', async () => {
    const gateway = await startGateway();
    const idle = await Promise.all(Array.from({ length: 2_000 }, () => rawConnection(gateway.port)));
    expect((await gateway.chat({ model: 'auto' })).status).toBe(200);
    expect(idle.filter(({ socket }) => socket.destroyed)).toHaveLength(0);
    for (const { socket } of idle) socket.destroy();
  });

  it.each([
    ['headers', `POST ${chat} HTTP/1.1\r\nHost: localhost\r\n`, 'X-Slow: 1\r\n'],
    [
      'a body',
      `POST ${chat} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n`,
      ' ',
    ],
  ])('and send %s byte by byte are cut off', async (_name, head, drop) => {
    const gateway = await startGateway({ limits: { headersTimeoutMs: 400, bodyTimeoutMs: 600, checkEveryMs: 100 } });
    const connection = await rawConnection(gateway.port);
    connection.socket.write(head);
    const drip = setInterval(() => connection.socket.write(drop), 50);
    await connection.closed;
    clearInterval(drip);
    expect(connection.received()).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n/);
    expect(await gateway.attempts()).toEqual([]);
  });
});

describe('a gateway that closes', () => {
  const slow = (pieces: number) =>
    startUpstream(({ response }) => {
      beginStream(response);
      response.write(events(role));
      let sent = 0;
      const timer = setInterval(() => {
        sent += 1;
        if (sent <= pieces) return void response.write(events(chunk({ content: `${sent} ` })));
        clearInterval(timer);
        response.end(events(finish, '[DONE]'));
      }, 50);
      response.on('close', () => clearInterval(timer));
    });

  it('lets streams end, takes nothing new, and does not wait for connections that are kept', async () => {
    const upstream = await slow(15);
    const backends = [{ id: 'one', models: ['m'], baseUrl: upstream.url }];
    const gateway = await startGateway({ backends, rest: { server: { shutdownGraceMs: 10_000 } } });
    const body = JSON.stringify({ model: 'm', messages, stream: true });
    const busy = await rawConnection(gateway.port);
    busy.socket.write(rawPost(chat, body));
    const idle = await rawConnection(gateway.port);
    idle.socket.write('GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await waitFor(() => busy.received().includes('data: ') && idle.received().includes('200 OK'), 'the beginning');
    const startedAt = performance.now();
    const closing = gateway.close();
    await idle.closed;
    await expect(fetch(`${gateway.origin}/v1/models`)).rejects.toThrow();
    await closing;
    process.stderr.write(`closed ${(performance.now() - startedAt).toFixed(0)} ms after it was told to\n`);
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    await busy.closed;
    expect(busy.received()).toMatch(/15 .*\[DONE\]/s);
    expect(upstream.requests).toHaveLength(1);
  });

  it('sends the whole of an answer that its caller reads slowly', async () => {
    const content = 'x'.repeat(20_000_000);
    const upstream = await startUpstream(({ response }) =>
      sendJson(response, 200, { choices: [{ message: { content }, finish_reason: 'stop' }] }),
    );
    const gateway = await startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }] });
    const { socket, received, closed } = await rawConnection(gateway.port);
    socket.pause();
    socket.write(rawPost(chat, JSON.stringify({ model: 'm', messages })));
    await gateway.settled(1);
    const closing = gateway.close();
    await new Promise((resolve) => setTimeout(resolve, 500));
    socket.resume();
    await Promise.all([closing, closed]);
    expect(received().length).toBeGreaterThan(content.length);
  });

  it('refuses what comes on a connection that is still open', async () => {
    const upstream = await slow(15);
    const backends = [{ id: 'one', models: ['m'], baseUrl: upstream.url }];
    const gateway = await startGateway({ backends, rest: { server: { shutdownGraceMs: 10_000 } } });
    const body = JSON.stringify({ model: 'm', messages, stream: true });
    const { socket, received, closed } = await rawConnection(gateway.port);
    socket.write(rawPost(chat, body));
    await waitFor(() => received().includes('data: '), 'the beginning');
    const closing = gateway.close();
    socket.write(rawPost(chat, body));
    await Promise.all([closing, closed]);
    const [first = '', second = ''] = received().split('[DONE]');
    expect(first).toContain('15 ');
    expect(second).toMatch(/HTTP\/1.1 503 .*retry-after: 1.*"code":"overloaded"/is);
    expect(upstream.requests).toHaveLength(1);
  });

  it('after its grace time ends streams with an error in them, and blames no provider', async () => {
    const upstream = await slow(10_000);
    const spare = await slow(1);
    const gateway = await startGateway({
      backends: [
        { id: 'one', models: ['a-8b'], baseUrl: upstream.url, price: [0.1, 0.1] },
        { id: 'two', models: ['b-8b'], baseUrl: spare.url },
      ],
      rest: { server: { shutdownGraceMs: 300 } },
    });
    const answer = await gateway.chat({ model: 'auto:low_cost', stream: true });
    const text = answer.text();
    await gateway.close();
    expect(await text).toContain('"code":"overloaded"');
    expect(await text).not.toContain('[DONE]');
    const rows = await gateway.settled(1);
    expect(rows[0]).toMatchObject({ status: 'cancelled', error_code: 'overloaded' });
    expect(spare.requests).toHaveLength(0);
  });

  it.each([
    ['reads nothing', rawPost(chat, JSON.stringify({ model: 'm', messages, stream: true }))],
    ['never finishes its request', `POST ${chat} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n1`],
  ])('does not wait for one who %s', async (_name, sent) => {
    const piece = events(chunk({ content: 'x' }).replace('{', `{"padding":"${'-'.repeat(10_000)}",`));
    const upstream = await startUpstream(({ response }) => {
      beginStream(response);
      const more = () => {
        while (!response.destroyed) if (!response.write(piece)) return void response.once('drain', more);
      };
      more();
    });
    const backends = [{ id: 'one', models: ['m'], baseUrl: upstream.url }];
    const gateway = await startGateway({ backends, rest: { server: { shutdownGraceMs: 300 } } });
    const connection = await rawConnection(gateway.port);
    connection.socket.pause();
    connection.socket.write(sent);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const startedAt = performance.now();
    await gateway.close();
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});
