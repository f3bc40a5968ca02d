import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/index.ts';
import { temporaryFolder } from '../support/folder.ts';
import { type Gateway, readEvents, startGateway } from '../support/gateway.ts';
import {
  openAiError,
  sendJson,
  sendStream,
  startUpstream,
  type Upstream,
  wholeAnswer,
  wholeStream,
} from '../support/upstream.ts';

const question =
  'A farmer has 12 crates with 24 apples in each crate. He sells 5 crates and gives 30 apples to his neighbour. How many apples does he have left?';
const right =
  'He has 12 * 24 = 288 apples. He sells 5 * 24 = 120 apples. 288 - 120 = 168. He gives away 30: 168 - 30 = 138. The answer is 138.';
const wrong = 'He has 12 * 24 = 268 apples. He sells 5 crates, so 268 - 5 = 253 apples. The answer is 253.5.';

type Handler = Upstream['handle'];

/** Answers with this text, as a stream where one is asked for. */
function says(text: string, finishReason = 'stop'): Handler {
  const choices = [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: finishReason }];
  return ({ response, seen }) =>
    JSON.parse(seen.body).stream
      ? sendStream(response, wholeStream(text))
      : sendJson(response, 200, { ...wholeAnswer, choices });
}
const fails: Handler = ({ response }) => sendJson(response, 400, openAiError('no'));

interface Pair {
  gateway: Gateway;
  small: Upstream;
  large: Upstream;
  ask(fields?: Record<string, unknown>): Promise<{ text: string; response: Response }>;
}

/** Two providers: a cheap small model, and a large one that is a hundred times as dear. */
async function pair(
  cheap: Handler,
  strong: Handler = says(right),
  options: { cascade?: boolean; dailyUsd?: number; price?: [number, number] } = {},
): Promise<Pair> {
  const { cascade = true, dailyUsd = 50, price = [10, 10] } = options;
  const small = await startUpstream(cheap);
  const large = await startUpstream(strong);
  const gateway = await startGateway({
    backends: [
      { id: 'cheap', models: ['small-8b'], tier: 'small', baseUrl: small.url, price: [0.1, 0.1] },
      { id: 'dear', models: ['large-400b'], tier: 'large', baseUrl: large.url, price, maxRetries: 0 },
    ],
    rest: { routing: { cascade }, budgets: { dailyUsd } },
  });
  const ask = async (fields: Record<string, unknown> = {}) => {
    const messages = [{ role: 'user', content: question }];
    const response = await gateway.chat({ model: 'auto', messages, max_tokens: 200, ...fields });
    const text = await response.text();
    if (fields.stream) return { text: readEvents(text).text, response };
    return { text: JSON.parse(text).choices?.[0]?.message?.content ?? text, response };
  };
  return { gateway, small, large, ask };
}

