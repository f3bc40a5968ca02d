import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createLog } from '../../src/log.ts';
import { Redactor } from '../../src/redactor.ts';
import { TokenBook } from '../../src/usage/tokens.ts';
import { asJson, type Guarded, type Holder, startGuarded } from '../support/callers.ts';
import { sendJson, sendStream, startUpstream, type Upstream, wholeAnswer, wholeStream } from '../support/upstream.ts';

const messages = [{ role: 'user', content: 'Hi' }];
/** At the price below one such answer costs a cent at most, and that is what is reserved. */
const maxTokens = 10_000;
const cents = (amount: number) => amount * 10_000_000;

async function startPaid(handle: Upstream['handle']) {
  const upstream = await startUpstream(handle);
  const gateway = await startGuarded({
    backends: [{ id: 'paid', models: ['m'], baseUrl: upstream.url, price: [0.001, 1], contextWindow: 100_000 }],
    rest: { server: { maxConcurrentRequests: 500 } },
  });
  const chat = ({ headers }: Holder, stream: boolean) =>
    gateway.ask(
      'POST',
      '/v1/chat/completions',
      { ...asJson, ...headers },
      { model: 'm', messages, max_tokens: maxTokens, stream },
    );
  return { upstream, gateway, chat };
}

const usage = { prompt_tokens: 1, completion_tokens: maxTokens, total_tokens: maxTokens + 1 };

function answerDear({ response, seen }: Parameters<Upstream['handle']>[0]): void {
  const isStream = seen.body.includes('"stream":true');
  if (!isStream) sendJson(response, 200, { ...wholeAnswer, usage });
  else sendStream(response, wholeStream('Hi').replace(/"usage":\{.*?\}/, `"usage":${JSON.stringify(usage)}`));
}

async function spentNanoUsd({ readLedger }: Guarded, { id }: Holder): Promise<number> {
  const rows = await readLedger(({ read }) =>
    read.selectFrom('attempt').select('cost_nano_usd').where('principal_id', '=', id).execute(),
  );
  return rows.reduce((sum, row) => sum + (row.cost_nano_usd ?? 0), 0);
}

describe('the budget of a token', () => {
  it.each([['day'], ['month']] as const)(
    'holds against two hundred requests at once, whole and streamed, a %s',
    async (per) => {
      const { gateway, chat, upstream } = await startPaid(answerDear);
      const holder = await gateway.holder(['infer'], { budget: { limitNanoUsd: cents(10), per } });
      const answers = await Promise.all(Array.from({ length: 200 }, (_, index) => chat(holder, index % 2 === 0)));
      const statuses = answers.map(({ status }) => status);
      expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(9);
      expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(10);
      expect(new Set(statuses)).toEqual(new Set([200, 429]));
      const refused = answers.find(({ status }) => status === 429);
      expect(JSON.parse(refused?.text ?? '').error).toMatchObject({ code: 'insufficient_quota' });
      expect(refused?.headers['x-should-retry']).toBe('false');
      expect(upstream.requests.length).toBe(statuses.filter((status) => status === 200).length);
      await gateway.settled(upstream.requests.length);
      expect(await spentNanoUsd(gateway, holder)).toBeLessThanOrEqual(cents(10));
    },
  );

  it('is one over the gateway and MCP, and no other token pays for it', async () => {
    const { gateway, chat } = await startPaid(answerDear);
    const holder = await gateway.holder(['infer'], { budget: { limitNanoUsd: cents(2.5), per: 'day' } });
    const other = await gateway.holder(['infer'], { budget: { limitNanoUsd: cents(2.5), per: 'day' } });
    const session = await gateway.openMcp(holder.headers);
    const complete = { prompt: 'Hi', model: 'm', max_tokens: maxTokens };
    expect((await gateway.callTool(session, 'complete', complete)).result.isError).toBeFalsy();
    expect((await chat(holder, false)).status).toBe(200);
    const third = await gateway.callTool(session, 'complete', complete);
    expect(third.result.content[0].text).toContain('budget_exhausted');
    expect((await chat(holder, true)).status).toBe(429);
    expect((await chat(other, true)).status).toBe(200);
  });
});

