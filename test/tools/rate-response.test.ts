import { describe, expect, it } from 'vitest';
import { holderOf } from '../support/principal.ts';
import { startWorld, type World } from '../support/world.ts';

async function ask({ call }: Pick<World, 'call'>): Promise<string> {
  return (await call('complete', { prompt: 'What is the capital of France?' })).result.request_id;
}

function ratings({ readLedger }: World) {
  return readLedger(({ read }) => read.selectFrom('rating').selectAll().execute());
}

describe('rate_response', () => {
  it('records what is said of an answer, for which model, and how many there are', async () => {
    const world = await startWorld();
    const requestId = await ask(world);
    const { result, text } = await world.call('rate_response', {
      request_id: requestId,
      rating: 'down',
      comment: 'no',
    });
    expect(result).toEqual({
      request_id: requestId,
      rating: 0,
      backend: 'sandbox-serverless',
      model: 'small-8b',
      replaced: false,
      ratings_since_calibration: 1,
    });
    expect(text).toBe(
      `Recorded 0 % for the answer of sandbox-serverless/small-8b to request ${requestId}. 1 rated since the last calibration; \`tandem calibrate\` uses them.`,
    );
    expect(await ratings(world)).toMatchObject([
      { request_id: requestId, given: 'down', comment: 'no', tier: 'small' },
    ]);
  });

  it('lets the last word count', async () => {
    const world = await startWorld();
    const requestId = await ask(world);
    await world.call('rate_response', { request_id: requestId, rating: 'up' });
    const { result, text } = await world.call('rate_response', { request_id: ` ${requestId} `, rating: 2 });
    expect(result).toMatchObject({ rating: 0.25, replaced: true, ratings_since_calibration: 1 });
    expect(text).toContain('it takes the place of the earlier rating');
  });

  it('says where ids are shown when there is no such request', async () => {
    const world = await startWorld();
    const { isError, text } = await world.call('rate_response', { request_id: 'latest', rating: 'up' });
    expect(isError).toBe(true);
    expect(text).toMatch(/^not_found: No request "latest" of yours is known here\. Nothing was recorded\./);
    expect(text).toContain('complete gives it as request_id, the gateway in the header x-request-id');
  });

  it('knows only the requests of who rates, and all of them for the owner', async () => {
    const world = await startWorld();
    const [one, other] = [await world.connectAs(holderOf('infer')), await world.connectAs(holderOf('infer', 'read'))];
    const requestId = await ask(one);
    const rate = { request_id: requestId, rating: 5 };
    expect((await other.call('rate_response', rate)).text).toMatch(/^not_found: /);
    expect((await one.call('rate_response', rate)).isError).toBe(false);
    expect((await world.call('rate_response', rate)).isError).toBe(false);
    expect((await ratings(world)).map((row) => row.principal_id)).toEqual(['tok_infer', 'local']);
  });

  it.each([[0], [6], [2.5], ['good'], [null]])('refuses the rating %j and says what is valid', async (rating) => {
    const world = await startWorld();
    const { isError, text } = await world.call('rate_response', { request_id: 'x', rating });
    expect(isError).toBe(true);
    expect(text).toContain('rating: must be "up", "down" or a whole number from 1 (useless) to 5 (good)');
  });

  it('needs the scope infer', async () => {
    const { call } = await (await startWorld()).connectAs(holderOf('read'));
    expect((await call('rate_response', { request_id: 'x', rating: 'up' })).text).toMatch(
      /^forbidden: rate_response needs the scope infer/,
    );
  });

  it('costs nothing and leaves no row in the audit', async () => {
    const world = await startWorld();
    const requestId = await ask(world);
    await world.call('rate_response', { request_id: requestId, rating: 'up' });
    const acts = await world.readLedger(({ read }) => read.selectFrom('audit').select('action').execute());
    expect(acts).toEqual([{ action: 'complete' }]);
    const [tool] = (await world.client.listTools()).tools.filter(({ name }) => name === 'rate_response');
    expect(tool?.annotations).toEqual({
      readOnlyHint: false,
      destructiveHint: false,
      idempotentHint: true,
      openWorldHint: false,
    });
  });
});
