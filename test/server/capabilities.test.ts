import { describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { sendJson, startUpstream, type Upstream, wholeAnswer } from '../support/upstream.ts';
import type { BackendYaml } from '../support/yaml.ts';

const say = (content: unknown) => [{ role: 'user', content }];
const picture = { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } };
const tool = { type: 'function', function: { name: 'look', parameters: { type: 'object' } } };
const schema = { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' } } };

/** `plain` is cheaper, and takes nothing but text; `able` takes all. */
async function two(about: Partial<BackendYaml> = {}, rest = {}): Promise<{ gateway: Gateway; upstream: Upstream }> {
  const upstream = await startUpstream(({ response }) => sendJson(response, 200, wholeAnswer));
  const server = { baseUrl: upstream.url };
  const gateway = await startGateway({
    backends: [
      { ...server, id: 'plain', models: ['text-8b'], price: [0.01, 0.01], supports: [], ...about },
      { ...server, id: 'able', models: ['all-8b'], price: [1, 1], supports: ['tools', 'json_schema', 'images'] },
    ],
    rest,
  });
  return { gateway, upstream };
}

describe('a request that needs more than text', () => {
  it.each<[string, Record<string, unknown>]>([
    ['tools', { tools: [tool] }],
    ['functions', { functions: [{ name: 'look' }] }],
    ['a schema', { response_format: schema }],
    ['an image', { messages: say([{ type: 'text', text: 'What is it?' }, picture]) }],
    ['an image under its other name', { messages: say([{ type: 'input_image', image_url: 'https://example.com/x' }]) }],
    ['an image some turns ago', { messages: [...say([picture]), { role: 'assistant', content: 'A.' }, ...say('B?')] }],
  ])('such as %s goes to a model that takes it', async (_name, fields) => {
    const { gateway } = await two();
    const answer = await gateway.chat({ model: 'auto:low_cost', ...fields });
    expect(answer.headers.get('x-tandem-backend')).toBe('able');
  });

  it.each<[string, Record<string, unknown>]>([
    ['no tools', { tools: [], functions: [], response_format: { type: 'json_object' } }],
    ['tools that are null', { tools: null, response_format: null }],
    ['text in parts', { messages: say([{ type: 'text', text: 'image_url' }]) }],
    ['parts that make no sense', { messages: say([{ type: 7 }, {}]) }],
  ])('is not one with %s', async (_name, fields) => {
    const { gateway } = await two();
    const answer = await gateway.chat({ model: 'auto:low_cost', ...fields });
    expect(answer.headers.get('x-tandem-backend')).toBe('plain');
  });

  it('goes anywhere as long as nobody said what models take', async () => {
    const upstream = await startUpstream(({ response }) => sendJson(response, 200, wholeAnswer));
    const gateway = await startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }] });
    expect((await gateway.chat({ model: 'auto', tools: [tool], messages: say([picture]) })).status).toBe(200);
  });

  it('for a named model that does not take it is refused, with those that do', async () => {
    const { gateway, upstream } = await two({ supports: ['images'] });
    const fields = { model: 'text-8b', tools: [tool], response_format: schema, messages: say([picture]) };
    const answer = await gateway.chat(fields);
    expect([answer.status, answer.headers.get('x-should-retry')]).toEqual([503, 'false']);
    expect(await answer.json()).toMatchObject({
      error: {
        code: 'no_candidate',
        message:
          'No model can take this request. plain/text-8b: does not take tools and JSON schemas. Models that take tools, JSON schemas and images: able/all-8b.',
      },
    });
    expect(upstream.requests).toEqual([]);
  });

  it('for a named model is handed to who stands in for it', async () => {
    const { gateway } = await two({}, { routing: { fallbacks: { 'plain/*': ['able/all-8b'] } } });
    const answer = await gateway.chat({ model: 'text-8b', tools: [tool] });
    expect([answer.status, answer.headers.get('x-tandem-backend')]).toEqual([200, 'able']);
  });
});

describe('a list of models', () => {
  /** What OpenRouter's list says, as far as it matters here. */
  const entries = [
    { id: 'a/blind-8b', supported_parameters: ['tools', 'max_tokens'], architecture: { input_modalities: ['text'] } },
    {
      id: 'a/seeing-9b',
      supported_parameters: ['tools', 'structured_outputs'],
      architecture: { input_modalities: ['text', 'image'] },
    },
    { id: 'a/quiet-8b' },
    { id: 'a/odd-8b', supported_parameters: 'tools', architecture: 'transformer' },
    { id: 'a/half-8b', supported_parameters: [] },
  ];

  it('says what its models take where it says all of it, and is not believed to say more', async () => {
    const upstream = await startUpstream(({ request, response }) =>
      sendJson(response, 200, request.method === 'GET' ? { data: entries } : wholeAnswer),
    );
    const gateway = await startGateway({
      backends: [],
      rest: { serverless: [{ id: 'router', baseUrl: upstream.url }] },
    });
    const statusOf = async (model: string, fields: object) => (await gateway.chat({ model, ...fields })).status;
    const image = { messages: say([picture]) };
    expect(await statusOf('a/blind-8b', { tools: [tool] })).toBe(200);
    expect(await statusOf('a/blind-8b', image)).toBe(503);
    expect(await statusOf('a/blind-8b', { response_format: schema })).toBe(503);
    for (const id of ['a/seeing-9b', 'a/quiet-8b', 'a/odd-8b', 'a/half-8b'])
      expect(await statusOf(id, { ...image, tools: [tool], response_format: schema })).toBe(200);
  });
});
