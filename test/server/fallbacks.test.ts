import { describe, expect, it } from 'vitest';
import { startGateway } from '../support/gateway.ts';
import { sendJson, startUpstream, wholeAnswer } from '../support/upstream.ts';

/** `down` fails always; `up` and `spare` answer. Gives what was asked of whom, in order. */
async function askedFor(
  model: string,
  fallbacks: Record<string, string[]>,
  path = '/v1/chat/completions',
): Promise<{ status: number; asked: string[] }> {
  const upstream = await startUpstream(({ response, seen }) => {
    const name = JSON.parse(seen.body).model as string;
    if (name.startsWith('bad')) sendJson(response, 500, { error: { message: 'broken' } });
    else if (seen.path.endsWith('/embeddings')) sendJson(response, 200, { data: [{ embedding: [1] }] });
    else sendJson(response, 200, wholeAnswer);
  });
  const server = { baseUrl: upstream.url, maxRetries: 0 };
  const gateway = await startGateway({
    backends: [
      { ...server, id: 'down', models: ['bad-8b', 'bad-70b'], price: [0.1, 0.1] },
      { ...server, id: 'up', models: ['good-8b', 'bad-9b'], price: [5, 5] },
      { ...server, id: 'spare', models: ['spare-8b'], price: [9, 9] },
    ],
    rest: { routing: { fallbacks } },
  });
  const body = path.endsWith('/embeddings')
    ? { model, input: 'x' }
    : { model, messages: [{ role: 'user', content: 'x' }] };
  const { status } = await gateway.post(path, body);
  return { status, asked: upstream.requests.map((request) => JSON.parse(request.body).model) };
}

describe('a model that was named and fails', () => {
  it('does not wander where nothing says so', async () => {
    expect(await askedFor('down/bad-8b', {})).toEqual({ status: 502, asked: ['bad-8b'] });
    expect(await askedFor('bad-8b', { 'up/*': ['up/good-8b'] })).toEqual({ status: 502, asked: ['bad-8b'] });
  });

  it('is replaced in the order that is written down', async () => {
    const fallbacks = { 'down/bad-8b': ['up/bad-9b', 'spare/spare-8b', 'up/good-8b'] };
    expect(await askedFor('down/bad-8b', fallbacks)).toEqual({ status: 200, asked: ['bad-8b', 'bad-9b', 'spare-8b'] });
  });

  it('takes the most specific key', async () => {
    const all = { '*': ['spare/spare-8b'], 'down/*': ['up/good-8b'], 'down/bad-8b': ['up/bad-9b'] };
    expect((await askedFor('down/bad-8b', all)).asked).toEqual(['bad-8b', 'bad-9b']);
    expect((await askedFor('down/bad-70b', all)).asked).toEqual(['bad-70b', 'good-8b']);
    expect((await askedFor('up/bad-9b', all)).asked).toEqual(['bad-9b', 'spare-8b']);
  });

  it('is replaced also when it was named without its backend', async () => {
    expect((await askedFor('bad-70b', { 'down/*': ['up/good-8b'] })).asked).toEqual(['bad-70b', 'good-8b']);
  });

  it('of embeddings is replaced only by what stands under the very model', async () => {
    const path = '/v1/embeddings';
    expect((await askedFor('down/bad-8b', { '*': ['up/good-8b'], 'down/*': ['up/good-8b'] }, path)).asked).toEqual([
      'bad-8b',
    ]);
    expect(await askedFor('down/bad-8b', { 'down/bad-8b': ['up/good-8b'] }, path)).toEqual({
      status: 200,
      asked: ['bad-8b', 'good-8b'],
    });
  });
});

describe('a model that the router picked and that fails', () => {
  it('is replaced along the ranking, other backends first', async () => {
    const { status, asked } = await askedFor('auto:low_cost', {});
    expect(status).toBe(200);
    expect(asked[0]).toMatch(/^bad-8b|^bad-70b/);
    expect(asked.at(-1)).toBe('good-8b');
  });
});
