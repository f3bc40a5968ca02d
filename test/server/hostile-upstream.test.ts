import type { IncomingHttpHeaders } from 'node:http';
import { describe, expect, it } from 'vitest';
import { asJson, type Guarded, startGuarded } from '../support/callers.ts';
import { waitFor } from '../support/process.ts';
import {
  beginStream,
  chunk,
  events,
  finish,
  role,
  sendJson,
  sendStream,
  startUpstream,
  type Upstream,
  usageChunk,
  wholeAnswer,
} from '../support/upstream.ts';

const key = 'sk-provider-Ab12Cd34Ef56Gh78Ij90';
const messages = [{ role: 'user', content: 'Hi' }];

async function startBeside(handle: Upstream['handle'], models = ['m']) {
  const upstream = await startUpstream(handle);
  const backend = { id: 'hostile', models, baseUrl: upstream.url, keyEnv: 'HOSTILE_KEY' };
  const gateway = await startGuarded({ backends: [backend], environment: { HOSTILE_KEY: key } });
  const { headers } = await gateway.holder(['infer', 'read']);
  const chat = (fields: Record<string, unknown> = {}) =>
    gateway.ask('POST', '/v1/chat/completions', { ...asJson, ...headers }, { model: 'm', messages, ...fields });
  return { upstream, gateway, headers, chat };
}

const saying = (content: string) => ({
  ...wholeAnswer,
  choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
});

/** All that is written down of what happened. */
async function ledgerText({ readLedger }: Guarded): Promise<string> {
  return readLedger(async ({ read }) =>
    JSON.stringify([
      await read.selectFrom('attempt').selectAll().execute(),
      await read.selectFrom('audit').selectAll().execute(),
    ]),
  );
}

describe('the key of a provider that repeats what it was sent', () => {
  const said = ({ authorization }: IncomingHttpHeaders) => `You said: ${authorization} — ja, genau ✓`;

  it('does not reach callers in whole answers, and the rest of them stays to the byte', async () => {
    const { chat, gateway } = await startBeside(({ response, seen }) =>
      sendJson(response, 200, { ...saying(said(seen.headers)), 'x-extra': said(seen.headers) }),
    );
    const { status, text } = await chat();
    expect(status).toBe(200);
    const clean = 'You said: Bearer [redacted] — ja, genau ✓';
    expect(text).toBe(JSON.stringify({ ...saying(clean), 'x-extra': clean }));
    expect((await chat({ stream: true })).text).not.toContain(key);
    expect(await ledgerText(gateway)).not.toContain(key);
  });

  it('does not reach callers in streams, in text, usage or comments', async () => {
    const { chat, gateway, headers } = await startBeside(({ response, seen }) => {
      const usage = usageChunk.replace('chatcmpl-test', key);
      const stream = events(role, chunk({ content: said(seen.headers) }), finish, usage, '[DONE]');
      sendStream(response, stream.replace('data: ', `: ${key}\n\ndata: `));
    });
    const { status, text } = await chat({ stream: true, stream_options: { include_usage: true } });
    expect(status).toBe(200);
    expect(text).toContain('You said: Bearer [redacted] — ja, genau ✓');
    expect(text).toContain('"id":"[redacted]"');
    expect(text).not.toContain(key);
    const session = await gateway.openMcp(headers);
    const answer = await gateway.callTool(session, 'complete', { prompt: 'Hi', model: 'm' });
    expect(JSON.stringify(answer)).toContain('You said: Bearer [redacted]');
    expect(await ledgerText(gateway)).not.toContain(key);
  });

  it.each([400, 401, 403, 404, 418, 429, 500, 503])('does not reach callers with an error %i', async (status) => {
    const { chat, gateway } = await startBeside(({ response, seen }) =>
      sendJson(response, status, { error: { message: said(seen.headers), code: seen.headers.authorization } }),
    );
    const { text, headers } = await chat();
    expect(text).toContain('"error"');
    expect(text + JSON.stringify(headers) + (await ledgerText(gateway))).not.toContain(key);
  });

  it('does not reach callers with an error in the middle of a stream', async () => {
    const { chat } = await startBeside(({ response, seen }) =>
      sendStream(
        response,
        events(role, chunk({ content: 'a' }), JSON.stringify({ error: { message: said(seen.headers) } })),
      ),
    );
    const { text } = await chat({ stream: true });
    expect(text).toContain('[redacted]');
    expect(text).not.toContain(key);
  });
});

