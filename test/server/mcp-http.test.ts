import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect as openSocket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { until } from '../lambda/cloud.ts';
import { ManualClock } from '../support/clock.ts';
import { type HttpWorld, initialize, listTools, post, readEvents, send, startHttpWorld } from './http.ts';

const a10 = { name: 'launch_instance', arguments: { instance_type: 'gpu_1x_a10' } };

/** Opens a session by hand and returns the headers with which requests on it are made. */
async function openSession({ url }: HttpWorld, headers: Record<string, string> = {}): Promise<Record<string, string>> {
  const answer = await post(url, initialize, headers);
  expect(answer.status).toBe(200);
  const session = { ...headers, 'mcp-session-id': String(answer.headers['mcp-session-id']) };
  expect((await post(url, { jsonrpc: '2.0', method: 'notifications/initialized' }, session)).status).toBe(202);
  return session;
}

/** Starts a request whose answer stays open. */
function openStream(url: string, headers: Record<string, string>, body?: unknown): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, {
      method: body === undefined ? 'GET' : 'POST',
      agent: false,
      headers: {
        accept: 'text/event-stream, application/json',
        'mcp-protocol-version': '2025-11-25',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
    });
    request.on('response', (response) => {
      response.on('error', () => undefined);
      resolve(response);
    });
    request.on('error', reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Reads the stream until what came so far is enough. */
function readUntil(stream: IncomingMessage, isEnough: (text: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    stream.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      if (isEnough(text)) resolve(text);
    });
    stream.on('end', () => reject(new Error(`the stream ended with: ${text}`)));
  });
}

describe('Streamable HTTP', () => {
  it('lists the tools and runs them', async () => {
    const { connect } = await startHttpWorld();
    const { client, transport } = await connect();
    expect(transport.sessionId).toMatch(/^[0-9a-f-]{36}$/);
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('complete');
    const answer = await client.callTool({ name: 'complete', arguments: { prompt: 'Hello?' } });
    expect(answer.structuredContent).toMatchObject({ text: expect.any(String) });
    const report = await client.callTool({ name: 'cost_report', arguments: { period: 'today' } });
    expect(report.structuredContent).toMatchObject({ totals: { requests: 1 } });
  });

  it('serves many sessions side by side, each with its own answers', async () => {
    const { connect, open } = await startHttpWorld();
    const clients = await Promise.all(Array.from({ length: 8 }, () => connect()));
    expect(open.size).toBe(8);
    const prompts = clients.map((_, index) => `Say number ${index}.`);
    const answers = await Promise.all(
      clients.map(({ client }, index) =>
        client.callTool({ name: 'complete', arguments: { prompt: prompts[index], model: 'echo' } }),
      ),
    );
    expect(answers.map(({ structuredContent }) => (structuredContent as { text: string }).text)).toEqual(prompts);
  });

  it('asks the person on the stream of the call', async () => {
    const { connect, sandbox } = await startHttpWorld();
    const questions: string[] = [];
    const { client } = await connect({
      person: async (question) => {
        questions.push(question);
        return 'accept';
      },
    });
    const { structuredContent } = await client.callTool(a10);
    expect(questions).toEqual([expect.stringContaining('gpu_1x_a10')]);
    expect(structuredContent).toMatchObject({ status: 'launching' });
    expect(sandbox.lambda.instances()).toHaveLength(2);
  });

  it('answers other calls while the person thinks', async () => {
    const { connect } = await startHttpWorld();
    let answer: ((action: 'decline') => void) | null = null;
    const { client } = await connect({
      person: () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    });
    const launching = client.callTool(a10);
    await until(() => answer !== null);
    expect((await client.callTool({ name: 'cost_report', arguments: {} })).isError).toBeFalsy();
    (answer as ((action: 'decline') => void) | null)?.('decline');
    expect(JSON.stringify(await launching)).toContain('declined');
  });

  it('falls back to a token for a client that cannot ask', async () => {
    const { connect } = await startHttpWorld();
    const { client } = await connect();
    expect((await client.callTool(a10)).structuredContent).toMatchObject({ confirm_token: expect.any(String) });
  });

  it('ends the session on DELETE', async () => {
    const { connect, open, url } = await startHttpWorld();
    const { transport } = await connect();
    const session = { 'mcp-session-id': transport.sessionId ?? '' };
    await transport.terminateSession();
    expect(open.size).toBe(0);
    const { status, json } = await post(url, listTools, session);
    expect({ status, code: json.error.code }).toEqual({ status: 404, code: -32001 });
  });

  it('aborts what runs in a session that is deleted', async () => {
    const world = await startHttpWorld();
    const session = await openSession(world);
    const call = {
      jsonrpc: '2.0',
      id: 2,
      method: 'tools/call',
      params: { name: 'complete', arguments: { prompt: 'x', model: 'stall' } },
    };
    await openStream(`${world.url}/mcp`, session, call);
    await until(() => world.sandbox.serverless.calls.length === 1);
    expect((await send(`${world.url}/mcp`, { method: 'DELETE', headers: session })).status).toBe(200);
    await until(() => world.sandbox.serverless.calls[0]?.outcome === 'caller_left');
    expect(world.open.size).toBe(0);
  });
});

