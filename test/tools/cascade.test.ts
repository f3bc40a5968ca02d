import { describe, expect, it } from 'vitest';
import { chunk, events, role, sendStream, startUpstream, type Upstream, wholeStream } from '../support/upstream.ts';
import { startWorld, type World } from '../support/world.ts';
import { yamlFor } from '../support/yaml.ts';

const prompt =
  'A farmer has 12 crates with 24 apples in each crate. He sells 5 crates and gives 30 apples to his neighbour. How many apples does he have left?';
const right =
  'He has 12 * 24 = 288 apples. He sells 5 * 24 = 120 apples. 288 - 120 = 168. He gives away 30: 168 - 30 = 138. The answer is 138.';
const wrong = 'He has 12 * 24 = 268 apples. He sells 5 crates, so 268 - 5 = 253 apples. The answer is 253.5.';

interface Stage extends World {
  small: Upstream;
  large: Upstream;
}

/** Both stream: `complete` asks for streams and hands out whole answers. */
async function stage(cheap: string, strong: Upstream['handle'] | string = right, rest = {}): Promise<Stage> {
  const says =
    (text: string): Upstream['handle'] =>
    (exchange) =>
      sendStream(exchange.response, wholeStream(text));
  const small = await startUpstream(says(cheap));
  const large = await startUpstream(typeof strong === 'string' ? says(strong) : strong);
  const world = await startWorld({
    yaml: (sandbox) =>
      yamlFor(
        sandbox,
        [
          { id: 'cheap', models: ['small-8b'], baseUrl: small.url, price: [0.1, 0.1] },
          { id: 'dear', models: ['large-400b'], tier: 'large', baseUrl: large.url, price: [10, 10], maxRetries: 0 },
        ],
        { routing: { cascade: true }, ...rest },
      ),
  });
  return { ...world, small, large };
}

describe('complete with a cascade', () => {
  it('says that the small model answered, what the check found, and who was asked then', async () => {
    const { call, large } = await stage(wrong);
    const { result, text } = await call('complete', { prompt, response_format: 'detailed' });
    expect(result).toMatchObject({ text: right, backend: 'dear', model: 'large-400b', cost_usd: 0.0001414 });
    expect(result.why).toMatch(
      /^cheap\/small-8b answered, the check found \w+ \(right 0\.\d\d\), dear\/large-400b was asked\.$/,
    );
    expect(result.attempts).toMatchObject([
      { model: 'small-8b', cost_usd: 0.0000014, error: null },
      { model: 'large-400b', cost_usd: 0.00014, error: null },
    ]);
    expect(result.check).toMatchObject({ basis: 'trained', asked: 'dear/large-400b' });
    expect(result.check.right).toBeLessThan(0.3);
    expect(result.check.gain_usd).toBeGreaterThan(result.check.burden_usd);
    expect(text).toContain('cheap/small-8b: answered');
    expect(large.requests).toHaveLength(1);
  });

  it('says that a right answer stands', async () => {
    const { call } = await stage(right);
    const { result } = await call('complete', { prompt, response_format: 'detailed' });
    expect(result).toMatchObject({ model: 'small-8b', check: { asked: null } });
    expect(result.check.right).toBeGreaterThan(0.8);
    expect(result.attempts).toHaveLength(1);
  });

  it('says why the first answer is kept when the large model fails', async () => {
    const { call } = await stage(wrong, ({ response }) => void response.writeHead(400).end('{}'));
    const { result } = await call('complete', { prompt });
    expect(result).toMatchObject({ text: wrong, model: 'small-8b', cost_usd: 0.0000014 });
    expect(result.why).toMatch(/large-400b was asked; the first answer is kept: dear\/large-400b failed \(.+\)\.$/);
  });

  it('is one request in the cost report, and its rating is of the answer that was given', async () => {
    const { call, clock } = await stage(wrong);
    const { result } = await call('complete', { prompt });
    const { result: report } = await call('cost_report', { to: new Date(clock.nowMs() + 1_000).toISOString() });
    expect(report.totals).toMatchObject({ requests: 1, answered: 1, error_rate: 0, cost_per_request_usd: 0.0001414 });
    const { result: rated } = await call('rate_response', { request_id: result.request_id, rating: 'up' });
    expect(rated).toMatchObject({ backend: 'dear', model: 'large-400b', rating: 1 });
  });

  it.each<[string, Upstream['handle']]>([
    ['failed', ({ response }) => void response.writeHead(400).end('{}')],
    [
      'was cut',
      ({ response }) => sendStream(response, events(role, chunk({ content: 'He' }), chunk({}, 'length'), '[DONE]')),
    ],
  ])('rates the small answer where the large model %s', async (_what, strong) => {
    const { call } = await stage(wrong, strong);
    const { result } = await call('complete', { prompt });
    const { result: rated } = await call('rate_response', { request_id: result.request_id, rating: 'down' });
    expect(rated).toMatchObject({ backend: 'cheap', model: 'small-8b' });
  });

  it('is in no shadow comparison', async () => {
    const { call, large, app } = await stage(wrong, right, {
      routing: { cascade: true, shadow: { share: 1, budgetUsdPerDay: 1 } },
    });
    await call('complete', { prompt });
    await app.close();
    expect(large.requests).toHaveLength(1);
  });
});

describe('route_explain with a cascade', () => {
  it('says who is asked first, who after it, how often, and what both cost', async () => {
    const { call, small, large } = await stage(wrong);
    const { result } = await call('route_explain', { prompt });
    expect([result.cascade.first, result.cascade.then]).toEqual(['cheap/small-8b', 'dear/large-400b']);
    expect(result.cascade.escalates_about).toBeGreaterThan(0);
    expect(result.cascade.escalates_about).toBeLessThan(0.6);
    expect(result.cascade.expected_cost_usd).toBeGreaterThan(result.candidates[0].predicted_cost_usd);
    expect(result.why).toMatch(
      /Its answer is checked, and dear\/large-400b asked after it in about \d+ % of such cases/,
    );
    expect([small.requests, large.requests]).toEqual([[], []]);
    expect((await call('route_explain', { prompt })).result).toEqual(result);
  });

  it('says nothing of one for a model that was named', async () => {
    const { call } = await stage(wrong);
    expect((await call('route_explain', { prompt, model: 'small-8b' })).result).not.toHaveProperty('cascade');
  });
});
