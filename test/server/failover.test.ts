import { describe, expect, it } from 'vitest';
import { ManualClock } from '../support/clock.ts';
import { type Gateway, type GatewayOptions, readEvents, startGateway } from '../support/gateway.ts';
import {
  beginStream,
  chunk,
  events,
  openAiError,
  role,
  sendJson,
  sendStream,
  startUpstream,
  type Upstream,
  wholeAnswer,
  wholeStream,
} from '../support/upstream.ts';
import type { BackendYaml } from '../support/yaml.ts';

type Handler = Upstream['handle'];

const answers: Handler = ({ response, seen }) =>
  JSON.parse(seen.body).stream ? sendStream(response, wholeStream('Hello')) : sendJson(response, 200, wholeAnswer);
const fails: Handler = ({ response }) => sendJson(response, 500, openAiError('broken'));
const resets: Handler = ({ request }) => void request.socket.destroy();

interface Pair {
  gateway: Gateway;
  first: Upstream;
  second: Upstream;
}

/** Two backends; `auto` prefers the first, which is cheaper. */
async function pair(
  one: Handler,
  two: Handler = answers,
  settings: Partial<BackendYaml> = {},
  options: GatewayOptions = {},
): Promise<Pair> {
  const first = await startUpstream(one);
  const second = await startUpstream(two);
  const gateway = await startGateway({
    ...options,
    backends: [
      { id: 'first', models: ['a-8b'], baseUrl: first.url, price: [0.1, 0.1], ...settings },
      { id: 'second', models: ['b-8b'], baseUrl: second.url, price: [1, 1] },
    ],
  });
  return { gateway, first, second };
}

describe('a provider that fails', () => {
  it('with one 500 is asked once more, and answers', async () => {
    const { gateway, first, second } = await pair((exchange) => (exchange.ordinal === 1 ? fails : answers)(exchange));
    const answer = await gateway.chat({ model: 'auto' });
    expect(answer.headers.get('x-tandem-backend')).toBe('first');
    expect(answer.headers.get('x-tandem-attempts')).toBe('2');
    expect([first.requests.length, second.requests.length]).toEqual([2, 0]);
    const rows = await gateway.settled(2);
    expect(rows.map(({ status, http_status }) => [status, http_status])).toEqual([
      ['error', 500],
      ['ok', null],
    ]);
    expect(rows.map(({ cost_nano_usd }) => cost_nano_usd)).toEqual([0, 1_400]);
  });

  it.each([
    ['a 500', fails],
    ['a reset', resets],
  ])('with %s twice is left for the next one', async (_name, handler) => {
    const { gateway, first, second } = await pair(handler);
    const answer = await gateway.chat({ model: 'auto' });
    expect(answer.headers.get('x-tandem-backend')).toBe('second');
    expect([first.requests.length, second.requests.length]).toEqual([2, 1]);
  });

  it('is not asked once more where that is not wanted', async () => {
    const { gateway, first } = await pair(fails, answers, { maxRetries: 0 });
    expect((await gateway.chat({ model: 'auto' })).headers.get('x-tandem-backend')).toBe('second');
    expect(first.requests).toHaveLength(1);
  });

  it('is not hammered by 32 callers at once', async () => {
    const { gateway, first, second } = await pair(fails);
    await Promise.all(Array.from({ length: 32 }, () => gateway.chat({ model: 'auto' })));
    const atOnce = first.requests.length;
    const later = await Promise.all(Array.from({ length: 32 }, () => gateway.chat({ model: 'auto' })));
    expect(later.every((answer) => answer.status === 200)).toBe(true);
    expect(second.requests).toHaveLength(64);
    // All 32 had begun before the first failure was known; after that hardly any call goes there.
    expect(atOnce).toBeLessThan(40);
    expect(first.requests.length - atOnce).toBeLessThan(4);
  });

  it('alone is not hammered either: one call at a time finds out whether it is back', async () => {
    const upstream = await startUpstream(fails);
    const gateway = await startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }] });
    for (let tried = 0; tried < 3; tried += 1) await gateway.chat({ model: 'm' });
    const before = upstream.requests.length;
    const startedAt = performance.now();
    const later = await Promise.all(Array.from({ length: 32 }, () => gateway.chat({ model: 'm' })));
    expect(later.every(({ status }) => status === 502 || status === 503 || status === 429)).toBe(true);
    const seconds = (performance.now() - startedAt) / 1000;
    expect(upstream.requests.length - before).toBeLessThanOrEqual(2 + seconds);
  });

  it('is used again once it is back', async () => {
    const clock = new ManualClock();
    const { gateway, first, second } = await pair(fails, answers, {}, { clock });
    for (let tried = 0; tried < 2; tried += 1) await gateway.chat({ model: 'auto:low_cost' });
    const opened = first.requests.length;
    await gateway.chat({ model: 'auto:low_cost' });
    expect(first.requests).toHaveLength(opened);
    first.handle = answers;
    clock.advance(21_000);
    expect((await gateway.chat({ model: 'auto:low_cost' })).headers.get('x-tandem-backend')).toBe('first');
    expect((await gateway.chat({ model: 'auto:low_cost' })).headers.get('x-tandem-backend')).toBe('first');
    expect(second.requests).toHaveLength(3);
  });
});