describe('a message that is not right', () => {
  it.each([
    ['malformed JSON', '{"jsonrpc": ', {}, 400, -32700],
    ['JSON that is no JSON-RPC', { hello: 'world' }, {}, 400, -32700],
    ['no body', '', {}, 400, -32700],
    ['a poisoned prototype', '{"__proto__": {"admin": true}}', {}, 400, -32700],
    ['another content type', listTools, { 'content-type': 'text/plain' }, 415, -32000],
    [
      'a content type that merely looks like JSON',
      listTools,
      { 'content-type': 'text/plain; a=application/json' },
      415,
      -32000,
    ],
    ['a client that accepts no stream', listTools, { accept: 'application/json' }, 406, -32000],
    ['an unknown protocol version', listTools, { 'mcp-protocol-version': '1999-01-01' }, 400, -32000],
    ['a second initialize', initialize, {}, 400, -32600],
  ] as const)('such as %s is refused in JSON-RPC', async (_what, body, headers, status, code) => {
    const world = await startHttpWorld();
    const session = await openSession(world);
    const answer = await post(world.url, body, { ...session, ...headers });
    expect(answer).toMatchObject({ status, json: { jsonrpc: '2.0', error: { code }, id: null } });
  });

  it('is refused when it is too long', async () => {
    const world = await startHttpWorld({ limits: { bodyBytes: 1_000 } });
    const session = await openSession(world);
    const answer = await post(world.url, { ...listTools, params: { text: 'x'.repeat(1_000) } }, session);
    expect(answer).toMatchObject({ status: 413, json: { error: { code: -32000 } } });
  });

  it('without a session id is told to initialize', async () => {
    const { url } = await startHttpWorld();
    for (const method of ['GET', 'DELETE'])
      expect((await send(`${url}/mcp`, { method, headers: { accept: 'text/event-stream' } })).status).toBe(400);
    const { status, json } = await post(url, listTools);
    expect(status).toBe(400);
    expect(json.error.message).toContain('Send initialize first');
  });

  it('leaves no session behind when initialize is refused', async () => {
    const { url, open } = await startHttpWorld({ limits: { sessions: 1 } });
    expect((await post(url, initialize, { accept: 'application/json' })).status).toBe(406);
    expect((await post(url, initialize, { 'content-type': 'text/plain' })).status).toBe(415);
    expect(open.size).toBe(0);
    expect((await post(url, initialize)).status).toBe(200);
  });

  it('may not be a PUT', async () => {
    const { url } = await startHttpWorld();
    const { status, headers } = await send(`${url}/mcp`, { method: 'PUT' });
    expect({ status, allow: headers.allow }).toEqual({ status: 405, allow: 'GET, POST, DELETE' });
  });
});

