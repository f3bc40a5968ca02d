import { describe, expect, it } from 'vitest';
import { startGuarded } from '../support/callers.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { waitFor } from '../support/process.ts';
import {
  cutAfter,
  openAiError,
  sendJson,
  sendStream,
  startUpstream,
  type Upstream,
  wholeAnswer,
  wholeStream,
} from '../support/upstream.ts';
import { startWorld } from '../support/world.ts';

type Handler = Upstream['handle'];

/** Holds every call until it is released, and knows how many it had at once. */
async function holdingUpstream(): Promise<{ upstream: Upstream; held: (() => void)[]; most: () => number }> {
  const held: (() => void)[] = [];
  let most = 0;
  const upstream = await startUpstream(({ response }) => {
    held.push(() => sendJson(response, 200, wholeAnswer));
    most = Math.max(most, held.length);
  });
  return { upstream, held, most: () => most };
}

const answers: Handler = ({ response, seen }) =>
  JSON.parse(seen.body).stream ? sendStream(response, wholeStream('Hello')) : sendJson(response, 200, wholeAnswer);

function releaseAll(held: (() => void)[]): void {
  for (const release of held.splice(0)) release();
}

describe('maxConcurrentRequests of a backend', () => {
  it('sends what is above it to another backend, and comes back when a place is free', async () => {
    const { upstream, held } = await holdingUpstream();
    const other = await startUpstream(answers);
    const gateway = await startGateway({
      backends: [
        { id: 'cheap', models: ['m-8b'], baseUrl: upstream.url, price: [0.1, 0.1], maxConcurrentRequests: 2 },
        { id: 'dear', models: ['n-8b'], baseUrl: other.url, price: [5, 5] },
      ],
    });
    const working = [gateway.chat({ model: 'auto:low_cost' }), gateway.chat({ model: 'auto:low_cost' })];
    await waitFor(() => held.length === 2, 'two calls');
    for (let asked = 0; asked < 3; asked += 1)
      expect((await gateway.chat({ model: 'auto:low_cost' })).headers.get('x-tandem-backend')).toBe('dear');
    releaseAll(held);
    await Promise.all(working);
    const next = gateway.chat({ model: 'auto:low_cost' });
    await waitFor(() => held.length === 1, 'the next call');
    releaseAll(held);
    expect((await next).headers.get('x-tandem-backend')).toBe('cheap');
  });

  it('turns away at once, with Retry-After, when nobody has a place', async () => {
    const { upstream, held } = await holdingUpstream();
    const backends = [{ id: 'one', models: ['m'], baseUrl: upstream.url, maxConcurrentRequests: 1 }];
    const gateway = await startGateway({ backends });
    const working = gateway.chat({ model: 'm' });
    await waitFor(() => held.length === 1, 'the call');
    for (const stream of [false, true]) {
      const answer = await gateway.chat({ model: 'm', stream });
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
      expect(answer.headers.get('x-should-retry')).toBeNull();
      const { error } = (await answer.json()) as { error: Record<string, string> };
      expect(error).toMatchObject({ code: 'overloaded', type: 'server_error' });
      expect(error.message).toContain('one/m: answers 1 requests, as many as it may at once. Try again in 1 s.');
    }
    releaseAll(held);
    expect((await working).status).toBe(200);
    expect(await gateway.settled(1)).toHaveLength(1);
  });

  it('holds for many who come at once', async () => {
    const { upstream, held, most } = await holdingUpstream();
    const backends = [{ id: 'one', models: ['m', 'n'], baseUrl: upstream.url, maxConcurrentRequests: 3 }];
    const gateway = await startGateway({ backends });
    let over = 0;
    const all = Array.from({ length: 24 }, async (_, place) => {
      const { status } = await gateway.chat({ model: place % 2 ? 'm' : 'auto' });
      over += 1;
      return status;
    });
    // Those who are turned away do not wait for the three.
    await waitFor(() => held.length === 3 && over === 21, 'three calls and 21 refusals');
    releaseAll(held);
    const statuses = await Promise.all(all);
    expect(statuses.filter((status) => status === 200)).toHaveLength(3);
    expect(statuses.filter((status) => status === 503)).toHaveLength(21);
    expect([most(), upstream.requests.length]).toEqual([3, 3]);
  });

  it('holds also for those who come there because another backend failed them', async () => {
    const slow = await holdingUpstream();
    const { upstream, held, most } = await holdingUpstream();
    const gateway = await startGateway({
      backends: [
        { id: 'first', models: ['a-8b'], baseUrl: slow.upstream.url, price: [0.1, 0.1], maxRetries: 0 },
        { id: 'second', models: ['b-8b'], baseUrl: upstream.url, price: [5, 5], maxConcurrentRequests: 1 },
      ],
    });
    slow.upstream.handle = async ({ response }) => {
      await waitFor(() => held.length === 1, 'another call at the second');
      sendJson(response, 500, openAiError('broken'));
    };
    const failing = gateway.chat({ model: 'auto:low_cost' });
    await waitFor(() => slow.upstream.requests.length === 1, 'the call at the first');
    const working = gateway.chat({ model: 'second/b-8b' });
    expect((await failing).status).toBe(502);
    releaseAll(held);
    expect((await working).status).toBe(200);
    expect([most(), upstream.requests.length]).toEqual([1, 1]);
  });

  it('is said by route_explain, and by complete', async () => {
    const { upstream, held } = await holdingUpstream();
    const world = await startWorld({
      yaml: () =>
        JSON.stringify({
          dedicated: [{ id: 'box', baseUrl: upstream.url, maxConcurrentRequests: 1, models: [{ id: 'own' }] }],
        }),
    });
    const working = world.call('complete', { prompt: 'Hi' });
    await waitFor(() => held.length === 1, 'the call');
    const { result } = await world.call('route_explain', { prompt: 'Hi' });
    expect(result.candidates).toMatchObject([
      { verdict: 'excluded', reason: 'answers 1 requests, as many as it may at once' },
    ]);
    const refused = await world.call('complete', { prompt: 'Hi' });
    expect(refused).toMatchObject({ isError: true, text: expect.stringContaining('Try again in 1 s.') });
    releaseAll(held);
    await working;
  });
});

