import { describe, expect, it } from 'vitest';
import { initialize, post, send, startHttpWorld } from './http.ts';

const listed = 'https://chat.example.com';
const rules = {
  allowedHosts: ['tandem.example.com', 'gpu-box:8080'],
  allowedOrigins: [`${listed}/`, 'vscode-webview://abc'],
};

describe('the name in Host', () => {
  it.each([
    'localhost',
    'LOCALHOST:1',
    '127.0.0.1',
    '127.0.0.1:4000',
    '[::1]',
    '[::1]:4000',
    'tandem.example.com',
    'tandem.example.com:99',
    'gpu-box:8080',
  ])('may be %s', async (host) => {
    const { url } = await startHttpWorld(rules);
    expect((await send(`${url}/other`, { headers: { host } })).status).toBe(200);
  });

  it.each([
    'evil.example.com',
    'localhost.evil.com',
    'evil.com:localhost',
    '127.0.0.1.nip.io',
    '0.0.0.0',
    'gpu-box',
    'gpu-box:80',
    'user@localhost',
    'localhost:1:2',
    '[::2]',
  ])('may not be "%s"', async (host) => {
    const { url } = await startHttpWorld(rules);
    const { status, json } = await send(`${url}/other`, { headers: { host } });
    expect({ status, json }).toEqual({
      status: 403,
      json: {
        error: {
          message: expect.stringContaining('allowed hosts'),
          type: 'forbidden',
          code: 'forbidden_host',
          param: null,
        },
      },
    });
  });

  it('is looked at on routes that do not exist as well', async () => {
    const { url } = await startHttpWorld();
    expect((await send(`${url}/nothing`, { headers: { host: 'evil.com' } })).status).toBe(403);
    expect((await send(`${url}/nothing`)).status).toBe(404);
  });

  it('keeps a rebound name from opening an MCP session', async () => {
    const { url, open } = await startHttpWorld();
    expect((await post(url, initialize, { host: 'evil.com', origin: 'http://evil.com' })).status).toBe(403);
    expect(open.size).toBe(0);
  });

  it('cannot be talked around with X-Forwarded-Host', async () => {
    const { url } = await startHttpWorld();
    const headers = { host: 'evil.com', 'x-forwarded-host': 'localhost' };
    expect((await send(`${url}/other`, { headers })).status).toBe(403);
  });
});

describe('the web page in Origin', () => {
  it.each([
    'http://localhost:3000',
    'https://localhost',
    'http://127.0.0.1:5173',
    'http://[::1]:1',
    listed,
    'vscode-webview://abc',
  ])('may be %s', async (origin) => {
    const { url } = await startHttpWorld(rules);
    expect((await send(`${url}/other`, { headers: { origin } })).status).toBe(200);
  });

  it.each([
    'null',
    'http://evil.com',
    'https://localhost.evil.com',
    'http://evil.com/localhost',
    'http://localhost@evil.com',
    'file://',
    'vscode-webview://abd',
    'http://chat.example.com',
    '',
  ])('may not be "%s"', async (origin) => {
    const { url } = await startHttpWorld({ ...rules, allowedOrigins: [...rules.allowedOrigins, 'null'] });
    const { status, json } = await send(`${url}/other`, { method: 'POST', headers: { origin } });
    expect({ status, code: json.error.code }).toEqual({ status: 403, code: 'forbidden_origin' });
  });

  it('may be the server itself under an allowed name', async () => {
    const { url } = await startHttpWorld(rules);
    const headers = { host: 'tandem.example.com', origin: 'https://tandem.example.com' };
    expect((await send(`${url}/other`, { headers })).status).toBe(200);
  });
});

describe('reading across origins', () => {
  const preflight = {
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization,mcp-session-id',
  };

  it('is granted to a listed page, before anybody asks for a token', async () => {
    const { url } = await startHttpWorld(rules);
    const { status, headers } = await send(`${url}/mcp`, {
      method: 'OPTIONS',
      headers: { origin: listed, ...preflight },
    });
    expect(status).toBe(204);
    expect(headers).toMatchObject({
      'access-control-allow-origin': listed,
      'access-control-allow-headers': 'authorization,mcp-session-id',
      'access-control-allow-methods': expect.stringContaining('DELETE'),
    });
  });

  it('shows a listed page the session id of a stream', async () => {
    const { url } = await startHttpWorld(rules);
    const { status, headers } = await post(url, initialize, { origin: listed });
    expect(status).toBe(200);
    expect(headers).toMatchObject({
      'access-control-allow-origin': listed,
      'access-control-expose-headers': expect.stringContaining('mcp-session-id'),
      'mcp-session-id': expect.any(String),
    });
  });

  it('is not granted to other pages on loopback', async () => {
    const { url } = await startHttpWorld(rules);
    const origin = 'http://localhost:3000';
    const answer = await send(`${url}/mcp`, { method: 'OPTIONS', headers: { origin, ...preflight } });
    expect(answer.status).not.toBe(204);
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
  });
});
