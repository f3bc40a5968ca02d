import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/index.ts';
import { createLog } from '../../src/log.ts';
import { Redactor } from '../../src/redactor.ts';
import { type AttemptPlan, runAttempt } from '../../src/router/attempt.ts';
import { createAgent, OpenAiBackend } from '../../src/router/backends/openai.ts';
import { HealthBook } from '../../src/router/health.ts';
import { candidate, chatRequest } from '../support/candidates.ts';
import { temporaryFolder } from '../support/folder.ts';
import { openBooks } from '../usage/books.ts';

describe('an attempt', () => {
  it('gives its place at the backend back also when the ledger cannot be written', async () => {
    const books = await openBooks();
    const health = new HealthBook(books.clock);
    const [config] = loadConfig({ TANDEM_HOME: temporaryFolder(), DEEPINFRA_API_KEY: 'unused' }).backends;
    if (!config) throw new Error('no backend');
    const plan: AttemptPlan = {
      backend: new OpenAiBackend(config, createAgent(), createLog('silent', new Redactor())),
      candidate: candidate(config.id),
      request: chatRequest,
      ordinal: 1,
      inputTokens: 1,
      score: 0,
      firstByteMs: 1_000,
      leftMs: 1_000,
      startedAt: performance.now(),
      signal: new AbortController().signal,
      begun: null,
      sink: undefined,
    };
    await books.database.close();
    await expect(runAttempt({ ledger: books.ledger, health }, plan)).rejects.toThrow();
    expect(health.underWay(config.id)).toBe(0);
  });
});
