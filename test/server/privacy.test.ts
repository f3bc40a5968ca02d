import { describe, expect, it } from 'vitest';
import { type Gateway, readEvents, startGateway } from '../support/gateway.ts';
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

const answers: Handler = ({ response, seen }) => {
  if (seen.path.endsWith('/models')) return sendJson(response, 200, { data: [{ id: 'listed-9b' }] });
  if (seen.path.endsWith('/embeddings')) return sendJson(response, 200, { data: [{ embedding: [1] }] });
  return JSON.parse(seen.body).stream
    ? sendStream(response, wholeStream('Hello'))
    : sendJson(response, 200, wholeAnswer);
};

const outsideModel = { id: 'big-70b', tier: 'large', price: { inputUsdPerMTok: 0.01, outputUsdPerMTok: 0.01 } };

/** A machine of one's own, and a provider that would do for everything, and stands in for everybody. */
async function houseWith(
  atHome: Handler,
  options: { privacy?: 'any' | 'dedicated_only'; routing?: Record<string, unknown> } = {},
): Promise<{ gateway: Gateway; box: Upstream; outside: Upstream }> {
  const box = await startUpstream(atHome);
  const outside = await startUpstream(answers);
  const gateway = await startGateway({
    backends: [],
    rest: {
      serverless: [
        { id: 'outside', baseUrl: outside.url, prefill: 'assistant', models: [outsideModel] },
        { id: 'unknown', baseUrl: outside.url },
      ],
      dedicated: [{ id: 'box', baseUrl: box.url, maxRetries: 0, models: [{ id: 'own-8b', tier: 'small' }] }],
      routing: {
        privacy: options.privacy ?? 'dedicated_only',
        fallbacks: { '*': ['outside/big-70b'], 'box/own-8b': ['outside/big-70b'] },
        ...options.routing,
      },
    },
  });
  return { gateway, box, outside };
}

const fails: Handler = ({ response }) => sendJson(response, 500, openAiError('broken'));
const limits: Handler = ({ response }) => sendJson(response, 429, openAiError('slow down'), { 'retry-after': '60' });
const tooLong: Handler = ({ response }) => sendJson(response, 400, openAiError('maximum context length exceeded'));
const cuts: Handler = ({ response }) => cutAfter(response, 'One ', 'two ');

