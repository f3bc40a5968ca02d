import { describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { rawConnection } from '../support/raw-http.ts';
import { openAiError, sendJson, startUpstream, wholeAnswer } from '../support/upstream.ts';

const chat = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'Hi' }];
/** Nothing listens there. */
const nowhere = 'http://127.0.0.1:9/v1';

/** Checks that it is an error as OpenAI's clients expect it, and gives what is in it. */
async function errorOf(answer: Response): Promise<{ status: number; code: string; message: string; type: string }> {
  expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
  expect(answer.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  const { error } = (await answer.json()) as { error: Record<string, string> };
  expect(Object.keys(error).toSorted()).toEqual(['code', 'message', 'param', 'type']);
  return { status: answer.status, code: error.code ?? '', message: error.message ?? '', type: error.type ?? '' };
}

describe('a request that makes no sense', () => {
  it.each([
    ['an empty body', '', 'not a JSON object'],
    ['broken JSON', '{"model": "auto", "messages": [', 'not a JSON object'],
    ['a list', '[]', 'not a JSON object'],
    ['a text', '"auto"', 'not a JSON object'],
    ['null', 'null', 'not a JSON object'],
    ['a byte order mark', '\ufeff{}', 'not a JSON object'],
    ['two objects', '{} {}', 'not a JSON object'],
    ['no model', '{"messages":[]}', '"model" is missing'],
    ['a model that is a number', '{"model":1,"messages":[]}', '"model" is missing'],
    ['no messages', '{"model":"auto"}', '"messages" must be'],
    ['empty messages', '{"model":"auto","messages":[]}', '"messages" must be'],
    ['messages without a role', '{"model":"auto","messages":[{"content":"x"}]}', '"messages" must be'],
    ['messages that are texts', '{"model":"auto","messages":["x"]}', '"messages" must be'],
    ['a stream that is a text', '{"model":"auto","messages":[{"role":"user"}],"stream":"yes"}', '"stream" must be'],
    ['max_tokens of 0', '{"model":"auto","messages":[{"role":"user"}],"max_tokens":0}', '"max_tokens" must be'],
    ['n that is a fraction', '{"model":"auto","messages":[{"role":"user"}],"n":1.5}', '"n" must be'],
    ['n beyond all measure', '{"model":"auto","messages":[{"role":"user"}],"n":1e9}', '"n" must be'],
  ])('is refused with 400: %s', async (_name, body, says) => {
    const gateway = await startGateway();
    const error = await errorOf(await gateway.post(chat, body));
    expect(error).toMatchObject({ status: 400, code: 'invalid_input', type: 'invalid_request_error' });
    expect(error.message).toContain(says);
    expect(await gateway.attempts()).toEqual([]);
  });

  it('is refused on the other paths too, however deep it goes', async () => {
    const gateway = await startGateway();
    const deep = `{"model":"small-8b","prompt":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    expect(await errorOf(await gateway.post('/v1/completions', deep))).toMatchObject({ status: 400 });
    const nothing = { model: 'small-8b', input: [] };
    expect(await errorOf(await gateway.post('/v1/embeddings', nothing))).toMatchObject({ status: 400 });
    const without = { model: 'small-8b' };
    expect(await errorOf(await gateway.post('/v1/completions', without))).toMatchObject({ status: 400 });
  });

  it('may go deep where it is only passed on', async () => {
    const upstream = await startUpstream(({ response }) => sendJson(response, 200, wholeAnswer));
    const gateway = await startGateway({
      backends: [{ id: 'one', models: ['m'], contextWindow: 1_000_000, baseUrl: upstream.url }],
    });
    const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
    const body = `{"model":"m","messages":[{"role":"user","content":"Hi"}],"x":${deep},"tools":${deep}}`;
    expect((await gateway.post(chat, body)).status).toBe(200);
    expect(upstream.requests[0]?.body).toBe(body);
  });
});

describe('a request that is not for us', () => {
  it.each([
    ['text/plain', 415],
    ['application/x-www-form-urlencoded', 415],
    ['multipart/form-data; boundary=x', 415],
    ['', 415],
    ['application/json; charset=utf-8', 200],
    ['APPLICATION/JSON', 200],
  ])('content type "%s" gives %i', async (type, status) => {
    const gateway = await startGateway();
    const body = Buffer.from(JSON.stringify({ model: 'auto', messages }));
    const answer = await fetch(gateway.origin + chat, { method: 'POST', body, headers: { 'content-type': type } });
    expect(answer.status).toBe(status);
    if (status !== 200) expect((await errorOf(answer)).message).toContain('application/json');
  });

  it.each([
    ['GET', '/v1/chat/completions', 404],
    ['DELETE', '/v1/models', 404],
    ['POST', '/v1/responses', 404],
    ['GET', '/v1', 404],
    ['GET', '/v1/models/', 404],
    ['POST', '/v1//chat/completions', 404],
    ['POST', '/v1/chat%2Fcompletions', 404],
    ['POST', '/V1/chat/completions', 404],
    ['GET', '/v1/%2e%2e/models', 404],
    ['GET', '/v1/models/..%2f..%2fetc%2fpasswd', 404],
    ['GET', '/v1/models/%zz', 400],
    ['GET', '/%', 400],
  ])('%s %s gives %i in the usual form', async (method, path, status) => {
    const gateway = await startGateway();
    const connection = await rawConnection(gateway.port);
    connection.socket.write(
      `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
    );
    await connection.closed;
    const [head = '', body = ''] = connection.received().split('\r\n\r\n');
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(head).toMatch(/\r\nx-request-id: [0-9a-f-]{36}/);
    expect(JSON.parse(body).error.message).toMatch(/\w/);
  });

  it('is told in JSON when it is no HTTP', async () => {
    const { port } = await startGateway();
    const connection = await rawConnection(port);
    connection.socket.write('HELLO\r\n\r\n');
    await connection.closed;
    expect(connection.received()).toMatch(/^HTTP\/1.1 400 Bad Request\r\n/);
    expect(JSON.parse(connection.received().split('\r\n\r\n')[1] ?? '').error.code).toBe('invalid_input');
  });

  it('is told when its headers are too large', async () => {
    const { port } = await startGateway();
    const connection = await rawConnection(port);
    connection.socket.write(`GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Long: ${'a'.repeat(20_000)}\r\n\r\n`);
    await connection.closed;
    expect(connection.received()).toMatch(/^HTTP\/1.1 431 /);
  });
});

