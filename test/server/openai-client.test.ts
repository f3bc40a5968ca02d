import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { startGateway } from '../support/gateway.ts';

const messages = [{ role: 'user' as const, content: 'What is the capital of France?' }];

describe('the gateway as the openai client sees it', () => {
  it('answers a chat whole, and the ledger agrees to the token', async () => {
    const { openai, settled } = await startGateway();
    const { data, response } = await openai.chat.completions.create({ model: 'auto', messages }).withResponse();
    expect(data.choices[0]?.message.content).toContain('Paris');
    expect(data.choices[0]?.finish_reason).toBe('stop');
    const [row] = await settled(1);
    expect(row).toMatchObject({
      status: 'ok',
      request_id: response.headers.get('x-request-id'),
      backend: response.headers.get('x-tandem-backend'),
      model: response.headers.get('x-tandem-model'),
      input_tokens: data.usage?.prompt_tokens,
      output_tokens: data.usage?.completion_tokens,
      usage_source: 'provider',
      reserved_nano_usd: expect.any(Number),
    });
    expect(Number(response.headers.get('x-tandem-score'))).toBeCloseTo(row?.score ?? -1, 3);
    expect(Number(response.headers.get('x-tandem-cost-usd'))).toBeCloseTo((row?.cost_nano_usd ?? -1) / 1e9, 9);
    expect(response.headers.get('x-tandem-attempts')).toBe('1');
  });

  it('streams a chat, with usage only for those who ask', async () => {
    const { openai, settled } = await startGateway();
    const without = await collect(await openai.chat.completions.create({ model: 'auto', messages, stream: true }));
    const stream_options = { include_usage: true };
    const asked = { model: 'auto', messages, stream: true as const, stream_options };
    const withUsage = await collect(await openai.chat.completions.create(asked));
    expect(without.text).toContain('Paris');
    expect(withUsage.text).toBe(without.text);
    expect(without.usages).toEqual([]);
    expect(withUsage.usages).toHaveLength(1);
    const rows = await settled(2);
    for (const row of rows) {
      expect(row).toMatchObject({
        input_tokens: withUsage.usages[0]?.prompt_tokens,
        output_tokens: withUsage.usages[0]?.completion_tokens,
        usage_source: 'provider',
      });
    }
  });

  it('answers plain completions, whole and streamed', async () => {
    const { openai, settled } = await startGateway();
    const prompt = 'What is the capital of France?';
    const whole = await openai.completions.create({ model: 'small-8b', prompt });
    let streamed = '';
    for await (const piece of await openai.completions.create({ model: 'small-8b', prompt, stream: true }))
      streamed += piece.choices[0]?.text;
    expect(whole.choices[0]?.text).toContain('Paris');
    expect(streamed).toBe(whole.choices[0]?.text);
    for (const row of await settled(2)) {
      expect(row).toMatchObject({ status: 'ok', output_tokens: whole.usage?.completion_tokens });
    }
  });

  it('embeds, and the ledger has the tokens', async () => {
    const { openai, settled } = await startGateway();
    const one = await openai.embeddings.create({ model: 'small-8b', input: ['one text', 'another'], dimensions: 6 });
    expect(one.data.map(({ embedding }) => embedding.length)).toEqual([6, 6]);
    const plain = await openai.embeddings.create({ model: 'small-8b', input: 'one text', encoding_format: 'float' });
    expect(one.data[0]?.embedding.slice(0, 6)).toEqual(plain.data[0]?.embedding.slice(0, 6));
    const rows = await settled(2);
    const tokens = rows.map((row) => row.input_tokens).toSorted();
    expect(tokens).toEqual([one.usage.prompt_tokens, plain.usage.prompt_tokens].toSorted());
    expect(rows.every((row) => row.status === 'ok' && row.output_tokens === 0)).toBe(true);
  });

  it('picks no embedding model for anybody', async () => {
    const { openai, attempts } = await startGateway();
    const call = openai.embeddings.create({ model: 'auto', input: 'text' });
    await expect(call).rejects.toMatchObject({ status: 400, code: 'invalid_input' });
    expect(await attempts()).toEqual([]);
  });

  it('lists every name that a request may use, and tells about one', async () => {
    const { openai } = await startGateway();
    const ids = (await openai.models.list()).data.map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining(['auto', 'auto:low_cost', 'serverless', 'dedicated:performance']));
    expect(ids).toEqual(expect.arrayContaining(['sandbox-serverless/small-8b', 'sandbox-box/large-70b']));
    expect((await openai.models.retrieve('sandbox-box/large-70b')).owned_by).toBe('sandbox-box');
    await expect(openai.models.retrieve('nobody/nothing')).rejects.toMatchObject({ status: 404 });
  });

  it.each([
    ['auto', 'sandbox-serverless'],
    ['auto:low_cost', 'sandbox-serverless'],
    ['auto:performance', 'sandbox-box'],
    ['auto:latency_critical', 'sandbox-box'],
    ['serverless', 'sandbox-serverless'],
    ['dedicated', 'sandbox-box'],
    ['dedicated:low_cost', 'sandbox-box'],
    ['sandbox-serverless/medium-32b', 'sandbox-serverless'],
    ['large-70b', 'sandbox-box'],
  ])('understands the model name %s', async (model, backend) => {
    const { openai, settled } = await startGateway();
    const { data, response } = await openai.chat.completions.create({ model, messages }).withResponse();
    expect(response.headers.get('x-tandem-backend')).toBe(backend);
    expect(data.model).toBe(response.headers.get('x-tandem-model'));
    const [row] = await settled(1);
    expect(row?.priority).toBe(model.split(':')[1] ?? 'balanced');
  });

  it.each([
    ['no-such-thing', 404, 'model_not_found'],
    ['nobody/small-8b', 404, 'model_not_found'],
    ['sandbox-box/small-8b', 404, 'model_not_found'],
    ['auto:fastest', 400, 'invalid_input'],
    ['serverless:', 400, 'invalid_input'],
    ['constructor', 404, 'model_not_found'],
  ])('refuses the model name %s with words that help', async (model, status, code) => {
    const { openai, attempts } = await startGateway();
    const error = await openai.chat.completions.create({ model, messages }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(OpenAI.APIError);
    expect(error).toMatchObject({ status, code, type: 'invalid_request_error' });
    expect((error as Error).message).toMatch(/Valid|GET \/v1\/models/);
    expect(await attempts()).toEqual([]);
  });
});

async function collect(stream: AsyncIterable<OpenAI.ChatCompletionChunk>) {
  let text = '';
  const usages: OpenAI.CompletionUsage[] = [];
  for await (const piece of stream) {
    text += piece.choices[0]?.delta.content ?? '';
    if (piece.usage) usages.push(piece.usage);
  }
  return { text, usages };
}
