import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadConfig } from '../../src/config/index.ts';
import { createLog } from '../../src/log.ts';
import { usdToNano } from '../../src/money.ts';
import { Redactor } from '../../src/redactor.ts';
import { createAgent, OpenAiBackend } from '../../src/router/backends/openai.ts';
import { hashShare } from '../../src/router/hash-share.ts';
import { HealthBook } from '../../src/router/health.ts';
import { type FinishedAnswer, type ShadowParts, ShadowRunner } from '../../src/router/shadow.ts';
import type { Candidate, ModelRequest } from '../../src/router/types.ts';
import { recordComparison } from '../../src/usage/comparisons.ts';
import { candidate, chatRequest, emptyDecision } from '../support/candidates.ts';
import { ManualClock } from '../support/clock.ts';
import { temporaryFolder } from '../support/folder.ts';
import { waitFor } from '../support/process.ts';
import { sendJson, sendStream, startUpstream, type Upstream, wholeStream } from '../support/upstream.ts';
import { type Books, type BooksOptions, openBooks } from '../usage/books.ts';

interface Stage extends Books {
  upstream: Upstream;
  runner: ShadowRunner;
  comparisons(): Promise<Record<string, unknown>[]>;
  attempts(): Promise<Record<string, unknown>[]>;
}

/** A runner beside a real ledger and a real server that says what the stronger model says. */
async function stage(
  options: { about?: Partial<ShadowParts>; books?: BooksOptions; handle?: Upstream['handle'] } = {},
): Promise<Stage> {
  const upstream = await startUpstream(
    options.handle ?? (({ response }) => sendStream(response, wholeStream('The answer is ', '42'))),
  );
  const home = temporaryFolder();
  writeFileSync(
    join(home, 'tandem.yaml'),
    JSON.stringify({ serverless: [{ id: 'p', baseUrl: upstream.url, models: [{ id: 'strong', tier: 'large' }] }] }),
  );
  const books = await openBooks(options.books);
  const agent = createAgent();
  const log = createLog('silent', new Redactor());
  const backends = loadConfig({ TANDEM_HOME: home }).backends.map((config) => new OpenAiBackend(config, agent, log));
  const runner = new ShadowRunner({
    share: 1,
    budgetNanoUsdPerDay: usdToNano(0.5),
    backends: { list: () => backends },
    health: new HealthBook(books.clock),
    ledger: books.ledger,
    scorer: 'scorer-1',
    record: (comparison) => recordComparison(books.database, comparison),
    clock: books.clock,
    log,
    ...options.about,
  });
  onTestFinished(async () => {
    await runner.close();
    await agent.destroy();
    await books.ledger.drain();
  });
  return {
    ...books,
    upstream,
    runner,
    comparisons: () => books.database.read.selectFrom('comparison').selectAll().execute(),
    attempts: () => books.database.read.selectFrom('attempt').selectAll().execute(),
  };
}

const cheap: Candidate = { ...candidate('p', 'cheap'), verdict: 'chosen' };
const strong: Candidate = {
  ...candidate('p', 'strong'),
  tier: 'large',
  worstCostNanoUsd: usdToNano(0.01),
  price: {
    inputNanoUsdPerMTok: usdToNano(1),
    cachedInputNanoUsdPerMTok: usdToNano(1),
    outputNanoUsdPerMTok: usdToNano(5),
    source: 'config',
    asOf: null,
  },
};

function answer(about: Partial<FinishedAnswer> = {}, candidates: Candidate[] = [cheap, strong]): FinishedAnswer {
  return {
    requestId: 'request',
    text: 'It is 42.',
    finishReason: 'stop',
    decision: {
      ...emptyDecision,
      complexity: {
        score: 0.25,
        suffices: { small: 0.1, large: 0.9 },
        predicted: { small: 0.75, large: 0.99 },
        features: [],
      },
      candidates,
    },
    attempts: [report(cheap)],
    ...about,
  };
}