describe('a cascade', () => {
  it('gives a wrong sum of the small model to the large one, and both legs are in the ledger', async () => {
    const { gateway, ask } = await pair(says(wrong));
    const { text, response } = await ask();
    expect(text).toBe(right);
    expect(response.headers.get('x-tandem-model')).toBe('large-400b');
    expect(response.headers.get('x-tandem-attempts')).toBe('2');
    // 11 tokens in and 3 out, at 0.1 and at 10 dollars per million.
    expect(response.headers.get('x-tandem-cost-usd')).toBe('0.0001414');
    const rows = await gateway.settled(2);
    expect(rows).toMatchObject([
      { ordinal: 1, status: 'ok', finish_reason: 'stop', model: 'small-8b', cost_nano_usd: 1_400, elapsed_ms: null },
      { ordinal: 2, status: 'ok', finish_reason: 'stop', model: 'large-400b', cost_nano_usd: 140_000 },
    ]);
    expect(new Set(rows.map(({ request_id }) => request_id)).size).toBe(1);
    expect(rows[1]?.elapsed_ms).toBeGreaterThanOrEqual(rows[1]?.latency_ms ?? 0);
    expect(await gateway.reservedNanoUsd()).toBe(0);
  });

  it('leaves a right answer of the small model as it is', async () => {
    const { large, ask } = await pair(says(right));
    const { text, response } = await ask();
    expect(text).toBe(right);
    expect(response.headers.get('x-tandem-attempts')).toBe('1');
    expect(large.requests).toEqual([]);
  });

  it('gives a refusal to the large model, whatever was asked', async () => {
    const { ask } = await pair(says("I'm sorry, but I can't help with that."), says('Waves roll in.'));
    const { text } = await ask({ messages: [{ role: 'user', content: 'Write a line about the sea.' }] });
    expect(text).toBe('Waves roll in.');
  });

  it('begins with the small model where the large one would be asked without it', async () => {
    const asked = async (cascade: boolean) => {
      const { small, large, ask } = await pair(says(right), says(right), { cascade, price: [2, 2] });
      await ask();
      return [small.requests.length, large.requests.length];
    };
    expect(await asked(false)).toEqual([0, 1]);
    expect(await asked(true)).toEqual([1, 0]);
  });

  it('leaves an answer to an open question alone, however odd its content', async () => {
    const { large, ask } = await pair(says('It seems that 2 + 2 = 5, perhaps. However, I am not sure.'));
    await ask({ messages: [{ role: 'user', content: 'Write a line about the sea.' }] });
    expect(large.requests).toEqual([]);
  });

  it('is off unless the configuration says so', async () => {
    expect(loadConfig({ TANDEM_HOME: temporaryFolder() }).routing.cascade).toBe(false);
    const { large, ask } = await pair(says(wrong), says(right), { cascade: false });
    expect((await ask()).text).toBe(wrong);
    expect(large.requests).toEqual([]);
  });

  it('judges the turn of a conversation by plain defects alone', async () => {
    const talk = [
      { role: 'user', content: 'Let us count apples.' },
      { role: 'assistant', content: 'Gladly.' },
      { role: 'user', content: question },
    ];
    const asked = async (first: string) => {
      const { large, ask } = await pair(says(first));
      await ask({ messages: talk });
      return large.requests.length;
    };
    expect(await asked(wrong)).toBe(0);
    expect(await asked("I'm sorry, but I can't help with that.")).toBe(1);
  });

  it.each<[string, Record<string, unknown>]>([
    ['a stream', { stream: true }],
    ['a model that was named', { model: 'small-8b' }],
    ['latency_critical', { model: 'auto:latency_critical' }],
    ['a response format', { response_format: { type: 'text' } }],
    ['tools', { tools: [{ type: 'function', function: { name: 'f' } }] }],
    ['several answers', { n: 2 }],
    [
      'an image',
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: question },
              { type: 'image_url', image_url: { url: 'data:,' } },
            ],
          },
        ],
      },
    ],
  ])('never follows %s', async (_what, fields) => {
    const { small, large, ask } = await pair(says(wrong));
    expect((await ask(fields)).text).toBe(wrong);
    expect([small.requests.length, large.requests.length]).toEqual([1, 0]);
  });

  it('never follows an answer that was cut by its limit', async () => {
    const { large, ask } = await pair(says(wrong, 'length'));
    expect((await ask()).text).toBe(wrong);
    expect(large.requests).toEqual([]);
  });

  it('does not ask a model that costs more than the answer is worth', async () => {
    const { large, ask } = await pair(says(wrong), says(right), { price: [100, 500] });
    expect((await ask()).text).toBe(wrong);
    expect(large.requests).toEqual([]);
  });

  it.each<[string, Handler]>([
    ['fails', fails],
    ['hangs up', ({ request }) => void request.socket.destroy()],
    ['is cut by its limit', says('He has 12', 'length')],
    ['says nothing', says('')],
  ])('gives the small answer when the large model %s', async (_what, strong) => {
    const { gateway, ask } = await pair(says(wrong), strong);
    const { text, response } = await ask();
    expect([response.status, text]).toEqual([200, wrong]);
    expect(response.headers.get('x-tandem-model')).toBe('small-8b');
    expect(response.headers.get('x-tandem-attempts')).toBe('2');
    expect(await gateway.settled(2)).toMatchObject([{ status: 'ok', elapsed_ms: null }, { ordinal: 2 }]);
  });

  it('gives the small answer when another call has used up the budget meanwhile', async () => {
    // The small call may cost 0.00003 dollars, the large one 0.003.
    const { gateway, large, ask } = await pair(
      async (exchange) => {
        await gateway.readLedger(({ write }) =>
          write((queries) => queries.updateTable('budget_period').set({ settled_nano_usd: 999_900_000 }).execute()),
        );
        await says(wrong)(exchange);
      },
      says(right),
      { dailyUsd: 1 },
    );
    const { text, response } = await ask();
    expect([response.status, text]).toEqual([200, wrong]);
    expect(large.requests).toEqual([]);
    expect(await gateway.settled(1)).toMatchObject([{ status: 'ok', model: 'small-8b' }]);
    expect(await gateway.reservedNanoUsd()).toBe(0);
  });

  it('asks no backend again that has failed for this request', async () => {
    const { gateway, large, ask } = await pair(says(wrong), ({ response }) =>
      sendJson(response, 500, openAiError('no')),
    );
    // Under performance the large model is asked first.
    expect((await ask({ model: 'auto:performance' })).text).toBe(wrong);
    expect(large.requests).toHaveLength(1);
    expect(await gateway.settled(2)).toMatchObject([
      { backend: 'dear', status: 'error' },
      { backend: 'cheap', status: 'ok' },
    ]);
  });

  it('ends with the caller: nobody is asked for one who hung up', async () => {
    const abort = new AbortController();
    const { gateway, large } = await pair(says(wrong), () => abort.abort());
    const body = JSON.stringify({ model: 'auto', max_tokens: 200, messages: [{ role: 'user', content: question }] });
    const call = fetch(`${gateway.origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      signal: abort.signal,
    });
    await expect(call).rejects.toThrow();
    expect(await gateway.settled(2)).toMatchObject([{ status: 'ok' }, { status: 'cancelled' }]);
    expect(large.requests).toHaveLength(1);
  });
});