describe('a session', () => {
  it('belongs to the principal that opened it', async () => {
    const world = await startHttpWorld();
    const session = await openSession(world, { 'x-test-principal': 'tok_ann' });
    const asBob = { ...session, 'x-test-principal': 'tok_bob' };
    expect((await post(world.url, listTools, asBob)).status).toBe(404);
    expect((await send(`${world.url}/mcp`, { headers: { accept: 'text/event-stream', ...asBob } })).status).toBe(404);
    expect((await send(`${world.url}/mcp`, { method: 'DELETE', headers: asBob })).status).toBe(404);
    expect((await post(world.url, listTools, session)).status).toBe(200);
  });

  it('expires when nobody uses it', async () => {
    const clock = new ManualClock();
    const world = await startHttpWorld({ clock, limits: { idleMs: 60_000 } });
    const session = await openSession(world);
    clock.advance(59_000);
    expect((await post(world.url, listTools, session)).status).toBe(200);
    clock.advance(59_000);
    expect((await post(world.url, listTools, session)).status).toBe(200);
    clock.advance(60_000);
    expect((await post(world.url, listTools, session)).status).toBe(404);
    expect(world.open.size).toBe(0);
  });

  it('expires also when nobody comes at all', async () => {
    const clock = new ManualClock();
    const world = await startHttpWorld({ clock, limits: { idleMs: 60_000 } });
    await openSession(world);
    clock.advance(60_000);
    await until(() => world.open.size === 0);
  });

  it('does not expire while a stream is open, and does after the client is gone', async () => {
    const clock = new ManualClock();
    const world = await startHttpWorld({ clock, limits: { idleMs: 60_000 } });
    const session = await openSession(world);
    const stream = await openStream(`${world.url}/mcp`, session);
    clock.advance(3_600_000);
    expect((await post(world.url, listTools, session)).status).toBe(200);
    stream.destroy();
    await until(async () => {
      clock.advance(60_000);
      return world.open.size === 0;
    });
  });

  it('frees the stream of a client that is gone, so that it may open it again', async () => {
    const world = await startHttpWorld();
    const session = await openSession(world);
    const stream = await openStream(`${world.url}/mcp`, session);
    expect((await openStream(`${world.url}/mcp`, session)).statusCode).toBe(409);
    stream.destroy();
    await until(async () => {
      const again = await openStream(`${world.url}/mcp`, session);
      again.destroy();
      return again.statusCode === 200;
    });
  });

  it('is one of so many at a time', async () => {
    const world = await startHttpWorld({ limits: { sessions: 3, sessionsPerPrincipal: 2 } });
    const ann = await openSession(world, { 'x-test-principal': 'tok_ann' });
    await openSession(world, { 'x-test-principal': 'tok_ann' });
    const third = await post(world.url, initialize, { 'x-test-principal': 'tok_ann' });
    expect(third).toMatchObject({ status: 503, json: { jsonrpc: '2.0', error: { code: -32000 } } });
    expect(third.json.error.message).toContain('You have 2 MCP sessions open.');
    expect(Number(third.headers['retry-after'])).toBeGreaterThan(0);

    await openSession(world, { 'x-test-principal': 'tok_bob' });
    const fourth = await post(world.url, initialize, { 'x-test-principal': 'tok_cid' });
    expect(fourth).toMatchObject({
      status: 503,
      json: { error: { message: expect.stringContaining('All 3 MCP sessions') } },
    });
    expect((await send(`${world.url}/sse`, { headers: { 'x-test-principal': 'tok_cid' } })).status).toBe(503);

    await send(`${world.url}/mcp`, { method: 'DELETE', headers: ann });
    await openSession(world, { 'x-test-principal': 'tok_cid' });
  });

  it('makes room by expiring', async () => {
    const clock = new ManualClock();
    const world = await startHttpWorld({ clock, limits: { sessions: 1, idleMs: 20_000 } });
    await openSession(world);
    clock.advance(5_000);
    expect((await post(world.url, initialize)).headers['retry-after']).toBe('15');
    clock.advance(15_000);
    await openSession(world);
  });
});

describe('a stream that broke', () => {
  it('is taken up again by the SDK client, and the answer arrives', async () => {
    const { connect, sandbox } = await startHttpWorld();
    let broken = false;
    const { client } = await connect({
      person: async () => {
        // The stream of the call is lost while the person thinks.
        broken = true;
        cut.abort();
        return 'accept';
      },
      fetch: (url, init) => {
        const isCall = typeof init?.body === 'string' && init.body.includes('launch_instance');
        return fetch(url, isCall ? { ...init, signal: cut.signal } : init);
      },
    });
    const cut = new AbortController();
    const { structuredContent } = await client.callTool(a10);
    expect(broken).toBe(true);
    expect(structuredContent).toMatchObject({ status: 'launching' });
    expect(sandbox.lambda.instances()).toHaveLength(2);
  });

  it('gives an answer that came in between, and ends', async () => {
    const world = await startHttpWorld();
    const session = await openSession(world);
    const answer = await post(world.url, listTools, session);
    const [priming, ...events] = readEvents(answer.text);
    expect(priming).toEqual({ id: expect.any(String), message: null });
    const again = await send(`${world.url}/mcp`, {
      headers: { ...session, accept: 'text/event-stream', 'last-event-id': priming?.id ?? '' },
    });
    expect(again.status).toBe(200);
    expect(readEvents(again.text)).toEqual(events);
    expect(events[0]?.message).toMatchObject({ id: 1, result: { tools: expect.any(Array) } });
  });

  it('gives the events of its own stream only', async () => {
    const world = await startHttpWorld();
    const session = await openSession(world);
    const first = readEvents((await post(world.url, listTools, session)).text);
    await post(world.url, { ...listTools, id: 2 }, session);
    const headers = { ...session, accept: 'text/event-stream', 'last-event-id': first[0]?.id ?? '' };
    const again = await send(`${world.url}/mcp`, { headers });
    expect(readEvents(again.text).map(({ message }) => message.id)).toEqual([1]);
  });

  it('cannot be taken up after an event that is forgotten', async () => {
    const world = await startHttpWorld({ limits: { events: { events: 2, bytes: 1_000_000 } } });
    const session = await openSession(world);
    const [priming] = readEvents((await post(world.url, listTools, session)).text);
    await post(world.url, { ...listTools, id: 2 }, session);
    const headers = { ...session, accept: 'text/event-stream', 'last-event-id': priming?.id ?? '' };
    expect(await send(`${world.url}/mcp`, { headers })).toMatchObject({ status: 400, json: { error: {} } });
  });

  it('cannot be taken up in another session', async () => {
    const world = await startHttpWorld();
    const ann = await openSession(world);
    for (let id = 1; id <= 5; id += 1) await post(world.url, { ...listTools, id }, ann);
    const [priming] = readEvents((await post(world.url, listTools, ann)).text);
    const headers = { ...(await openSession(world)), accept: 'text/event-stream', 'last-event-id': priming?.id ?? '' };
    expect((await send(`${world.url}/mcp`, { headers })).status).toBe(400);
  });

  it.each([
    ['/mcp', true],
    ['/sse', false],
  ])('does not break from silence on %s: comments are sent', async (path, needsSession) => {
    const world = await startHttpWorld({ limits: { keepAliveMs: 20 } });
    const stream = await openStream(`${world.url}${path}`, needsSession ? await openSession(world) : {});
    await readUntil(stream, (text) => text.split(': keepalive').length > 3);
    stream.destroy();
  });
});

