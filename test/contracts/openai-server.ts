import { describe, expect, it } from 'vitest';
import type { BackendConfig } from '../../src/config/index.ts';
import { AppError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { Redactor } from '../../src/redactor.ts';
import { createAgent, OpenAiBackend } from '../../src/router/backends/openai.ts';
import type { ChatEvent } from '../../src/router/types.ts';

export interface ServerUnderTest {
  baseUrl: string;
  key: string;
  /** A model that answers, and a part of what it says to `prompt`. */
  model: string;
  prompt: string;
  says: string;
  close(): Promise<void>;
}

interface Skip {
  reason: string;
  tests: string[];
}

/** What any OpenAI-compatible server must give our backend. One suite, run on every server there is. */
export function describeOpenAiServer(name: string, start: () => Promise<ServerUnderTest>, skips: Skip[] = []): void {
  const test = (title: string, work: (server: ServerUnderTest) => Promise<void>) => {
    const skip = skips.find(({ tests }) => tests.includes(title));
    it.skipIf(skip !== undefined)(skip ? `${title} (not on ${name}: ${skip.reason})` : title, async () => {
      const server = await start();
      try {
        await work(server);
      } finally {
        await server.close();
      }
    });
  };

  describe(`our backend against ${name}`, () => {
    test('streams the text, the finish reason and the usage', async (server) => {
      const events = await answer(server);
      const text = events.map((event) => (event.type === 'text' ? event.text : '')).join('');
      expect(text).toContain(server.says);
      expect(events.filter(({ type }) => type === 'finish')).toEqual([{ type: 'finish', reason: 'stop' }]);
      const [usage] = events.filter((event) => event.type === 'usage');
      expect(usage?.usage?.inputTokens).toBeGreaterThan(0);
      expect(usage?.usage?.outputTokens).toBeGreaterThan(0);
    });

    test('lists its models', async (server) => {
      const models = await backendFor(server).listModels(AbortSignal.timeout(5_000));
      expect(models.length).toBeGreaterThan(0);
    });

    test('refuses a wrong key as unauthorized', async (server) => {
      const error = await answer({ ...server, key: 'not-the-key' }).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(AppError);
      expect(error).toMatchObject({ code: 'unauthorized' });
    });

    test('stops when the caller aborts', async (server) => {
      const controller = new AbortController();
      const call = backendFor(server).chat(callFor(server), 5_000, controller.signal);
      await call.next();
      controller.abort();
      await expect(drain(call)).rejects.toMatchObject({ code: 'cancelled' });
    });
  });
}

function backendFor(server: ServerUnderTest): OpenAiBackend {
  const config: BackendConfig = {
    id: 'under-test',
    kind: 'serverless',
    baseUrl: server.baseUrl,
    preset: null,
    apiKey: { origin: 'TEST_KEY', read: async () => server.key },
    unusable: null,
    timeoutMs: 5_000,
    idleTimeoutMs: 5_000,
    models: null,
  };
  return new OpenAiBackend(config, createAgent(), createLog('silent', new Redactor()));
}

function callFor({ model, prompt }: ServerUnderTest) {
  return { model, messages: [{ role: 'user' as const, content: prompt }], maxTokens: 500 };
}

async function answer(server: ServerUnderTest): Promise<ChatEvent[]> {
  return drain(backendFor(server).chat(callFor(server), 5_000, new AbortController().signal));
}

async function drain(stream: AsyncIterable<ChatEvent>): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}