describe('a provider that refuses our key', () => {
  it('does not tell the caller that the token is wrong', async () => {
    const { chat } = await startBeside(({ response }) => sendJson(response, 401, { error: { message: 'Bad key' } }));
    const { status, headers } = await chat();
    expect(status).toBe(502);
    expect(headers).not.toHaveProperty('www-authenticate');
  });
});

describe('what hostile providers send', () => {
  it.each(['1e300', '99999999999', 'Fri, 01 Jan 9999 00:00:00 GMT'])(
    'does not keep anybody away for good: Retry-After %s',
    async (retryAfter) => {
      const { chat } = await startBeside(({ response }) =>
        sendJson(response, 429, { error: { message: 'Slow down' } }, { 'retry-after': retryAfter }),
      );
      const { status, headers } = await chat();
      expect({ status, wait: headers['retry-after'] }).toEqual({ status: 429, wait: '3600' });
    },
  );

  it('ends no header, whatever its models are called', async () => {
    const model = 'm\r\nset-cookie: a=b\r\n\r\n<script>\u2028';
    const { chat, headers, gateway } = await startBeside(
      ({ response }) => sendJson(response, 200, wholeAnswer),
      [model],
    );
    const answer = await chat({ model });
    expect(answer.status).toBe(200);
    expect(answer.headers).not.toHaveProperty('set-cookie');
    expect(answer.headers['x-tandem-model']).toBe('m??set-cookie: a=b????<script>?');
    const { text } = await gateway.ask('GET', '/metrics', headers);
    expect(text).toContain('model="m\r\\nset-cookie: a=b');
    expect(text.split('\n').filter((line) => line.startsWith('set-cookie'))).toEqual([]);
  });

  it.each([
    ['an answer as deep as it is long', `{"choices":${'['.repeat(500_000)}${']'.repeat(500_000)}}`],
    [
      'a choice that is deep inside',
      JSON.stringify(saying('Hi')).replace('"Hi"', `${'[1,'.repeat(200_000)}1${']'.repeat(200_000)}`),
    ],
    ['an error that is deep inside', `{"error":${'{"a":'.repeat(200_000)}1${'}'.repeat(200_001)}`],
    ['no JSON', '<html>'],
    ['a text alone', '"Hello"'],
    ['a poisoned prototype alone', '{"__proto__":{"choices":[{"message":{"content":"x"}}]}}'],
  ])('is an error of theirs, and the server goes on: %s', async (_what, body) => {
    const { chat, upstream } = await startBeside(({ response }) => sendJson(response, 200, body));
    for (const stream of [false, true]) {
      const { status, text } = await chat({ stream });
      expect({ stream, status }).toEqual({ stream, status: 502 });
      expect(text).not.toContain('incident');
    }
    upstream.handle = ({ response }) => sendJson(response, 200, wholeAnswer);
    expect((await chat()).status).toBe(200);
  });

  it('is an error of theirs as well where it cannot be made into a stream', async () => {
    const body = `{"x":${'['.repeat(200_000)}${']'.repeat(200_000)},${JSON.stringify(wholeAnswer).slice(1)}`;
    const { chat } = await startBeside(({ response }) => sendJson(response, 200, body));
    expect(await chat()).toMatchObject({ status: 200, text: body });
    expect((await chat({ stream: true })).status).toBe(502);
  });

  it('is passed on also when it is a hundred thousand events in one piece', async () => {
    const pieces = Array.from({ length: 100_000 }, () => chunk({ content: 'a' }));
    const { chat } = await startBeside(({ response }) =>
      sendStream(response, events(role, ...pieces, finish, usageChunk, '[DONE]')),
    );
    const { text } = await chat({ stream: true });
    expect(text.match(/"content":"a"/g)).toHaveLength(100_000);
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  });

  it('is cut when one event has no end', async () => {
    const { chat } = await startBeside(({ response }) => {
      beginStream(response);
      const more = () => {
        while (!response.destroyed && response.write('x'.repeat(1_000_000)));
      };
      response.write('data: "');
      response.on('drain', more);
      more();
    });
    const { status } = await chat({ stream: true });
    expect(status).toBeGreaterThanOrEqual(500);
  }, 30_000);
});

