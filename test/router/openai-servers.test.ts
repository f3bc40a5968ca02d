import { LLMock } from '@copilotkit/aimock';
import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { startSandbox } from '../../src/sandbox/index.ts';
import { describeOpenAiServer } from '../contracts/openai-server.ts';

describeOpenAiServer('the sandbox', async () => {
  const sandbox = await startSandbox({ clock: systemClock, firstTokenMs: 0, millisecondsPerPiece: 2 });
  return {
    baseUrl: `${sandbox.url}/serverless/v1`,
    key: sandbox.environment.SANDBOX_KEY ?? '',
    model: 'small-8b',
    prompt: 'What is the capital of France?',
    says: 'Paris',
    close: () => sandbox.close(),
  };
});

describeOpenAiServer('an independent mock of OpenAI (aimock)', async () => {
  const mock = new LLMock({ port: 0, latency: 2, chunkSize: 4 });
  mock.onMessage('What is the capital of France?', { content: 'It is Paris, as far as this mock knows.' });
  await mock.start();
  return {
    baseUrl: `${mock.url}/v1`,
    key: 'mock',
    model: 'gpt-4o',
    prompt: 'What is the capital of France?',
    says: 'Paris',
    close: async () => {
      await mock.stop();
    },
  };
}, [{ reason: 'it takes any key', tests: ['refuses a wrong key as unauthorized'] }]);

describe('the sandbox as the openai client sees it', () => {
  it('answers whole and streamed, alike, with usage', async () => {
    const sandbox = await startSandbox({ clock: systemClock, firstTokenMs: 0, millisecondsPerPiece: 0 });
    const client = new OpenAI({
      baseURL: `${sandbox.url}/serverless/v1`,
      apiKey: sandbox.environment.SANDBOX_KEY ?? '',
      maxRetries: 0,
    });
    const messages = [{ role: 'user' as const, content: 'What is the capital of France?' }];
    const whole = await client.chat.completions.create({ model: 'small-8b', messages });
    const stream = await client.chat.completions.create({
      model: 'small-8b',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let usage: unknown;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(whole.choices[0]?.message.content);
    expect(usage).toEqual(whole.usage);
    expect((await client.models.list()).data.map(({ id }) => id)).toContain('medium-32b');
    await expect(client.chat.completions.create({ model: 'error-503', messages })).rejects.toMatchObject({
      status: 503,
    });
    await expect(client.chat.completions.create({ model: 'rate-limited', messages })).rejects.toMatchObject({
      status: 429,
      code: 'rate_limit_exceeded',
    });
    await sandbox.close();
  });
});