function report({ backend, kind, model }: Candidate): FinishedAnswer['attempts'][number] {
  const cost = { usage: null, usageSource: null, costNanoUsd: 0, costSource: null };
  return { backend, kind, model, ...cost, latencyMs: 1, firstTokenMs: 1, error: null, sent: true };
}

const request: ModelRequest = {
  ...chatRequest,
  id: 'request',
  bodyFor: ({ model }) => JSON.stringify({ model, messages: chatRequest.messages, stream: true }),
};

describe('a shadow comparison', () => {
  it('asks the strongest model the same, and writes down how much both agree', async () => {
    const { runner, upstream, comparisons, attempts } = await stage();
    runner.consider(request, answer());
    await waitFor(async () => (await comparisons()).length === 1, 'the comparison');
    expect(upstream.requests.map(({ body }) => body)).toEqual([request.bodyFor(strong, null)]);
    expect(await comparisons()).toMatchObject([
      {
        request_id: 'request',
        cheap_model: 'cheap',
        cheap_tier: 'small',
        strong_model: 'strong',
        strong_tier: 'large',
        agreement: 1,
        judged_by: 'number',
        cost_nano_usd: 11 * 1_000 + 3 * 5_000,
        scorer: 'scorer-1',
        score: 0.25,
        suffices_small: 750,
        suffices_large: 990,
      },
    ]);
    expect(await attempts()).toMatchObject([
      { request_id: 'request', ordinal: 2, principal_id: 'shadow', status: 'ok', model: 'strong', suffices_small: 750 },
    ]);
  });

  it('counts in the budgets for all and in cost reports, apart from the requests', async () => {
    const { runner, comparisons, reports, clock } = await stage();
    runner.consider(request, answer());
    await waitFor(async () => (await comparisons()).length === 1, 'the comparison');
    const report = await reports.report(0, clock.nowMs() + 1, 'principal');
    expect(report).toMatchObject({
      requests: 0,
      answered: 0,
      errorRate: 0,
      serverlessShare: null,
      tokenCostNanoUsd: 26_000,
      latency: { p50Ms: null },
      shadow: { attempts: 1, costNanoUsd: 26_000, unknownCost: 0 },
    });
    expect(report.budget.day.tokensNanoUsd).toBe(26_000);
    expect(report.rows).toMatchObject([{ key: 'shadow', attempts: 1 }]);
  });

  it.each<[string, Partial<ModelRequest>, Partial<FinishedAnswer>, Candidate[]?]>([
    ['a model was named', { model: 'cheap' }, {}],
    ['a backend was named', { backend: 'p' }, {}],
    ['only dedicated backends may see it', { backend: 'dedicated' }, {}],
    ['it asked for vectors', { operation: 'embeddings' }, {}],
    ['it asked for several answers', { choices: 2 }, {}],
    ['it was cut', {}, { finishReason: 'length' }],
    ['it called a tool', {}, { finishReason: 'tool_calls' }],
    ['it has no text', {}, { text: '' }],
    ['it came from two attempts', {}, { attempts: [report(strong), report(cheap)] }],
    ['nobody is stronger', {}, {}, [cheap, { ...strong, tier: 'small' }]],
    ['the strongest gave it', {}, { attempts: [report(strong)] }],
    ['the stronger one is excluded', {}, {}, [cheap, { ...strong, verdict: 'excluded' }]],
    ['the stronger one is unhealthy', {}, {}, [cheap, { ...strong, verdict: 'last_resort' }]],
    ['nobody knows what the stronger one costs', {}, {}, [cheap, { ...strong, worstCostNanoUsd: null }]],
  ])('is not made when %s', async (_why, asked, given, candidates) => {
    const { runner, upstream, attempts } = await stage();
    runner.consider({ ...request, ...asked }, answer(given, candidates));
    await runner.close();
    expect(upstream.requests).toEqual([]);
    expect(await attempts()).toEqual([]);
  });

  it('is made for a share of the requests, the same ones every time', async () => {
    const ids = Array.from({ length: 2_000 }, (_, index) => `request-${index}`);
    const chosen = ids.filter((id) => hashShare(`shadow ${id}`) < 0.1);
    expect(chosen.length).toBeGreaterThan(140);
    expect(chosen.length).toBeLessThan(260);
    const { runner, upstream } = await stage({ about: { share: 0.1 } });
    const [first = ''] = chosen;
    const left = ids.find((id) => !chosen.includes(id)) ?? '';
    for (const requestId of [left, first]) runner.consider({ ...request, id: requestId }, answer({ requestId }));
    await waitFor(() => upstream.requests.length > 0, 'the call');
    await runner.close();
    expect(upstream.requests).toHaveLength(1);
  });

  it('is off unless a share is given', () => {
    const { routing } = loadConfig({ TANDEM_HOME: temporaryFolder() });
    expect(routing.shadow).toEqual({ share: 0, budgetUsdPerDay: 0.5 });
  });

  it('stays within its own budget, and rests for five minutes when that is used up', async () => {
    const { runner, upstream, comparisons, clock } = await stage({
      about: { budgetNanoUsdPerDay: usdToNano(0.010_001) },
      books: { clock: new ManualClock('2026-11-23T23:57:00Z') },
    });
    const consider = async (requestId: string) => {
      runner.consider({ ...request, id: requestId }, answer({ requestId }));
      await new Promise((resolve) => setTimeout(resolve, 50));
    };
    await consider('one');
    await waitFor(async () => (await comparisons()).length === 1, 'the first');
    await consider('two');
    expect(upstream.requests).toHaveLength(1);
    clock.advance(4 * 60_000);
    await consider('another day, and still at rest');
    expect(upstream.requests).toHaveLength(1);
    clock.advance(60_000);
    await consider('three');
    await waitFor(async () => (await comparisons()).length === 2, 'the next day');
  });

  it('is not made when the budget for all is used up', async () => {
    const { runner, upstream, attempts } = await stage({ books: { dailyUsd: 0.001 } });
    runner.consider(request, answer());
    await runner.close();
    expect(upstream.requests).toEqual([]);
    expect(await attempts()).toEqual([]);
  });

  it('is one of two at most; what comes meanwhile is let go', async () => {
    const held: (() => void)[] = [];
    const { runner, upstream, comparisons } = await stage({
      handle: ({ response }) => void held.push(() => sendStream(response, wholeStream('42'))),
    });
    for (const id of ['one', 'two', 'three']) runner.consider({ ...request, id }, answer({ requestId: id }));
    await waitFor(() => held.length === 2, 'two calls');
    for (const release of held) release();
    await waitFor(async () => (await comparisons()).length === 2, 'two comparisons');
    expect(upstream.requests).toHaveLength(2);
  });

  it('is dropped at a stop, with its row closed', async () => {
    const { runner, upstream, comparisons, attempts, reports } = await stage({ handle: () => undefined });
    runner.consider(request, answer());
    await waitFor(() => upstream.requests.length === 1, 'the call');
    await runner.close();
    expect(await attempts()).toMatchObject([{ status: 'cancelled' }]);
    expect((await reports.budget()).day.reservedNanoUsd).toBe(0);
    expect(await comparisons()).toEqual([]);
    runner.consider({ ...request, id: 'later' }, answer({ requestId: 'later' }));
    expect(await attempts()).toHaveLength(1);
  });

  it('is not written when the stronger model fails, and its failure is', async () => {
    const { runner, comparisons, attempts } = await stage({
      handle: ({ response }) => sendJson(response, 500, { error: { message: 'no' } }),
    });
    runner.consider(request, answer());
    await waitFor(async () => (await attempts()).some(({ status }) => status === 'error'), 'the failure');
    await runner.close();
    expect(await comparisons()).toEqual([]);
  });
});
