import { describe, expect, it } from 'vitest';
import type { BackendConfig } from '../../src/config/index.ts';
import { AppError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { Redactor } from '../../src/redactor.ts';
import { createAgent, OpenAiBackend } from '../../src/router/backends/openai.ts';
import type { Piece, Sink } from '../../src/router/types.ts';

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
      const pieces = await answer(server, true);
      expect(pieces.map(({ text }) => text).join('')).toContain(server.says);
      expect(pieces.flatMap(({ finishReason }) => finishReason ?? [])).toEqual(['stop']);
      const [usage] = pieces.flatMap((piece) => piece.usage?.usage ?? []);
      expect(usage?.inputTokens).toBeGreaterThan(0);
      expect(usage?.outputTokens).toBeGreaterThan(0);
    });

    test('hands over the bytes of the stream as they came, without usage and end mark', async (server) => {
      const pieces = await answer(server, true);
      const bytes = Buffer.concat(pieces.map((piece) => piece.bytes)).toString();
      const events = bytes.split('\n\n').filter((event) => event.startsWith('data: '));
      const said = events.map((event) => JSON.parse(event.slice(6)).choices[0]?.delta?.content ?? '').join('');
      expect(said).toContain(server.says);
      expect(bytes).not.toContain('[DONE]');
    });

    test('answers whole when no stream is asked for', async (server) => {
      const [piece] = await answer(server, false);
      expect(JSON.parse(piece?.bytes.toString() ?? '').choices[0].message.content).toContain(server.says);
      expect(piece?.usage?.usage?.outputTokens).toBeGreaterThan(0);
    });

    test('lists its models', async (server) => {
      const models = await backendFor(server).listModels(AbortSignal.timeout(5_000));
      expect(models.length).toBeGreaterThan(0);
    });

    test('refuses a wrong key as unauthorized', async (server) => {
      const error = await answer({ ...server, key: 'not-the-key' }, true).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(AppError);
      expect(error).toMatchObject({ code: 'unauthorized' });
    });

    test('stops when the caller aborts', async (server) => {
      const controller = new AbortController();
      const call = send(server, true, controller.signal, () => {
        controller.abort();
        return undefined;
      });
      await expect(call).rejects.toMatchObject({ code: 'cancelled' });
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
    wholeTimeoutMs: 5_000,
    firstTokenTimeoutMs: 5_000,
    maxRetries: 0,
    maxConcurrentRequests: null,
    prefill: null,
    idleTimeoutMs: 5_000,
    models: null,
  };
  return new OpenAiBackend(config, createAgent(), createLog('silent', new Redactor()));
}

async function send(server: ServerUnderTest, stream: boolean, signal: AbortSignal, sink: Sink): Promise<void> {
  const body = JSON.stringify({
    model: server.model,
    messages: [{ role: 'user', content: server.prompt }],
    max_tokens: 500,
    stream,
    ...(stream && { stream_options: { include_usage: true } }),
  });
  const limits = { firstByteMs: 5_000, wholeMs: 10_000 };
  await backendFor(server).send({ operation: 'chat', body, stream, choices: 1 }, limits, signal, sink);
}

async function answer(server: ServerUnderTest, stream: boolean): Promise<Piece[]> {
  const pieces: Piece[] = [];
  await send(server, stream, new AbortController().signal, (piece) => {
    pieces.push(piece);
    return undefined;
  });
  return pieces;
}
