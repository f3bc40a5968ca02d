import { describe, expect, it } from 'vitest';
import type { Scope } from '../../src/principal.ts';
import { asJson, initialize, startGuarded } from '../support/callers.ts';
import { rawConnection } from '../support/raw-http.ts';

const chat = { model: 'auto', messages: [{ role: 'user', content: 'Hi' }] };
const scopeSets: Scope[][] = [['infer'], ['read'], ['operate'], ['infer', 'read', 'operate']];

/** Every route with the scope it wants; null: any token will do. */
const routes: { method: string; path: string; scope: Scope | null; body?: unknown; good: number }[] = [
  { method: 'POST', path: '/v1/chat/completions', scope: 'infer', body: chat, good: 200 },
  { method: 'POST', path: '/v1/completions', scope: 'infer', body: { model: 'small-8b', prompt: 'Hi' }, good: 200 },
  { method: 'POST', path: '/v1/embeddings', scope: 'infer', body: { model: 'small-8b', input: 'Hi' }, good: 200 },
  { method: 'GET', path: '/v1/models', scope: 'infer', good: 200 },
  { method: 'HEAD', path: '/v1/models', scope: 'infer', good: 200 },
  { method: 'GET', path: '/v1/models/auto', scope: 'infer', good: 200 },
  { method: 'GET', path: '/metrics', scope: 'read', good: 200 },
  { method: 'HEAD', path: '/metrics', scope: 'read', good: 200 },
  { method: 'POST', path: '/mcp', scope: null, body: initialize, good: 200 },
  { method: 'GET', path: '/mcp', scope: null, good: 400 },
  { method: 'DELETE', path: '/mcp', scope: null, good: 400 },
  { method: 'PUT', path: '/mcp', scope: null, body: {}, good: 405 },
  { method: 'POST', path: '/messages?sessionId=x', scope: null, body: {}, good: 404 },
];
const guarded = [...routes, { method: 'GET', path: '/sse', scope: null, good: 200 }];

describe('every route', () => {
  it.each(routes)('$method $path serves those who have its scope, and nobody else', async (route) => {
    const { ask, holder } = await startGuarded();
    for (const scopes of scopeSets) {
      const { headers } = await holder(scopes);
      const { status } = await ask(route.method, route.path, { ...asJson, ...headers }, route.body);
      const may = route.scope === null || scopes.includes(route.scope);
      expect({ scopes, status }).toEqual({ scopes, status: may ? route.good : 403 });
    }
  });

  it.each(guarded)(
    '$method $path is closed to whoever brings no token that holds',
    async ({ method, path, ...route }) => {
      const { ask, holder, app, sandbox } = await startGuarded();
      const { secret } = await holder(['infer', 'read', 'operate']);
      const revoked = await holder(['infer', 'read', 'operate']);
      await app.tokens.revoke(revoked.id);
      const expired = await holder(['infer', 'read', 'operate'], { validMs: 1 });
      await new Promise((resolve) => setTimeout(resolve, 5));
      const bringers: Record<string, [path: string, headers: Record<string, string | string[]>]> = {
        nothing: [path, {}],
        'a revoked token': [path, revoked.headers],
        'an expired token': [path, expired.headers],
        'half a token': [path, { authorization: `Bearer ${secret.slice(0, 30)}` }],
        'another scheme': [path, { authorization: `Basic ${Buffer.from(`x:${secret}`).toString('base64')}` }],
        'no scheme': [path, { authorization: secret }],
        'the token in the query': [
          `${path}${path.includes('?') ? '&' : '?'}access_token=${secret}&token=${secret}`,
          {},
        ],
        'the token in a cookie': [path, { cookie: `authorization=Bearer ${secret}; token=${secret}` }],
        'the token in other headers': [path, { 'x-api-key': secret, 'proxy-authorization': `Bearer ${secret}` }],
      };
      for (const [what, [at, headers]] of Object.entries(bringers)) {
        const { status, text, headers: answered } = await ask(method, at, { ...asJson, ...headers }, route.body);
        expect({ what, status }).toEqual({ what, status: 401 });
        expect(answered['www-authenticate']).toMatch(/^Bearer/);
        expect(text).not.toContain(secret.slice(4));
      }
      expect(sandbox.serverless.calls).toEqual([]);
    },
  );

  it('takes the scheme in any case, and the first of two tokens', async () => {
    const { ask, holder } = await startGuarded();
    const [reader, other] = [await holder(['read']), await holder(['infer'])];
    for (const scheme of ['bearer', 'BEARER', 'Bearer  '])
      expect((await ask('GET', '/metrics', { authorization: `${scheme} ${reader.secret}` })).status).toBe(200);
    const both = [`Bearer ${other.secret}`, `Bearer ${reader.secret}`];
    expect((await ask('GET', '/metrics', { authorization: both })).status).toBe(403);
    expect((await ask('GET', '/metrics', { authorization: both.toReversed() })).status).toBe(200);
    expect((await ask('GET', '/metrics', { authorization: both.join(', ') })).status).toBe(401);
  });

  it.each([
    '//metrics',
    '/METRICS',
    '/metrics/',
    '/metrics%00',
    '/v1/../metrics',
    '/v1/%2e%2e/metrics',
    '/healthz/../metrics',
    '/healthz/%2e%2e/metrics',
    '/healthz%2f..%2fmetrics',
    '/%6detrics',
    '/metrics;x=1',
    '/metrics?',
    '/v1/models/../../metrics',
    '/.well-known/../metrics',
    '/v1/models/%ff',
  ])('cannot be reached without a token by spelling it %s', async (path) => {
    const { ask } = await startGuarded();
    for (const method of ['GET', 'HEAD', 'POST', 'OPTIONS']) {
      const { status, text } = await ask(method, path, {
        ...asJson,
        'x-http-method-override': 'GET',
        'x-original-url': '/metrics',
        'x-rewrite-url': '/metrics',
      });
      expect({ method, isClosed: [400, 401, 404, 405].includes(status) }).toEqual({ method, isClosed: true });
      expect(text).not.toContain('tandem_requests_total');
    }
  });

  it('gives no answer to a method it does not have, and its own to HEAD', async () => {
    const { ask, holder } = await startGuarded();
    const { headers } = await holder(['infer', 'read', 'operate']);
    for (const method of ['PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND'])
      for (const path of ['/metrics', '/v1/chat/completions', '/v1/models', '/sse'])
        expect({ method, path, status: (await ask(method, path, headers)).status }).toMatchObject({ status: 404 });
    expect((await ask('HEAD', '/metrics', headers)).text).toBe('');
  });
});

