import { describe, expect, it } from 'vitest';
import { ManualClock } from '../support/clock.ts';
import { startGateway } from '../support/gateway.ts';
import { type HttpWorld, initialize, listTools, post, startHttpWorld } from './http.ts';

async function openSession({ url }: HttpWorld, headers: Record<string, string> = {}): Promise<Record<string, string>> {
  const answer = await post(url, initialize, headers);
  expect(answer.status).toBe(200);
  return { ...headers, 'mcp-session-id': String(answer.headers['mcp-session-id']) };
}

describe('sessions whose clients left without a word', () => {
  it('make room, the one idle longest first, for another session of the same principal only', async () => {
    const clock = new ManualClock();
    const world = await startHttpWorld({ clock, limits: { sessions: 3, sessionsPerPrincipal: 2 } });
    const first = await openSession(world);
    clock.advance(1_000);
    const second = await openSession(world);
    clock.advance(58_000);
    expect((await post(world.url, initialize)).status).toBe(503);
    clock.advance(1_000);
    const third = await openSession(world);
    expect((await post(world.url, listTools, first)).status).toBe(404);
    for (const session of [second, third]) expect((await post(world.url, listTools, session)).status).toBe(200);
    await openSession(world, { 'x-test-principal': 'tok_bob' });
    clock.advance(120_000);
    expect((await post(world.url, initialize, { 'x-test-principal': 'tok_cid' })).status).toBe(503);
    expect(world.open.size).toBe(3);
  });
});

describe('an open door', () => {
  it.each(['x-forwarded-for', 'forwarded', 'via', 'x-real-ip', 'x-forwarded-host'])(
    'is not open to what says in %s that it comes through a proxy',
    async (header) => {
      const { post: ask } = await startGateway();
      const body = { model: 'auto', messages: [{ role: 'user', content: 'Hi' }] };
      expect((await ask('/v1/chat/completions', body)).status).toBe(200);
      const answer = await ask('/v1/chat/completions', body, { [header]: '203.0.113.9' });
      expect(answer.status).toBe(403);
      expect(await answer.text()).toContain('tandem token create');
    },
  );

  it('closes for sessions that came in by it when the first token is made', async () => {
    const { app, post: ask } = await startGateway();
    const headers = { accept: 'application/json, text/event-stream' };
    const opened = await ask('/mcp', initialize, headers);
    const session = { ...headers, 'mcp-session-id': opened.headers.get('mcp-session-id') ?? '' };
    await opened.text();
    await app.tokens.create({ name: 'a', scopes: ['infer'], budget: null, requestsPerMinute: null, validMs: null });
    expect((await ask('/mcp', listTools, session)).status).toBe(401);
  });
});
