import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embed, generateText, jsonSchema, streamText, tool } from 'ai';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { type Gateway, readEvents, startGateway } from '../support/gateway.ts';
import { chunk, events, role, startUpstream } from '../support/upstream.ts';

const prompt = 'What is the capital of France?';

function aiSdk({ origin }: Gateway) {
  return createOpenAICompatible({ name: 'tandem', baseURL: `${origin}/v1`, apiKey: 'unused', includeUsage: true });
}

describe('the gateway as the AI SDK sees it', () => {
  it('generates a text', async () => {
    const gateway = await startGateway();
    const { text, finishReason, usage } = await generateText({ model: aiSdk(gateway)('auto'), prompt, maxRetries: 0 });
    expect(text).toContain('Paris');
    expect(finishReason).toBe('stop');
    expect((await gateway.settled(1))[0]?.output_tokens).toBe(usage.outputTokens);
  });

  it('streams a text', async () => {
    const gateway = await startGateway();
    const result = streamText({ model: aiSdk(gateway)('auto:performance'), prompt, maxRetries: 0 });
    let text = '';
    for await (const piece of result.textStream) text += piece;
    expect(text).toContain('Paris');
    expect(await result.finishReason).toBe('stop');
    expect((await gateway.settled(1))[0]?.output_tokens).toBe((await result.usage).outputTokens);
  });

  it('embeds', async () => {
    const gateway = await startGateway();
    const model = aiSdk(gateway).embeddingModel('small-8b');
    const { embedding } = await embed({ model, value: 'a text', maxRetries: 0 });
    expect(embedding).toHaveLength(8);
  });

  it('gets a tool call that is streamed in pieces', async () => {
    const call = (fields: object) => chunk({ tool_calls: [{ index: 0, ...fields }] });
    const upstream = await startUpstream(({ response }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(
        events(
          role,
          call({ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '' } }),
          call({ function: { arguments: '{"city":' } }),
          call({ function: { arguments: '"Zürich"}' } }),
          chunk({}, 'tool_calls'),
          '[DONE]',
        ),
      );
    });
    const gateway = await startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }] });
    const city = jsonSchema<{ city: string }>({ type: 'object', properties: { city: { type: 'string' } } });
    const result = streamText({
      model: aiSdk(gateway)('one/m'),
      prompt,
      tools: { weather: tool({ description: 'Tells the weather.', inputSchema: city }) },
      maxRetries: 0,
    });
    const [toolCall] = await result.toolCalls;
    expect(toolCall).toMatchObject({ toolName: 'weather', input: { city: 'Zürich' } });
  });

  it('sees an error, and no finish, when a stream breaks off', async () => {
    const gateway = await startGateway();
    const failures: unknown[] = [];
    const model = aiSdk(gateway)('sandbox-serverless/cut-stream');
    const result = streamText({ model, prompt, maxRetries: 0, onError: ({ error }) => void failures.push(error) });
    const parts: { type: string; finishReason?: string }[] = [];
    for await (const part of result.fullStream) parts.push(part);
    expect(failures.length).toBeGreaterThan(0);
    expect(parts.some(({ type }) => type === 'error')).toBe(true);
    expect(parts.some(({ finishReason }) => finishReason === 'stop')).toBe(false);
  });
});

describe('the gateway as curl sees it', () => {
  const json = ['-sS', '--fail-with-body', '-H', 'content-type: application/json'];

  it('answers JSON', async () => {
    const { origin } = await startGateway();
    const body = JSON.stringify({ model: 'auto', messages: [{ role: 'user', content: prompt }] });
    const { stdout } = await execa('curl', [...json, '-d', body, `${origin}/v1/chat/completions`]);
    expect(JSON.parse(stdout).choices[0].message.content).toContain('Paris');
  });

  it('streams, and the trailer says what it cost', async () => {
    const { origin, settled } = await startGateway();
    const body = JSON.stringify({ model: 'auto', stream: true, messages: [{ role: 'user', content: prompt }] });
    const { stdout } = await execa('curl', [...json, '-N', '-i', '-d', body, `${origin}/v1/chat/completions`]);
    expect(stdout).toMatch(/^HTTP\/1.1 200/);
    expect(stdout).toMatch(/content-type: text\/event-stream/i);
    const { text, done } = readEvents(stdout.slice(stdout.indexOf('data:')).replace(/\r?\nx-tandem-cost.*/s, ''));
    expect(text).toContain('Paris');
    expect(done).toBe(true);
    const [row] = await settled(1);
    const [, usd] = /x-tandem-cost-usd: (\S+)\s*$/.exec(stdout) ?? [];
    expect(Number(usd)).toBeCloseTo((row?.cost_nano_usd ?? -1) / 1e9, 9);
  });

  it('speaks HTTP/1.0 too', async () => {
    const { origin } = await startGateway();
    const body = JSON.stringify({ model: 'auto', stream: true, messages: [{ role: 'user', content: prompt }] });
    const { stdout } = await execa('curl', [...json, '-0', '-N', '-d', body, `${origin}/v1/chat/completions`]);
    expect(readEvents(stdout).done).toBe(true);
  });
});