describe('a large prompt', () => {
  const large = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'word '.repeat(2_000_000) }] });

  it('of 10 MB passes, to the byte', async () => {
    const upstream = await startUpstream(({ response }) => sendJson(response, 200, wholeAnswer));
    const backend = { id: 'one', models: ['m'], baseUrl: upstream.url, contextWindow: 10_000_000 };
    const gateway = await startGateway({ backends: [backend] });
    expect((await gateway.post(chat, large)).status).toBe(200);
    expect(upstream.requests[0]?.body === large).toBe(true);
  });

  it('is refused with 413 above the limit, without reading all of it', async () => {
    const gateway = await startGateway({ rest: { server: { maxBodyBytes: 1_000_000 } } });
    const error = await errorOf(await gateway.post(chat, large));
    expect(error).toMatchObject({ status: 413, code: 'invalid_input' });
    expect(error.message).toContain('server.maxBodyBytes');
  });

  it('is refused with 413 also when its length is not announced', async () => {
    const gateway = await startGateway({ rest: { server: { maxBodyBytes: 10_000 } } });
    const connection = await rawConnection(gateway.port);
    const head = `POST ${chat} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;
    connection.socket.write(`${head}4e20\r\n${' '.repeat(20_000)}\r\n`);
    await expect.poll(() => connection.received()).toMatch(/^HTTP\/1.1 413 /);
  });

  it('that no window holds is refused before anything is sent', async () => {
    const gateway = await startGateway();
    const content = 'many words '.repeat(40_000);
    const error = await errorOf(await gateway.chat({ model: 'auto', messages: [{ role: 'user', content }] }));
    expect(error).toMatchObject({ status: 400, code: 'context_length_exceeded' });
    expect(gateway.sandbox.serverless.calls).toEqual([]);
  });
});

describe('headers', () => {
  it('cannot be made by the name of a model', async () => {
    const model = 'm\r\nx-evil: 1\r\n\r\n<p>ü';
    const upstream = await startUpstream(({ response }) => sendJson(response, 200, wholeAnswer));
    const gateway = await startGateway({ backends: [{ id: 'one', models: [model], baseUrl: upstream.url }] });
    const answer = await gateway.chat({ model });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('x-evil')).toBeNull();
    expect(answer.headers.get('x-tandem-model')).toBe('m??x-evil: 1????<p>?');
    const unknown = await gateway.chat({ model: 'other\r\nx-evil: 1' });
    expect(unknown.headers.get('x-evil')).toBeNull();
    expect(await errorOf(unknown)).toMatchObject({ status: 404 });
  });

  it('of the caller do not choose the request id', async () => {
    const gateway = await startGateway();
    const answer = await gateway.post(
      chat,
      { model: 'auto', messages },
      { 'x-request-id': 'mine', 'request-id': 'mine' },
    );
    expect(answer.headers.get('x-request-id')).not.toBe('mine');
  });
});

describe('what a provider refuses', () => {
  async function refusedWith(status: number, body: unknown, models = ['m']): Promise<[Response, Gateway, number]> {
    const upstream = await startUpstream(({ response }) => sendJson(response, status, body));
    const gateway = await startGateway({ backends: [{ id: 'one', models, baseUrl: upstream.url, maxRetries: 0 }] });
    const answer = await gateway.chat({ model: models.length > 1 ? 'auto' : 'm' });
    return [answer, gateway, upstream.requests.length];
  }

  it('of the key is our 502, without the key, and is not to be repeated', async () => {
    const [answer] = await refusedWith(401, openAiError('Incorrect API key provided: sandbox-serverless-key'));
    expect(answer.headers.get('x-should-retry')).toBe('false');
    const error = await errorOf(answer);
    expect(error).toMatchObject({ status: 502, type: 'server_error' });
    expect(error.message).not.toContain('sandbox-serverless-key');
    expect(error.message).toContain('SANDBOX_KEY');
  });

  it('of the request is passed on, without the key', async () => {
    const [answer] = await refusedWith(422, openAiError('temperature must be below 2 (sandbox-serverless-key)'));
    const error = await errorOf(answer);
    expect(error).toMatchObject({ status: 422, code: 'upstream_rejected', type: 'invalid_request_error' });
    expect(error.message).toContain('temperature must be below 2');
    expect(error.message).not.toContain('sandbox-serverless-key');
  });

  it("of the request, by all candidates alike, is still the caller's to mend", async () => {
    const [answer, gateway, calls] = await refusedWith(400, openAiError('Unknown parameter: x'), ['a-8b', 'b-8b']);
    expect(calls).toBe(2);
    expect(await errorOf(answer)).toMatchObject({ status: 400, code: 'upstream_rejected' });
    expect((await gateway.settled(2)).every((row) => row.cost_nano_usd === 0)).toBe(true);
  });

  it('of the balance is our 502', async () => {
    const [answer] = await refusedWith(402, openAiError('Insufficient credits'));
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(await errorOf(answer)).toMatchObject({ status: 502, code: 'quota_exceeded' });
  });

  it('by sending it elsewhere is our 502, and the other place gets no key', async () => {
    const [answer, , calls] = await refusedWith(308, '');
    expect(calls).toBe(1);
    expect(await errorOf(answer)).toMatchObject({ status: 502, message: expect.stringContaining('baseUrl') });
  });

  it('as an HTML page of 100 kB is told in a line', async () => {
    const page = `<html><head><title>Blocked</title></head>${'x'.repeat(100_000)}</html>`;
    const [answer] = await refusedWith(403, page);
    const error = await errorOf(answer);
    expect(error.status).toBe(502);
    expect(error.message.length).toBeLessThan(400);
  });
});

describe('when nobody can answer', () => {
  it('all backends down gives 503 with Retry-After', async () => {
    const backends = [
      { id: 'one', models: ['a-8b'], baseUrl: nowhere },
      { id: 'two', models: ['b-8b'], baseUrl: nowhere },
    ];
    const gateway = await startGateway({ backends });
    const answer = await gateway.chat({ model: 'auto' });
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(answer.headers.get('x-should-retry')).toBeNull();
    const error = await errorOf(answer);
    expect(error).toMatchObject({ status: 503, code: 'all_attempts_failed', type: 'server_error' });
    expect(error.message).toMatch(/one\/a-8b.*\n.*two\/b-8b/);
  });

  it('one backend down gives 502', async () => {
    const gateway = await startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: nowhere }] });
    expect(await errorOf(await gateway.chat({ model: 'm' }))).toMatchObject({ status: 502 });
  });

  it('a spent budget gives 429 that is not to be repeated, before anything is sent', async () => {
    const gateway = await startGateway({
      rest: { budgets: { dailyUsd: 0, monthlyUsd: 0 } },
      backends: [{ id: 'one', models: ['m'] }],
    });
    const answer = await gateway.chat({ model: 'm' });
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(await errorOf(answer)).toMatchObject({ status: 429, code: 'insufficient_quota', type: 'rate_limit_error' });
    expect(gateway.sandbox.serverless.calls).toEqual([]);
  });

  it('no backend at all gives 503 that says what to do', async () => {
    const gateway = await startGateway({ backends: [] });
    const error = await errorOf(await gateway.chat({ model: 'auto' }));
    expect(error).toMatchObject({ status: 503, code: 'not_configured' });
    expect(error.message).toContain('tandem.yaml');
  });
});