describe('a provider that limits the rate', () => {
  const limits =
    (status: number, seconds: number): Handler =>
    ({ response }) =>
      sendJson(response, status, openAiError('slow down'), { 'retry-after': String(seconds) });

  it.each([429, 503])('with %i and Retry-After is not called before its time, and is then', async (status) => {
    const clock = new ManualClock();
    const { gateway, first, second } = await pair(limits(status, 30), answers, {}, { clock });
    for (let tried = 0; tried < 5; tried += 1) {
      expect((await gateway.chat({ model: 'auto:low_cost' })).headers.get('x-tandem-backend')).toBe('second');
    }
    await Promise.all(Array.from({ length: 8 }, () => gateway.chat({ model: 'auto:low_cost' })));
    expect([first.requests.length, second.requests.length]).toEqual([1, 13]);
    first.handle = answers;
    clock.advance(29_900);
    await gateway.chat({ model: 'auto:low_cost' });
    expect(first.requests).toHaveLength(1);
    clock.advance(200);
    expect((await gateway.chat({ model: 'auto:low_cost' })).headers.get('x-tandem-backend')).toBe('first');
  });

  it('is left alone although a call that was under way succeeds', async () => {
    const clock = new ManualClock();
    let release = () => {};
    const { gateway, first } = await pair(
      (exchange) => {
        if (exchange.ordinal > 1) return limits(429, 30)(exchange);
        release = () => answers(exchange);
        return undefined;
      },
      answers,
      {},
      { clock },
    );
    const slow = gateway.chat({ model: 'auto:low_cost' });
    await expect.poll(() => first.requests.length).toBe(1);
    await gateway.chat({ model: 'auto:low_cost' });
    release();
    expect((await slow).headers.get('x-tandem-backend')).toBe('first');
    await gateway.chat({ model: 'auto:low_cost' });
    expect(first.requests).toHaveLength(2);
  });

  it('tells the caller when, if there is nobody else', async () => {
    const upstream = await startUpstream(limits(429, 30));
    const gateway = await startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }] });
    for (let tried = 0; tried < 3; tried += 1) {
      const answer = await gateway.chat({ model: 'm' });
      expect(answer.status).toBe(429);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(25);
    }
    expect(upstream.requests).toHaveLength(1);
  });

  it('for a second is waited for, if there is nobody else', async () => {
    const upstream = await startUpstream((exchange) => (exchange.ordinal === 1 ? limits(429, 1) : answers)(exchange));
    const gateway = await startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }] });
    expect((await gateway.chat({ model: 'm' })).status).toBe(200);
    const [one, two] = upstream.requests;
    expect((two?.atMs ?? 0) - (one?.atMs ?? 0)).toBeGreaterThanOrEqual(990);
  });
});

describe('a provider that is silent', () => {
  it('is abandoned after timeoutMs, and not asked once more', async () => {
    const { gateway, first, second } = await pair(() => undefined, answers, { timeoutMs: 300 });
    expect((await gateway.chat({ model: 'auto', stream: true })).headers.get('x-tandem-backend')).toBe('second');
    expect([first.requests.length, second.requests.length]).toEqual([1, 1]);
    await expect.poll(() => first.requests[0]?.abortedAtMs).not.toBeNull();
    const [row] = await gateway.settled(2);
    expect(row).toMatchObject({ status: 'error', error_code: 'upstream_timeout', cost_nano_usd: null });
  });

  it('alone gives 504', async () => {
    const upstream = await startUpstream(() => undefined);
    const backends = [{ id: 'one', models: ['m'], baseUrl: upstream.url, timeoutMs: 200 }];
    const gateway = await startGateway({ backends });
    expect((await gateway.chat({ model: 'm' })).status).toBe(504);
    expect(upstream.requests).toHaveLength(1);
  });

  it('after its headers and comments, without a token, is replaced after firstTokenTimeoutMs', async () => {
    const { gateway, second } = await pair(
      ({ response }) => {
        beginStream(response);
        response.write(events(role));
        const beat = setInterval(() => response.write(': still here\n\n'), 50);
        response.on('close', () => clearInterval(beat));
      },
      answers,
      { firstTokenTimeoutMs: 400 },
    );
    const answer = await gateway.chat({ model: 'auto', stream: true });
    expect(readEvents(await answer.text())).toMatchObject({ text: 'Hello', done: true });
    expect(second.requests).toHaveLength(1);
  });

  it.each([
    ['says nothing at all', () => undefined],
    [
      'sends only comments',
      ({ response }) => {
        beginStream(response);
        const beat = setInterval(() => response.write(': still here\n\n'), 50);
        response.on('close', () => clearInterval(beat));
      },
    ],
  ] satisfies [string, Handler][])('and %s is replaced after firstTokenTimeoutMs as well', async (_name, handler) => {
    const { gateway } = await pair(handler, answers, { firstTokenTimeoutMs: 300 });
    const answer = await gateway.chat({ model: 'auto', stream: true });
    expect(answer.headers.get('x-tandem-backend')).toBe('second');
  });

  it('in the middle of a whole answer is noticed after idleTimeoutMs', async () => {
    const { gateway } = await pair(
      ({ response }) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        response.write('{"choices":[');
      },
      answers,
      { idleTimeoutMs: 300 },
    );
    expect((await gateway.chat({ model: 'auto' })).headers.get('x-tandem-backend')).toBe('second');
  });
});