describe('what callers send', () => {
  it.each([
    ['parts that are null', { messages: [{ role: 'user', content: [null] }] }],
    ['parts that are numbers', { messages: [{ role: 'user', content: [5] }] }],
    ['parts that are texts', { messages: [{ role: 'user', content: ['a'] }] }],
    ['a name without end', { model: 'x'.repeat(100_000) }],
    ['a priority without end', { model: `auto:${'x'.repeat(100_000)}` }],
  ])('is refused in few words when it makes no sense: %s', async (_what, fields) => {
    const { chat, upstream } = await startBeside(({ response }) => sendJson(response, 200, wholeAnswer));
    const { status, text } = await chat(fields);
    expect(status).toBe(400);
    expect(text.length).toBeLessThan(1_000);
    expect(upstream.requests).toEqual([]);
  });

  it('goes on as it came, however deep, and changes nothing here', async () => {
    const { gateway, headers, upstream } = await startBeside(({ response }) => sendJson(response, 200, wholeAnswer));
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    const poison = '"__proto__":{"isAdmin":true},"constructor":{"prototype":{"isAdmin":true}}';
    const body = `{"model":"m","stream":true,"messages":${JSON.stringify(messages)},${poison},"stream_options":{"x":${deep},${poison}},"y":${deep}}`;
    const { status } = await gateway.ask('POST', '/v1/chat/completions', { ...asJson, ...headers }, body);
    expect(status).toBe(200);
    const seen = upstream.requests[0]?.body ?? '';
    expect(seen.replace('"include_usage":true,', '')).toBe(body);
    expect({}).not.toHaveProperty('isAdmin');
  });

  it.each(['__proto__', 'constructor', 'toString', 'hostile/__proto__'])('is no model: %s', async (model) => {
    const { chat } = await startBeside(({ response }) => sendJson(response, 200, wholeAnswer));
    expect((await chat({ model })).status).toBe(404);
  });

  it('does not make metrics grow', async () => {
    const { chat, headers, gateway } = await startBeside(({ response }) => sendJson(response, 200, wholeAnswer));
    await chat();
    await chat({ model: 'none' });
    const count = async () => (await gateway.ask('GET', '/metrics', headers)).text.match(/^tandem_.*$/gm)?.length;
    const before = await count();
    for (let index = 0; index < 100; index += 1) await chat({ model: `made-up-${index}`, user: `user-${index}` });
    expect(await count()).toBe(before);
    expect((await gateway.ask('GET', '/metrics', headers)).text).not.toContain('made-up');
  });

  it.each([
    ['/v1/chat/completions', { max_completion_tokens: 1, max_tokens: 30_000 }, 30_000],
    ['/v1/chat/completions', { max_completion_tokens: 500, n: 4 }, 2_000],
    ['/v1/completions', { prompt: 'Hi', max_tokens: 100, best_of: 20 }, 2_000],
    ['/v1/completions', { prompt: ['a', 'b'], max_tokens: 100, n: 3 }, 600],
  ])('is reserved at the most that it can cost: %s %j', async (path, fields, tokens) => {
    const { gateway, headers } = await startBeside(({ response }) => sendJson(response, 200, wholeAnswer));
    const body = { model: 'm', ...(path.includes('chat') && { messages }), ...fields };
    expect((await gateway.ask('POST', path, { ...asJson, ...headers }, body)).status).toBe(200);
    const [row] = await gateway.settled(1);
    // $2 for a million tokens of output.
    expect(row?.reserved_nano_usd).toBeGreaterThanOrEqual(tokens * 2_000);
    await waitFor(async () => (await gateway.reservedNanoUsd()) === 0, 'nothing reserved');
  });

  it('is not streamed where it asks for the best of several', async () => {
    const { gateway, headers } = await startBeside(({ response }) => sendJson(response, 200, wholeAnswer));
    const body = { model: 'm', prompt: 'Hi', best_of: 2, stream: true };
    expect((await gateway.ask('POST', '/v1/completions', { ...asJson, ...headers }, body)).status).toBe(400);
  });
});