describe('a place at a backend', () => {
  const one = (upstream: Upstream) => [
    {
      id: 'one',
      models: ['m'],
      baseUrl: upstream.url,
      price: [1, 1] as [number, number],
      maxConcurrentRequests: 1,
      maxRetries: 0,
      timeoutMs: 300,
      firstTokenTimeoutMs: 300,
    },
  ];
  const endings: Record<string, Handler> = {
    answers,
    refuses: ({ response }) => sendJson(response, 400, openAiError('no')),
    filters: ({ response }) => sendJson(response, 400, openAiError('x', 'content_filter')),
    fails: ({ response }) => sendJson(response, 500, openAiError('broken')),
    'sends nonsense': ({ response }) => sendJson(response, 200, 'nonsense'),
    'resets the connection': ({ request }) => void request.socket.destroy(),
    'cuts a stream': ({ response }) => cutAfter(response, 'One ', 'two '),
    'is silent': () => undefined,
  };

  it.each(Object.entries(endings))('is free again after a call when the backend %s', async (_name, ending) => {
    const upstream = await startUpstream(ending);
    const gateway = await startGateway({ backends: one(upstream) });
    // Two failures leave the breaker closed.
    for (const stream of [true, false]) await (await gateway.chat({ model: 'm', stream })).text();
    upstream.handle = answers;
    await expectPlace(gateway);
  });

  it('is free again after callers who hung up, and is taken until then', async () => {
    const upstream = await startUpstream(() => undefined);
    const gateway = await startGateway({
      backends: one(upstream).map((entry) => ({ ...entry, timeoutMs: 60_000, firstTokenTimeoutMs: 60_000 })),
    });
    for (let asked = 1; asked <= 3; asked += 1) {
      const leave = new AbortController();
      const gone = fetch(`${gateway.origin}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'Hi' }], stream: asked % 2 === 0 }),
        signal: leave.signal,
      }).catch(() => undefined);
      await waitFor(() => upstream.requests.length === asked, 'the call');
      expect((await gateway.chat({ model: 'm' })).status).toBe(503);
      leave.abort();
      await gone;
      await waitFor(() => upstream.requests.at(-1)?.abortedAtMs != null, 'the end of the call');
    }
    upstream.handle = answers;
    await expectPlace(gateway);
  });

  it('is free again after calls that a budget refused', async () => {
    const upstream = await startUpstream(answers);
    const gateway = await startGuarded({ backends: one(upstream) });
    const poor = await gateway.holder(['infer'], { budget: { limitNanoUsd: 1, per: 'day' } });
    const rich = await gateway.holder(['infer']);
    const body = { model: 'm', messages: [{ role: 'user', content: 'Hi' }] };
    const ask = ({ headers }: { headers: Record<string, string | string[]> }) =>
      gateway.ask('POST', '/v1/chat/completions', { 'content-type': 'application/json', ...headers }, body);
    for (let asked = 0; asked < 3; asked += 1) expect((await ask(poor)).text).toContain('insufficient_quota');
    expect((await ask(rich)).status).toBe(200);
  });

  /** Its end is seen by the caller a moment before it is by the gateway. */
  async function expectPlace(gateway: Gateway): Promise<void> {
    await expect.poll(async () => (await gateway.chat({ model: 'm' })).status).toBe(200);
  }
});