describe('what is open to everybody', () => {
  it('says no more than whether it works', async () => {
    const { ask } = await startGuarded();
    expect(JSON.parse((await ask('GET', '/healthz')).text)).toEqual({ status: 'ok' });
    expect(JSON.parse((await ask('GET', '/readyz')).text)).toEqual({
      status: 'ok',
      checks: { serving: true, ledger: true, backend: true },
    });
  });

  it('refuses what is nowhere before its body has come', async () => {
    const { port } = await startGuarded();
    const { socket, received } = await rawConnection(port);
    socket.write(
      'POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n[',
    );
    await expect.poll(received, { timeout: 5_000 }).toMatch(/^HTTP\/1\.1 40[0-9]/);
  });
});

describe('requests that two servers would read differently', () => {
  it.each([
    ['both lengths', 'Content-Length: 4\r\nTransfer-Encoding: chunked'],
    ['two lengths', 'Content-Length: 4\r\nContent-Length: 5'],
    ['a length with a sign', 'Content-Length: +4'],
    ['an encoding that hides chunked', 'Transfer-Encoding: xchunked'],
    ['chunked that is not last', 'Transfer-Encoding: chunked, identity'],
    ['a header over two lines', 'X-Folded: a\r\n b\r\nContent-Length: 4'],
    ['a space before the colon', 'Content-Length : 4'],
    ['a null in a header', 'X-Null: a\0b\r\nContent-Length: 4'],
  ])('are refused, and what follows them is not served: %s', async (_what, headers) => {
    const { port, holder, app } = await startGuarded();
    const { secret } = await holder(['infer', 'read']);
    const { socket, received } = await rawConnection(port);
    const authorization = `Authorization: Bearer ${secret}`;
    const smuggled = `GET /metrics HTTP/1.1\r\nHost: localhost\r\n${authorization}\r\n\r\n`;
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${authorization}\r\n${headers}\r\n\r\n0\r\n\r\n${smuggled}`,
    );
    await expect.poll(received).toMatch(/^HTTP\/1\.1 400/);
    expect(received()).not.toContain('tandem_requests_total');
    expect(app.backends.length).toBeGreaterThan(0);
  });

  it('are refused when their headers have no end', async () => {
    const { port } = await startGuarded();
    const { socket, received } = await rawConnection(port);
    socket.write(`GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${'x'.repeat(100_000)}\r\n\r\n`);
    await expect.poll(received).toMatch(/^HTTP\/1\.1 431/);
  });
});

describe('names and pages', () => {
  it.each(guarded)(
    '$method $path does not answer to a rebound name or a foreign page',
    async ({ method, path, ...route }) => {
      const { ask, holder } = await startGuarded();
      const { headers } = await holder(['infer', 'read', 'operate']);
      const evil = { host: 'evil.example:8484' };
      const page = { origin: 'https://evil.example' };
      for (const about of [evil, page, { origin: 'null' }, { ...evil, ...page }]) {
        const answer = await ask(method, path, { ...asJson, ...headers, ...about }, route.body);
        expect(answer.status).toBe(403);
        expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
      }
      const preflight = await ask('OPTIONS', path, {
        ...page,
        'access-control-request-method': method,
        'access-control-request-headers': 'authorization',
      });
      expect(preflight.status).toBe(403);
    },
  );
});