describe('routing.privacy: dedicated_only', () => {
  it('answers from dedicated backends, also what a provider would do better', async () => {
    const { gateway, box, outside } = await houseWith(answers);
    for (const model of ['auto', 'auto:performance', 'auto:low_cost', 'dedicated', 'box/own-8b']) {
      const answer = await gateway.chat({ model });
      expect([answer.status, answer.headers.get('x-tandem-backend')]).toEqual([200, 'box']);
    }
    expect([box.requests.length, outside.requests.length]).toEqual([5, 0]);
  });

  it.each(['outside/big-70b', 'big-70b', 'serverless'])('refuses %s, and says where prompts may go', async (model) => {
    const { gateway, box, outside } = await houseWith(answers, { routing: { fallbacks: {} } });
    const answer = await gateway.chat({ model });
    expect([answer.status, answer.headers.get('x-should-retry')]).toEqual([503, 'false']);
    const { error } = (await answer.json()) as { error: Record<string, string> };
    expect(error).toMatchObject({ code: 'no_candidate', message: expect.stringContaining('dedicated_only') });
    expect(error.message).toContain('Valid: box/own-8b.');
    expect([box.requests.length, outside.requests.length]).toEqual([0, 0]);
  });

  it.each<[string, Handler]>([
    ['fails', fails],
    ['limits the rate', limits],
    ['has too small a window', tooLong],
    ['cuts its answers', cuts],
    ['hangs up', ({ request }) => void request.socket.destroy()],
  ])('sends nothing elsewhere when the machine %s, whole or streamed, picked or named', async (_name, handler) => {
    const { gateway, box, outside } = await houseWith(handler);
    for (const model of ['auto', 'box/own-8b']) {
      for (const stream of [false, true]) {
        const answer = await gateway.chat({ model, stream });
        const text = await answer.text();
        expect(answer.status >= 400 || text.includes('"error"')).toBe(true);
      }
    }
    expect(box.requests.length).toBeGreaterThan(0);
    expect(outside.requests).toEqual([]);
  });

  it('sends the rest of a stream that broke off nowhere else', async () => {
    const { gateway, outside } = await houseWith(cuts);
    const read = readEvents(await (await gateway.chat({ model: 'auto', stream: true })).text());
    expect(read).toMatchObject({ text: expect.stringContaining('One two '), done: false });
    expect(outside.requests).toEqual([]);
  });

  it('sends nothing elsewhere after the breaker of the machine has opened', async () => {
    const { gateway, outside } = await houseWith(fails);
    for (let asked = 0; asked < 6; asked += 1) expect((await gateway.chat({ model: 'auto' })).status).not.toBe(200);
    expect(outside.requests).toEqual([]);
  });

  it('holds for embeddings and completions', async () => {
    const { gateway, outside } = await houseWith(fails);
    await gateway.post('/v1/embeddings', { model: 'own-8b', input: 'x' });
    await gateway.post('/v1/completions', { model: 'own-8b', prompt: 'x' });
    await gateway.post('/v1/embeddings', { model: 'big-70b', input: 'x' });
    expect(outside.requests).toEqual([]);
  });

  it('lists only models that prompts may go to, and asks nobody else for a list', async () => {
    const { gateway, outside } = await houseWith(answers);
    const { data } = (await (await fetch(`${gateway.origin}/v1/models`)).json()) as { data: { id: string }[] };
    const ids = data.map(({ id }) => id);
    expect(ids).toContain('box/own-8b');
    expect(ids).not.toContain('outside/big-70b');
    expect((await fetch(`${gateway.origin}/v1/models/outside/big-70b`)).status).toBe(404);
    expect(outside.requests).toEqual([]);
  });

  it('compares answers with nobody elsewhere', async () => {
    const shadow = { shadow: { share: 1, budgetUsdPerDay: 1 } };
    const open = await houseWith(answers, { privacy: 'any', routing: shadow });
    await open.gateway.chat({ model: 'auto:latency_critical' });
    await expect.poll(() => open.outside.requests.filter(({ path }) => path.endsWith('completions')).length).toBe(1);
    const closed = await houseWith(answers, { routing: shadow });
    for (let asked = 0; asked < 3; asked += 1) await closed.gateway.chat({ model: 'auto:latency_critical' });
    expect(await closed.gateway.settled(3)).toHaveLength(3);
    expect(closed.outside.requests).toEqual([]);
  });
});

describe('a prompt that was asked to stay on dedicated backends', () => {
  it.each([{}, { model: 'own-8b' }])('goes nowhere else when they fail (%j)', async (fields) => {
    const outside = await startUpstream(answers);
    const box = await startUpstream(fails);
    const world = await startWorld({
      yaml: () =>
        JSON.stringify({
          serverless: [{ id: 'outside', baseUrl: outside.url, models: [outsideModel] }],
          dedicated: [{ id: 'box', baseUrl: box.url, maxRetries: 0, models: [{ id: 'own-8b', tier: 'small' }] }],
          routing: { fallbacks: { '*': ['outside/big-70b'] } },
        }),
    });
    const question = { prompt: 'My secret.', backend: 'dedicated', ...fields };
    expect(await world.call('complete', question)).toMatchObject({ isError: true });
    expect([box.requests.length, outside.requests.length]).toEqual([1, 0]);
    const { result } = await world.call('route_explain', question);
    expect(result).toMatchObject({ order: ['box/own-8b'] });
  });

  it('is explained with the reason, under dedicated_only as well', async () => {
    const outside = await startUpstream(answers);
    const world = await startWorld({
      yaml: () =>
        JSON.stringify({
          serverless: [{ id: 'outside', baseUrl: outside.url, models: [outsideModel] }],
          dedicated: [{ id: 'box', baseUrl: outside.url, models: [{ id: 'own-8b', tier: 'small' }] }],
          routing: { privacy: 'dedicated_only' },
        }),
    });
    const { result, text } = await world.call('route_explain', { prompt: 'My secret.' });
    expect(result.candidates).toMatchObject([
      { backend: 'box', verdict: 'chosen' },
      {
        backend: 'outside',
        verdict: 'excluded',
        reason: 'prompts go to dedicated backends only (routing.privacy: dedicated_only)',
      },
    ]);
    expect(text).toContain('routing.privacy: dedicated_only');
  });
});
