import { describe, expect, it } from 'vitest';
import { startWorld } from '../support/world.ts';

async function post(url: string, body: unknown): Promise<{ status: number; body: any }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

describe('the sandbox', () => {
  it('lets a fault be chosen by naming its model, and never picks one by itself', async () => {
    const { call } = await startWorld();
    const echo = await call('complete', { prompt: 'Say this back to me', model: 'echo' });
    expect(echo.result.text).toBe('Say this back to me');
    const cut = await call('complete', { prompt: 'Hello', model: 'cut-stream' });
    expect(cut.text).toMatch(/^upstream_cut: Backend sandbox-serverless broke off/);
    const { result } = await call('route_explain', { prompt: 'Hello' });
    expect(result.order).toHaveLength(3);
  });

  it('takes faults over HTTP, shows them, and forgets them on reset', async () => {
    const { sandbox, call } = await startWorld();
    expect(await post(`${sandbox.controlUrl}/serverless`, { behaviour: 'error-500' })).toEqual({
      status: 200,
      body: { behaviour: 'error-500' },
    });
    expect((await post(`${sandbox.controlUrl}/lambda`, { quotaInstances: 1 })).status).toBe(200);
    const shown = (await (await fetch(sandbox.controlUrl)).json()) as any;
    expect(shown).toMatchObject({
      sandbox: true,
      serverless: 'error-500',
      dedicated: null,
      lambda: { quotaInstances: 1 },
    });
    expect((await call('complete', { prompt: 'Hello', backend: 'serverless' })).isError).toBe(true);
    await post(`${sandbox.controlUrl}/reset`, {});
    expect((await call('complete', { prompt: 'Hello', backend: 'serverless' })).isError).toBe(false);
    expect(sandbox.lambda.faults.quotaInstances).toBeNull();
  });

  it('refuses faults that it does not know', async () => {
    const { sandbox } = await startWorld();
    expect(await post(`${sandbox.controlUrl}/serverless`, { behaviour: 'explode' })).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining('error-503') },
    });
    expect(await post(`${sandbox.controlUrl}/lambda`, { gravity: 0 })).toMatchObject({ status: 400 });
  });

  it('marks every answer as its own', async () => {
    const { sandbox } = await startWorld();
    for (const path of ['/api/v1/instances', '/serverless/v1/models', '/dedicated/v1/models']) {
      expect((await fetch(sandbox.url + path)).headers.get('x-tandem-sandbox')).toBe('true');
    }
  });
});