describe('the older HTTP+SSE', () => {
  it('lists the tools and runs them', async () => {
    const { connectOldSse } = await startHttpWorld();
    const { client } = await connectOldSse();
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('complete');
    const answer = await client.callTool({ name: 'complete', arguments: { prompt: 'Hello?' } });
    expect(answer.structuredContent).toMatchObject({ text: expect.any(String) });
  });

  it('ends the session when the client leaves', async () => {
    const { connectOldSse, open } = await startHttpWorld();
    const { client } = await connectOldSse();
    expect(open.size).toBe(1);
    await client.close();
    await until(() => open.size === 0);
  });

  it('takes messages for its own open sessions only', async () => {
    const world = await startHttpWorld();
    const stream = await openStream(`${world.url}/sse`, { 'x-test-principal': 'tok_ann' });
    const path = /data: (\S+)/.exec(await readUntil(stream, (text) => text.includes('sessionId')))?.[1];
    const message = (target: string, headers: Record<string, string> = {}, body: unknown = listTools) =>
      send(`${world.url}${target}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body,
      });
    expect((await message(path ?? '', { 'x-test-principal': 'tok_bob' })).status).toBe(404);
    expect((await message('/messages?sessionId=nobody')).status).toBe(404);
    expect((await message('/messages')).status).toBe(404);
    expect((await message(path ?? '', { 'x-test-principal': 'tok_ann' }, '{')).json.error.code).toBe(-32700);
    expect((await message(path ?? '', { 'x-test-principal': 'tok_ann' }, 'null')).status).toBe(400);
    expect((await message(path ?? '', { 'x-test-principal': 'tok_ann' })).status).toBe(202);
    const oldId = new URL(path ?? '', world.url).searchParams.get('sessionId') ?? '';
    const onNewPath = await post(world.url, listTools, { 'x-test-principal': 'tok_ann', 'mcp-session-id': oldId });
    expect(onNewPath.status).toBe(404);
    const { 'mcp-session-id': modern } = await openSession(world);
    expect((await message(`/messages?sessionId=${modern}`)).status).toBe(404);
    stream.destroy();
  });
});

describe('stopping', () => {
  it('ends open streams and running calls, and does not wait for clients', async () => {
    const world = await startHttpWorld();
    const session = await openSession(world);
    const call = {
      jsonrpc: '2.0',
      id: 2,
      method: 'tools/call',
      params: { name: 'complete', arguments: { prompt: 'x', model: 'stall' } },
    };
    const streams = [
      await openStream(`${world.url}/mcp`, session),
      await openStream(`${world.url}/mcp`, session, call),
      await openStream(`${world.url}/sse`, {}),
    ];
    const ends = streams.map((stream) => new Promise((resolve) => stream.resume().on('close', resolve)));
    await until(() => world.sandbox.serverless.calls.length === 1);
    await world.server.close();
    await Promise.all(ends);
    expect(world.open.size).toBe(0);
    await until(() => world.sandbox.serverless.calls[0]?.outcome === 'caller_left');
  });

  it('does not wait for a person who was asked', async () => {
    const { connect, server } = await startHttpWorld();
    let asked = false;
    const { client } = await connect({
      person: () => {
        asked = true;
        return new Promise(() => undefined);
      },
    });
    const launching = client.callTool(a10).catch(() => 'aborted');
    await until(() => asked);
    await server.close();
    await client.close();
    await launching;
  });

  it('does not wait for connections that never asked for anything', async () => {
    const { server, url } = await startHttpWorld();
    const socket = openSocket(Number(new URL(url).port), '127.0.0.1').on('error', () => undefined);
    const closed = new Promise((resolve) => socket.on('close', resolve));
    await new Promise((resolve) => server.server.once('connection', resolve));
    await server.close();
    await closed;
  });
});
