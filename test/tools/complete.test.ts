import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { AttemptTable } from '../../src/usage/tables.ts';
import { ManualClock } from '../support/clock.ts';
import { startWorld, type World, type WorldOptions } from '../support/world.ts';
import { type BackendYaml, yamlFor } from '../support/yaml.ts';

const good: BackendYaml = { id: 'good', models: ['fine-8b'] };
/** Nothing listens there. */
const nowhere = 'http://127.0.0.1:9/v1';

function worldOf(
  backends: BackendYaml[],
  rest: Record<string, unknown> = {},
  options: WorldOptions = {},
): Promise<World> {
  return startWorld({ ...options, yaml: (sandbox) => yamlFor(sandbox, backends, rest) });
}

function attempts(world: World): Promise<AttemptTable[]> {
  return world.readLedger((database) => database.read.selectFrom('attempt').selectAll().orderBy('ordinal').execute());
}

function reserved(world: World): Promise<number[]> {
  return world.readLedger(async ({ read }) =>
    (await read.selectFrom('budget_period').select('reserved_nano_usd').execute()).map((row) => row.reserved_nano_usd),
  );
}

describe('complete', () => {
  it('answers a simple prompt from the cheap serverless model and says what it cost', async () => {
    const { call } = await startWorld();
    const { result, text } = await call('complete', { prompt: 'What is the capital of France?' });
    expect(result).toMatchObject({
      backend: 'sandbox-serverless',
      model: 'small-8b',
      finish_reason: 'stop',
      cost_basis: 'config',
    });
    expect(result.cost_usd).toBeCloseTo((result.input_tokens * 0.05 + result.output_tokens * 0.08) / 1e6, 9);
    expect(text).toContain(result.text);
    expect(text).toContain(result.why);
  });

  it('leaves one settled row that agrees with the answer', async () => {
    const world = await startWorld();
    const { result } = await world.call('complete', { prompt: 'Hello' });
    const rows = await attempts(world);
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({
      request_id: result.request_id,
      status: 'ok',
      backend: result.backend,
      model: result.model,
      input_tokens: result.input_tokens,
      output_tokens: result.output_tokens,
      usage_source: 'provider',
      cost_nano_usd: Math.round(result.cost_usd * 1e9),
      finish_reason: 'stop',
    });
    expect(await reserved(world)).toEqual([0, 0]);
  });

  it('costs nothing per request on a dedicated backend, and says on what basis', async () => {
    const { call } = await startWorld();
    const { result } = await call('complete', { prompt: 'Hello', backend: 'dedicated' });
    expect(result).toMatchObject({ backend: 'sandbox-box', cost_usd: 0, cost_basis: 'instance_time' });
  });

  it('passes a conversation, the system prompt and the limits on to the model', async () => {
    const world = await startWorld();
    const messages = [
      { role: 'user', content: 'One' },
      { role: 'assistant', content: 'Two' },
      { role: 'user', content: 'Three' },
    ];
    const { result } = await world.call('complete', { messages, system: 'Be brief.', max_tokens: 2, temperature: 0.3 });
    expect(result).toMatchObject({ finish_reason: 'length', output_tokens: 2 });
    expect(world.sandbox.serverless.calls[0]?.body).toMatchObject({
      messages: [{ role: 'system', content: 'Be brief.' }, ...messages],
      max_tokens: 2,
      temperature: 0.3,
    });
  });

  it('takes a cost that the provider reports over any table', async () => {
    const { call } = await worldOf([{ id: 'p', models: ['reported-cost'] }]);
    const { result } = await call('complete', { prompt: 'Hello there' });
    expect(result.cost_basis).toBe('provider');
    expect(result.cost_usd).toBeCloseTo((result.input_tokens + result.output_tokens) * 1e-6, 9);
  });

  it('says null, never 0, when no price is known', async () => {
    const world = await worldOf([{ id: 'p', models: ['fine-8b'], price: false }]);
    const { result, text } = await world.call('complete', { prompt: 'Hello' });
    expect(result).toMatchObject({ cost_usd: null, cost_basis: 'unknown' });
    expect(text).toContain('unknown');
    const report = await world.call('cost_report');
    expect(report.result.unknown_cost).toEqual([{ backend: 'p', model: 'fine-8b', attempts: 1 }]);
    expect(report.text).toContain('Cost unknown = tokens unknown + GPU time $0.00; no answer of known cost');
    expect(report.text).toContain('Unknown cost, in no sum: 1 attempts on p/fine-8b');
  });

  it.each(['no-usage', 'negative-usage', 'zero-usage', 'text-usage'])(
    'estimates the tokens, and says so, when the usage cannot be true (%s)',
    async (model) => {
      const world = await worldOf([{ id: 'p', models: [model] }]);
      const { result, text } = await world.call('complete', { prompt: 'Tell me about tandem bicycles.' });
      expect(result.tokens_estimated).toBe(true);
      expect(result.output_tokens).toBeGreaterThan(5);
      expect(result.cost_usd).toBeGreaterThan(0);
      expect(text).toContain('(estimated)');
      expect(await attempts(world)).toMatchObject([{ status: 'ok', usage_source: 'estimate' }]);
    },
  );

  it.each(['not-streaming', 'no-done', 'length-limit', 'echo'])(
    'understands a server that answers its own way (%s)',
    async (model) => {
      const { call } = await worldOf([{ id: 'p', models: [model] }]);
      const { result, isError } = await call('complete', { prompt: 'A prompt of several words.' });
      expect(isError).toBe(false);
      expect(result.text).toContain('A prompt of several words.');
    },
  );

  describe('bad input', () => {
    it.each([
      ['an unknown argument', { prompt: 'x', promt: 'y' }, /unknown argument "promt" \(allowed: prompt, messages/],
      ['an empty prompt', { prompt: '  \n' }, /The prompt is empty/],
      ['no prompt', {}, /There is no prompt/],
      ['quality and priority', { prompt: 'x', quality: 0.9, priority: 'balanced' }, /Both quality and priority/],
      ['prompt and messages', { prompt: 'x', messages: [{ role: 'user', content: 'y' }] }, /Both prompt and messages/],
      ['messages without a user', { messages: [{ role: 'assistant', content: 'y' }] }, /The prompt is empty/],
      ['a wrong type', { prompt: 5 }, /prompt: Invalid input: expected string/],
      ['a priority that does not exist', { prompt: 'x', priority: 'cheap' }, /priority: .*"low_cost"\|"balanced"/],
      [
        'an unknown backend',
        { prompt: 'x', backend: 'nope' },
        /no backend "nope".*Valid: auto, serverless, dedicated, sandbox-serverless, sandbox-box/,
      ],
      [
        'an unknown model',
        { prompt: 'x', model: 'gpt-17' },
        /offers the model "gpt-17".*Valid: sandbox-serverless\/small-8b, sandbox-serverless\/medium-32b, sandbox-box\/large-70b/,
      ],
      [
        'a model that the backend lacks',
        { prompt: 'x', backend: 'dedicated', model: 'small-8b' },
        /under "dedicated" offers the model "small-8b".*Valid: sandbox-box\/large-70b/,
      ],
      ['no output', { prompt: 'x', max_tokens: 0 }, /max_tokens: /],
    ])('refuses %s, says what is valid, and writes no row', async (_what, input, message) => {
      const world = await startWorld();
      const { isError, text } = await world.call('complete', input);
      expect(isError).toBe(true);
      expect(text).toMatch(message);
      expect(await attempts(world)).toEqual([]);
    });

    it('names the limit when a prompt is larger than every context window', async () => {
      const world = await startWorld();
      const { isError, text } = await world.call('complete', { prompt: 'word '.repeat(60_000) });
      expect(isError).toBe(true);
      expect(text).toMatch(/^context_too_long: The prompt fits into no context window\./);
      expect(text).toContain('sandbox-box/large-70b');
      expect(text).toContain('32768');
      expect(await attempts(world)).toEqual([]);
    });

    it('sends a prompt that is too large for one window to a larger one', async () => {
      const { call } = await worldOf([
        { id: 'narrow', models: ['fine-8b'], contextWindow: 1_000 },
        { id: 'wide', models: ['fine-9b'], contextWindow: 100_000, price: [5, 5] },
      ]);
      const { result } = await call('complete', { prompt: 'word '.repeat(2_000) });
      expect(result.backend).toBe('wide');
    });

    it('says what to set when no backend is configured', async () => {
      const { call } = await startWorld({ yaml: () => '{}' });
      const { isError, text } = await call('complete', { prompt: 'x' });
      expect(isError).toBe(true);
      expect(text).toMatch(/not_configured: No model backend is configured\. Set a provider key/);
    });

    it('says which variable is missing when the only backend has no key', async () => {
      const { call } = await worldOf([{ ...good, keyEnv: 'NOT_SET' }]);
      const { text } = await call('complete', { prompt: 'x' });
      expect(text).toMatch(/no_candidate: .*NOT_SET/);
    });
  });

  describe('bad luck', () => {
    it.each([
      ['hang-up', /could not be reached/, 'asked twice'],
      ['error-500', /HTTP 500/, 'asked twice'],
      ['error-502-html', /HTTP 502: an HTML page titled "502 Bad Gateway"/, 'asked twice'],
      ['error-503', /HTTP 503/, 'asked twice'],
      ['forbidden-html', /HTTP 403: an HTML page titled "Access denied"/],
      ['wrong-key', /refused the key \(HTTP 401\)/],
      ['rate-limited', /HTTP 429/],
      ['rate-limited-silent', /HTTP 429/],
      ['out-of-credit', /HTTP 429/],
      ['bad-json', /not an answer of this kind/],
      ['bad-chunk', /not an answer of this kind/],
      ['cut-stream', /broke off in the middle/, 'asked twice'],
      ['no-finish', /broke off in the middle/, 'asked twice'],
      ['error-in-stream', /The engine died/, 'asked twice'],
      ['bad-request', /HTTP 400: Unsupported parameter/],
      ['no-such-model', /HTTP 404/],
    ])('falls back when the first backend does this: %s', async (model, said, repeated?: string) => {
      const world = await worldOf([{ id: 'broken', models: [model], price: [0.1, 0.1] }, good]);
      const { result, isError } = await world.call('complete', { prompt: 'Hello' });
      expect(isError).toBe(false);
      expect(result).toMatchObject({ backend: 'good', finish_reason: 'stop' });
      expect(result.text).not.toContain('{');
      expect(result.attempts).toHaveLength(repeated ? 3 : 2);
      expect(result.attempts[0].error).toMatch(said);
      expect(result.why).toMatch(/^Fallback to serverless good\/fine-8b: broken/);
      expect((await attempts(world)).map(({ status }) => status)).toEqual([
        'error',
        ...(repeated ? ['error'] : []),
        'ok',
      ]);
      expect(await reserved(world)).toEqual([0, 0]);
    });

    it('falls back when nobody listens there', async () => {
      const world = await worldOf([{ id: 'gone', models: ['a-8b'], baseUrl: nowhere, price: [0.1, 0.1] }, good]);
      const { result } = await world.call('complete', { prompt: 'Hello' });
      expect(result.backend).toBe('good');
      expect(result.attempts[0].error).toContain('connection refused');
      expect((await attempts(world))[0]).toMatchObject({ status: 'error', cost_nano_usd: 0 });
    });

    it('abandons a silent backend at its time-out', async () => {
      const { call } = await worldOf([{ id: 'mute', models: ['silent'], timeoutMs: 150, price: [0.1, 0.1] }, good]);
      const { result } = await call('complete', { prompt: 'Hello' });
      expect(result.backend).toBe('good');
      expect(result.attempts[0].error).toContain('did not begin to answer within 150 ms');
      expect(result.latency_ms).toBeLessThan(2_000);
    });

    it('notices a stream that stalls', async () => {
      const { call } = await worldOf([{ id: 'stuck', models: ['stall'], idleTimeoutMs: 150, price: [0.1, 0.1] }, good]);
      const { result } = await call('complete', { prompt: 'Hello' });
      expect(result.backend).toBe('good');
      expect(result.attempts[0].error).toContain('stopped sending within 150 ms');
    });

    it('cuts off an upstream that does not end', async () => {
      const { call } = await worldOf([{ id: 'chatty', models: ['endless'], price: [0.1, 0.1] }, good]);
      const { result } = await call('complete', { prompt: 'Hello' });
      expect(result.backend).toBe('good');
      expect(result.attempts[0].error).toContain('did not stop sending');
    });

    it('charges what a broken stream delivered, as an estimate', async () => {
      const world = await worldOf([
        { id: 'broken', models: ['cut-stream'], price: [1, 1] },
        { ...good, price: [2, 2] },
      ]);
      await world.call('complete', { prompt: 'Hello' });
      const [cut] = await attempts(world);
      expect(cut).toMatchObject({ status: 'error', error_code: 'upstream_cut', usage_source: 'estimate' });
      expect(cut?.cost_nano_usd).toBeGreaterThan(0);
    });

    it('does not hand a refused prompt to the next provider', async () => {
      const world = await worldOf([{ id: 'strict', models: ['content-filter'], price: [0.1, 0.1] }, good]);
      const { isError, text } = await world.call('complete', { prompt: 'Hello' });
      expect(isError).toBe(true);
      expect(text).toMatch(/^content_filtered: .*flagged/);
      expect(world.sandbox.serverless.calls).toHaveLength(1);
    });

    it('goes only to larger windows after a context-length error', async () => {
      const world = await worldOf([
        { id: 'a', models: ['context-limit'], contextWindow: 8_000, price: [0.1, 0.1] },
        { id: 'b', models: ['fine-8b'], contextWindow: 8_000, price: [0.2, 0.2] },
        { id: 'c', models: ['fine-9b'], contextWindow: 32_000, price: [0.3, 0.3] },
      ]);
      const { result } = await world.call('complete', { prompt: 'Hello' });
      expect(result.backend).toBe('c');
      expect(world.sandbox.serverless.calls.map(({ model }) => model)).toEqual(['context-limit', 'fine-9b']);
    });

    it('waits out a rate limit when there is nowhere else to go', async () => {
      const world = await worldOf([{ id: 'only', models: ['fine-8b'] }]);
      world.sandbox.serverless.override = 'rate-limited';
      setTimeout(() => {
        world.sandbox.serverless.override = null;
      }, 300);
      const { result } = await world.call('complete', { prompt: 'Hello' });
      expect(result).toMatchObject({ backend: 'only', finish_reason: 'stop' });
      expect(result.attempts).toHaveLength(2);
      expect(result.latency_ms).toBeGreaterThan(950);
    });

    it('gives up after one wait and says when to try again', async () => {
      const world = await worldOf([{ id: 'only', models: ['rate-limited'] }]);
      const { isError, text } = await world.call('complete', { prompt: 'Hello' });
      expect(isError).toBe(true);
      expect(text).toMatch(/^rate_limited: Backend only .*Try again in 1 s/s);
      expect(world.sandbox.serverless.calls).toHaveLength(2);
    });

    it('names every attempt in one error when everything is down', async () => {
      const world = await worldOf([
        { id: 'gone', models: ['a-8b'], baseUrl: nowhere },
        { id: 'broken', models: ['error-503'] },
        { id: 'box', kind: 'dedicated', models: ['error-500'] },
      ]);
      const { isError, text } = await world.call('complete', { prompt: 'Hello' });
      expect(isError).toBe(true);
      expect(text).toMatch(/^all_attempts_failed: Every backend failed\./);
      expect(text).toMatch(/gone\/a-8b: .*connection refused/);
      expect(text).toMatch(/broken\/error-503: .*HTTP 503/);
      expect(text).toMatch(/box\/error-500: .*HTTP 500/);
    });

    it('names the variable of a wrong key and never its value', async () => {
      const world = await worldOf(
        [{ ...good, keyEnv: 'BAD_KEY' }],
        {},
        { environment: { BAD_KEY: 'hunter2-hunter2' } },
      );
      const { isError, text } = await world.call('complete', { prompt: 'Hello' });
      expect(isError).toBe(true);
      expect(text).toBe('unauthorized: Backend good refused the key (HTTP 401). Check the key in BAD_KEY.');
    });

    it('stops asking a backend that keeps failing, and uses it again when it has recovered', async () => {
      const clock = new ManualClock();
      const world = await startWorld({
        clock,
        yaml: (sandbox) =>
          yamlFor(sandbox, [
            { id: 'flaky', models: ['fine-8b'], price: [0.1, 0.1] },
            { id: 'steady', models: ['fine-8b'], price: [5, 5], baseUrl: `${sandbox.url}/dedicated/v1` },
          ]),
      });
      const { serverless } = world.sandbox;
      const ask = () => world.call('complete', { prompt: 'Hello', priority: 'low_cost' });
      serverless.override = 'error-500';
      for (let count = 0; count < 3; count += 1) await ask();
      const explained = await world.call('route_explain', { prompt: 'Hello', priority: 'low_cost' });
      serverless.override = null;
      clock.advance(10_000);
      const { result } = await ask();
      expect(explained.result.candidates).toMatchObject([
        { backend: 'steady', verdict: 'chosen' },
        { backend: 'flaky', verdict: 'last_resort' },
      ]);
      expect(result.backend).toBe('flaky');
    });
  });

  describe('cancelling', () => {
    it('aborts the upstream at once and settles the row as cancelled', async () => {
      const world = await worldOf([{ id: 'mute', models: ['silent'] }]);
      const controller = new AbortController();
      const running = world.call('complete', { prompt: 'Hello' }, { signal: controller.signal });
      running.catch(() => undefined);
      const [upstream] = await until(() => world.sandbox.serverless.calls);
      controller.abort();
      await expect(running).rejects.toThrow();
      await until(() => (upstream?.outcome === 'caller_left' ? [upstream] : []));
      const rows = await untilAsync(async () => (await attempts(world)).filter(({ status }) => status === 'cancelled'));
      expect(rows).toHaveLength(1);
      expect(await reserved(world)).toEqual([0, 0]);
    });
  });

  describe('budget', () => {
    it('refuses before the call when the budget is exhausted, with what is left and when it resets', async () => {
      const world = await worldOf([good], { budgets: { dailyUsd: 0.0001, timeZone: 'America/New_York' } });
      const { isError, text } = await world.call('complete', { prompt: 'Hello' });
      expect(isError).toBe(true);
      expect(text).toMatch(
        /^budget_exhausted: The daily budget of \$0\.0001 has \$0\.0001 left; good\/fine-8b may cost up to \$0\.00\d+\. Nothing was sent\./,
      );
      expect(text).toMatch(/It resets at \d{4}-\d\d-\d\d 00:00 America\/New_York/);
      expect(world.sandbox.serverless.calls).toEqual([]);
    });

    it('spends nothing at a budget of 0, but still uses a GPU that is paid for', async () => {
      const world = await worldOf([good, { id: 'box', kind: 'dedicated', models: ['fine-70b'] }], {
        budgets: { dailyUsd: 0 },
      });
      expect((await world.call('complete', { prompt: 'Hello', backend: 'serverless' })).text).toMatch(
        /^budget_exhausted/,
      );
      const { result } = await world.call('complete', { prompt: 'Hello' });
      expect(result.backend).toBe('box');
    });

    it('refuses a model of unknown price at a budget of 0', async () => {
      const { call } = await worldOf([{ ...good, price: false }], { budgets: { monthlyUsd: 0 } });
      expect((await call('complete', { prompt: 'Hello' })).text).toMatch(
        /^budget_exhausted: .*may cost an unknown amount/,
      );
    });

    it('takes the cheaper candidate when the better one does not fit', async () => {
      const { call } = await worldOf([good, { id: 'dear', models: ['fine-70b'], tier: 'large', price: [500, 500] }], {
        budgets: { dailyUsd: 0.5 },
      });
      const { result } = await call('complete', { prompt: 'Hello', priority: 'performance' });
      expect(result.backend).toBe('good');
    });
  });

  describe('secrets', () => {
    const key = 'house-key-0123456789-abcdef';
    it('are taken out of what a failing provider echoes, also when another one then answers', async () => {
      const echo = await startEcho((auth) => ({
        status: 500,
        body: JSON.stringify({ error: { message: `cannot use ${auth}` } }),
      }));
      const world = await startWorld({
        environment: { HOUSE_KEY: key },
        yaml: (sandbox) =>
          yamlFor(sandbox, [
            { id: 'leaky', models: ['a-8b'], baseUrl: echo, keyEnv: 'HOUSE_KEY', price: [0.1, 0.1] },
            good,
          ]),
      });
      const { result, text } = await world.call('complete', { prompt: 'Hello' });
      expect(result.backend).toBe('good');
      expect(result.attempts[0].error).toContain('[redacted]');
      expect(JSON.stringify(result) + text).not.toContain('house-key');
    });

    it('that are mere stand-ins leave the words of an answer alone', async () => {
      const { call } = await startWorld({
        environment: { HOUSE_KEY: 'ollama' },
        yaml: (sandbox) =>
          yamlFor(sandbox, [
            { id: 'ollama', models: ['echo'], baseUrl: `${sandbox.url}/dedicated/v1`, keyEnv: 'HOUSE_KEY' },
          ]),
      });
      const { result } = await call('complete', { prompt: 'What is ollama?' });
      expect(result).toMatchObject({ backend: 'ollama', text: 'What is ollama?' });
    });

    it('are taken out of error texts that were cut in the middle of one', async () => {
      const echo = await startEcho((auth) => ({
        status: 500,
        body: JSON.stringify({ error: { message: `${'x'.repeat(275)} ${auth}` } }),
      }));
      const { call } = await startWorld({
        environment: { HOUSE_KEY: key },
        yaml: (sandbox) => yamlFor(sandbox, [{ id: 'leaky', models: ['a-8b'], baseUrl: echo, keyEnv: 'HOUSE_KEY' }]),
      });
      expect((await call('complete', { prompt: 'Hello' })).text).not.toContain('house-key-');
    });
  });

  it.each([
    ['tokens', { prompt_tokens: 1e15, completion_tokens: 5 }],
    ['cost', { prompt_tokens: 5, completion_tokens: 5, cost: 1e7 }],
  ])('does not believe a provider that reports absurd %s', async (_what, usage) => {
    const answer = { choices: [{ message: { content: 'Hello there.' }, finish_reason: 'stop' }], usage };
    const absurd = await startEcho(() => ({ status: 200, body: JSON.stringify(answer) }));
    const world = await startWorld({
      yaml: (sandbox) => yamlFor(sandbox, [{ id: 'absurd', models: ['a-8b'], baseUrl: absurd }]),
    });
    const { result } = await world.call('complete', { prompt: 'Hello' });
    expect(result.cost_usd).toBeLessThan(0.001);
    expect(await attempts(world)).toMatchObject([{ status: 'ok' }]);
  });

  it('does not take keep-alive comments for an answer', async () => {
    const queueing = await startEcho(() => ({
      status: 200,
      body: ': queued\n\n'.repeat(3),
      type: 'text/event-stream',
      open: true,
    }));
    const world = await startWorld({
      yaml: (sandbox) =>
        yamlFor(sandbox, [
          { id: 'queueing', models: ['a-8b'], baseUrl: queueing, timeoutMs: 300, price: [0.1, 0.1] },
          good,
        ]),
    });
    const { result } = await world.call('complete', { prompt: 'Hello' });
    expect(result.backend).toBe('good');
    expect(result.attempts[0].error).toContain('did not begin to answer within 300 ms');
  });

  it('understands a stream whose last event lacks its blank line', async () => {
    const body =
      'data: {"choices":[{"delta":{"content":"Whole."}}]}\n\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}]}';
    const terse = await startEcho(() => ({ status: 200, body, type: 'text/event-stream' }));
    const { call } = await startWorld({
      yaml: (sandbox) => yamlFor(sandbox, [{ id: 'terse', models: ['a-8b'], baseUrl: terse }]),
    });
    expect((await call('complete', { prompt: 'Hello' })).result).toMatchObject({
      text: 'Whole.',
      finish_reason: 'stop',
    });
  });

  it('counts a request once whose first candidate the budget refused at the last moment', async () => {
    const world = await worldOf([good, { id: 'box', kind: 'dedicated', models: ['fine-70b'], tier: 'large' }], {
      budgets: { dailyUsd: 0.0003 },
    });
    // Both see a budget that has room for one; the ledger lets one of them have it.
    const ask = () => world.call('complete', { prompt: 'Hello', max_tokens: 100 });
    const answers = await Promise.all([ask(), ask()]);
    expect(answers.map(({ result }) => result.backend).sort()).toEqual(['box', 'good']);
    const { result } = await world.call('cost_report');
    expect(result.totals).toMatchObject({ requests: 2, answered: 2, error_rate: 0 });
  });

  it('answers 200 calls at once, each with its own row, and no reservation is left', async () => {
    const world = await startWorld();
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => world.call('complete', { prompt: `Prompt number ${index}` })),
    );
    expect(answers.filter(({ isError }) => isError)).toEqual([]);
    expect(answers.every(({ result }, index) => result.text.includes(`Prompt number ${index}"`))).toBe(true);
    const rows = await attempts(world);
    expect(rows.filter(({ status }) => status === 'ok')).toHaveLength(200);
    expect(await reserved(world)).toEqual([0, 0]);
    const total = rows.reduce((sum, row) => sum + (row.cost_nano_usd ?? 0), 0);
    const [day] = await world.readLedger(({ read }) => read.selectFrom('budget_period').selectAll().execute());
    expect(day?.settled_nano_usd).toBe(total);
  });
});

async function until<Item>(read: () => Item[]): Promise<Item[]> {
  return untilAsync(async () => read());
}

async function untilAsync<Item>(read: () => Promise<Item[]>): Promise<Item[]> {
  for (let tried = 0; tried < 200; tried += 1) {
    const items = await read();
    if (items.length > 0) return items;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it did not happen within two seconds');
}

interface Echo {
  status: number;
  body: string;
  type?: string;
  /** Leaves the connection open after the body. */
  open?: boolean;
}

/** A provider with manners of its own: answers everything with what `answer` makes of the authorization header. */
async function startEcho(answer: (authorization: string) => Echo): Promise<string> {
  const server = createServer((request, response) => {
    const { status, body, type = 'application/json', open } = answer(request.headers.authorization ?? '');
    response.writeHead(status, { 'content-type': type });
    if (open) response.write(body);
    else response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