describe('a provider that answers nonsense', () => {
  it.each([
    ['an empty stream', ''],
    ['a malformed chunk', events(role, '{"choices":[{"delta":{"con')],
    ['a chunk that is none', events('[]')],
    ['an error as an event', events(role, '{"error":{"message":"engine died"}}')],
    ['HTML in a stream', '<html>\n\n</html>'],
    ['a role and no more', events(role)],
  ])('is replaced before the caller sees any of it: %s', async (_name, text) => {
    const { gateway } = await pair(({ response }) => sendStream(response, text), answers, { maxRetries: 0 });
    const answer = await gateway.chat({ model: 'auto', stream: true });
    expect(await answer.text()).toBe(wholeStream('Hello').replace(/data: \{[^\n]*"usage"[^\n]*\n\n/, ''));
    const [row] = await gateway.settled(2);
    expect(row?.status).toBe('error');
  });

  it.each([
    ['half a JSON', '{"choices":[{"mess'],
    ['an empty body', ''],
    ['no choices', '{"choices":[]}'],
    ['an error with status 200', '{"error":{"message":"engine died"}}'],
    ['a list', '[1]'],
  ])('is replaced also where no stream was asked for: %s', async (_name, text) => {
    const { gateway } = await pair(({ response }) => sendJson(response, 200, text), answers, { maxRetries: 0 });
    const answer = await gateway.chat({ model: 'auto' });
    expect(await answer.json()).toEqual(wholeAnswer);
  });
});

describe('a prompt that is refused', () => {
  const tooLong: Handler = ({ response }) =>
    sendJson(response, 400, openAiError('maximum context length is 8192 tokens', 'context_length_exceeded'));

  it('for its length goes to a larger window, and never to the same model again', async () => {
    const { gateway, first, second } = await pair(tooLong, answers, { contextWindow: 8_192 });
    expect((await gateway.chat({ model: 'auto' })).headers.get('x-tandem-backend')).toBe('second');
    expect([first.requests.length, second.requests.length]).toEqual([1, 1]);
  });

  it('for its length goes to no window that is as small', async () => {
    const { gateway, first, second } = await pair(tooLong);
    const answer = await gateway.chat({ model: 'auto' });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { code: 'context_length_exceeded' } });
    expect([first.requests.length, second.requests.length]).toEqual([1, 0]);
  });

  it('by a content filter is tried nowhere else, and the caller is told why', async () => {
    const { gateway, first, second } = await pair(({ response }) =>
      sendJson(response, 400, openAiError('flagged by the content filter: violence', 'content_filter')),
    );
    const answer = await gateway.chat({ model: 'auto' });
    expect(answer.status).toBe(400);
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(((await answer.json()) as { error: unknown }).error).toMatchObject({
      code: 'content_filter',
      message: expect.stringContaining('violence'),
    });
    expect([first.requests.length, second.requests.length]).toEqual([1, 0]);
  });

  it("in the middle by a content filter ends with the provider's own reason", async () => {
    const said = events(role, chunk({ content: 'Well' }), chunk({}, 'content_filter'), '[DONE]');
    const { gateway, second } = await pair(({ response }) => sendStream(response, said));
    expect(await (await gateway.chat({ model: 'auto', stream: true })).text()).toBe(said);
    expect((await gateway.settled(1))[0]).toMatchObject({ status: 'ok', finish_reason: 'content_filter' });
    expect(second.requests).toHaveLength(0);
  });
});