describe('the rate of a token', () => {
  it('holds on all routes together, and says when to come back', async () => {
    const gateway = await startGuarded();
    const slow = await gateway.holder(['infer', 'read'], { requestsPerMinute: 4 });
    const other = await gateway.holder(['read'], { requestsPerMinute: 4 });
    const paths = ['/metrics', '/v1/models', '/v1/models/auto', '/metrics', '/metrics', '/v1/models'];
    const answers = [];
    for (const path of paths) answers.push(await gateway.ask('GET', path, slow.headers));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 429, 429]);
    const wait = Number(answers[4]?.headers['retry-after']);
    expect(wait).toBeGreaterThan(0);
    expect(wait).toBeLessThanOrEqual(60);
    expect((await gateway.ask('GET', '/metrics', other.headers)).status).toBe(200);
  });

  it('lets right tokens in while wrong ones are guessed from the same address', async () => {
    const gateway = await startGuarded();
    const { headers } = await gateway.holder(['read']);
    const guess = (index: number) =>
      gateway.ask('GET', '/metrics', { authorization: `Bearer tdm_${String(index).padStart(43, 'x')}` });
    const guesses = [];
    for (let index = 0; index < 30; index += 1) guesses.push(await guess(index));
    expect(guesses.map(({ status }) => status)).toEqual([...Array(10).fill(401), ...Array(20).fill(429)]);
    expect(Number(guesses.at(-1)?.headers['retry-after'])).toBeGreaterThan(0);
    expect((await gateway.ask('GET', '/metrics', headers)).status).toBe(200);
  });
});

describe('another process on the same ledger', () => {
  it('makes and revokes tokens that this one obeys within five seconds', async () => {
    const gateway = await startGuarded();
    const { holder, secret } = await gateway.readLedger(async (database) => {
      const book = new TokenBook(database, systemClock, createLog('silent', new Redactor()));
      const wish = {
        name: 'elsewhere',
        scopes: ['read' as const],
        budget: null,
        requestsPerMinute: null,
        validMs: null,
      };
      const made = await book.create(wish);
      return { holder: made.token, secret: made.secret };
    });
    const ask = async () => (await gateway.ask('GET', '/metrics', { authorization: `Bearer ${secret}` })).status;
    await expect.poll(ask, { timeout: 2_000 }).toBe(200);
    await gateway.readLedger((database) =>
      new TokenBook(database, systemClock, createLog('silent', new Redactor())).revoke(holder.id),
    );
    await expect.poll(ask, { timeout: 5_000, interval: 200 }).toBe(401);
  }, 15_000);
});

describe('a ledger that cannot be written', () => {
  it('stops everything before anything is sent, and says that it is not ready', async () => {
    const { gateway, chat, upstream } = await startPaid(answerDear);
    const holder = await gateway.holder(['infer', 'operate']);
    const session = await gateway.openMcp(holder.headers);
    expect((await gateway.ask('GET', '/readyz')).status).toBe(200);
    for (const file of ['tandem.db', 'tandem.db-wal']) rmSync(join(gateway.home, file));
    // It is looked for ten times a second.
    await delay(150);
    for (const stream of [false, true]) {
      const { status, text } = await chat(holder, stream);
      expect({ status, code: JSON.parse(text).error.code }).toEqual({ status: 503, code: 'database_unavailable' });
    }
    const { result } = await gateway.callTool(session, 'complete', { prompt: 'Hi', model: 'm' });
    expect(result.isError).toBe(true);
    expect(upstream.requests).toEqual([]);
    await expect.poll(async () => (await gateway.ask('GET', '/readyz')).status, { timeout: 4_000 }).toBe(503);
    expect(JSON.parse((await gateway.ask('GET', '/readyz')).text).checks).toMatchObject({ ledger: false });
  });

  it('is found by writing, which does not take back what a newer Tandem has raised', async () => {
    const gateway = await startGuarded();
    await gateway.readLedger(async (database) => {
      const version = async () =>
        (await sql<{ user_version: number }>`PRAGMA user_version`.execute(database.read)).rows[0];
      await sql`PRAGMA user_version = 99`.execute(database.read);
      await database.probe();
      expect(await version()).toEqual({ user_version: 99 });
    });
  });
});
