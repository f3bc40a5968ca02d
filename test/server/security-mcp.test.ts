import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createLog } from '../../src/log.ts';
import type { Scope } from '../../src/principal.ts';
import { Redactor } from '../../src/redactor.ts';
import { TokenBook } from '../../src/usage/tokens.ts';
import { asJson, type Guarded, initialize, startGuarded } from '../support/callers.ts';
import { startIssuer } from '../support/issuer.ts';
import { waitFor } from '../support/process.ts';

const launch = { instance_type: 'gpu_1x_a10', region: 'us-west-1', ssh_key: 'laptop' };
const inputs: Record<string, Record<string, unknown>> = {
  complete: { prompt: 'Hi' },
  route_explain: { prompt: 'Hi' },
  launch_instance: launch,
  rate_response: { request_id: 'unknown', rating: 'up' },
  terminate_instance: { instances: ['sandbox-box'] },
  renew_lease: { instance: 'sandbox-box', hours: 1 },
};

const auditOf = ({ app }: Guarded) => app.audit.last(1_000);

/** As `tandem token revoke` does it: from another process. */
function revokeElsewhere({ readLedger }: Guarded, id: string): Promise<unknown> {
  return readLedger((database) => new TokenBook(database, systemClock, createLog('silent', new Redactor())).revoke(id));
}

describe('tools, resources and prompts', () => {
  it.each<[Scope[]]>([[['infer']], [['read']], [['operate']]])(
    'are not to be had without their scope, by any name: %j',
    async (scopes) => {
      const gateway = await startGuarded();
      const all = await gateway.openMcp((await gateway.holder(['infer', 'read', 'operate'])).headers);
      const { headers } = await gateway.holder(scopes);
      const own = await gateway.openMcp(headers);
      const namesIn = async (session: typeof own, method: string, what: string, key: string): Promise<string[]> =>
        ((await gateway.rpc(session, method)).result[what] as Record<string, string>[]).map((one) => String(one[key]));

      const tools = await namesIn(own, 'tools/list', 'tools', 'name');
      const hidden = (await namesIn(all, 'tools/list', 'tools', 'name')).filter((name) => !tools.includes(name));
      expect(hidden.length).toBeGreaterThan(0);
      for (const name of hidden) {
        const { result } = await gateway.callTool(own, name, inputs[name]);
        expect({ name, text: result.content[0].text }).toEqual({ name, text: expect.stringMatching(/^forbidden: /) });
        for (const odd of [name.toUpperCase(), ` ${name}`, `${name}\0`, `tandem/${name}`])
          expect(await gateway.callTool(own, odd, inputs[name])).toMatchObject({ error: { code: -32602 } });
      }
      const resources = await namesIn(own, 'resources/list', 'resources', 'uri');
      for (const uri of await namesIn(all, 'resources/list', 'resources', 'uri')) {
        const { error, result } = await gateway.rpc(own, 'resources/read', { uri });
        if (resources.includes(uri)) expect(result).toBeDefined();
        else expect(error.message).toContain('forbidden');
        for (const odd of [`${uri}/`, uri.toUpperCase(), `${uri}?x`, uri.replace('://', '://../')])
          expect(await gateway.rpc(own, 'resources/read', { uri: odd })).toHaveProperty('error');
      }
      const prompts = await namesIn(own, 'prompts/list', 'prompts', 'name');
      for (const name of await namesIn(all, 'prompts/list', 'prompts', 'name'))
        if (!prompts.includes(name))
          expect(await gateway.rpc(own, 'prompts/get', { name })).toMatchObject({ error: { code: -32602 } });
      expect(gateway.sandbox.lambda.instances()).toHaveLength(1);
    },
  );

  it('do not take a poisoned prototype', async () => {
    const gateway = await startGuarded();
    const session = await gateway.openMcp((await gateway.holder(['infer', 'read', 'operate'])).headers);
    for (const poison of ['"__proto__":{"confirm_token":"x"}', '"constructor":{"prototype":{"confirm_token":"x"}}']) {
      const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"terminate_instance","arguments":{"instances":["sandbox-box"],${poison}}}}`;
      expect((await gateway.ask('POST', '/mcp', { ...asJson, ...session }, body)).status).toBe(400);
    }
    expect({}).not.toHaveProperty('confirm_token');
  });

  it('survive messages that are deeper than anybody means', async () => {
    const gateway = await startGuarded();
    const session = await gateway.openMcp((await gateway.holder(['infer'])).headers);
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    for (const params of [deep, `{"name":"complete","arguments":{"prompt":${deep}}}`, `{"name":${deep}}`]) {
      const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`;
      const { status } = await gateway.ask('POST', '/mcp', { ...asJson, ...session }, body);
      expect([200, 400]).toContain(status);
    }
    expect((await gateway.callTool(session, 'complete', { prompt: 'Hi' })).result.isError).toBeFalsy();
  });
});

describe('a session', () => {
  it('serves its principal only, on every path and method', async () => {
    const gateway = await startGuarded();
    const [ann, bob] = [await gateway.holder(['operate']), await gateway.holder(['infer', 'read', 'operate'])];
    const session = await gateway.openMcp(ann.headers);
    const stolen = { ...asJson, ...session, ...bob.headers };
    const body = { jsonrpc: '2.0', id: 1, method: 'tools/list' };
    for (const method of ['POST', 'GET', 'DELETE'])
      expect((await gateway.ask(method, '/mcp', stolen, method === 'POST' ? body : undefined)).status).toBe(404);
    const id = session['mcp-session-id'];
    expect((await gateway.ask('POST', `/messages?sessionId=${id}`, stolen, body)).status).toBe(404);
    expect((await gateway.ask('POST', '/mcp', { ...asJson, 'mcp-session-id': id ?? '' }, body)).status).toBe(401);
    expect((await gateway.rpc(session, 'tools/list')).result.tools).toHaveLength(3);
  });

  it('cannot be given an id by its client', async () => {
    const gateway = await startGuarded();
    const { headers } = await gateway.holder(['infer']);
    for (const id of ['chosen', '', '__proto__', '../x']) {
      const fixed = { ...asJson, ...headers, 'mcp-session-id': id };
      expect((await gateway.ask('POST', '/mcp', fixed, initialize)).status).toBe(404);
    }
    const ids = await Promise.all(
      Array.from({ length: 5 }, async () => (await gateway.openMcp(headers))['mcp-session-id']),
    );
    expect(new Set(ids).size).toBe(5);
  });

  it('does not lend its scopes to a narrower access token of the same subject', async () => {
    const issuer = await startIssuer();
    const gateway = await startGuarded({
      rest: { server: { oauth: { issuer: issuer.url, audience: issuer.audience } } },
    });
    const bearer = async (scope: string) => ({ authorization: `Bearer ${await issuer.issue({ scope })}` });
    const session = await gateway.openMcp(await bearer('read operate'));
    expect((await gateway.rpc(session, 'tools/list')).result.tools.length).toBeGreaterThan(2);
    const narrow = { ...session, ...(await bearer('infer')) };
    expect(await gateway.callTool(narrow, 'terminate_instance', inputs.terminate_instance)).toMatchObject({
      status: 404,
    });
    const renewed = { ...session, ...(await bearer('operate read')) };
    expect((await gateway.rpc(renewed, 'tools/list')).result.tools.length).toBeGreaterThan(2);
  });

  it('ends within five seconds of the revoke of its token elsewhere, and what ran in it ends too', async () => {
    const gateway = await startGuarded();
    const holder = await gateway.holder(['infer', 'operate']);
    const session = await gateway.openMcp(holder.headers);
    const stream = gateway.ask('GET', '/mcp', { ...session, accept: 'text/event-stream' });
    const running = gateway.callTool(session, 'complete', { prompt: 'x', model: 'stall' });
    await waitFor(() => gateway.sandbox.serverless.calls.length === 1, 'the call');
    const revokedAt = performance.now();
    await revokeElsewhere(gateway, holder.id);
    expect((await stream).status).toBe(200);
    await running;
    await waitFor(() => gateway.sandbox.serverless.calls[0]?.outcome === 'caller_left', 'the end of the call');
    expect(performance.now() - revokedAt).toBeLessThan(6_000);
    for (const path of ['/mcp', '/v1/chat/completions'])
      expect((await gateway.ask('POST', path, { ...asJson, ...session }, initialize)).status).toBe(401);
  }, 20_000);

  it('is no way around a limit of requests: batches are not taken', async () => {
    const gateway = await startGuarded();
    const { headers } = await gateway.holder(['infer'], { requestsPerMinute: 4 });
    const session = await gateway.openMcp(headers);
    const call = {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'complete', arguments: { prompt: 'x' } },
    };
    const batch = Array.from({ length: 50 }, (_, index) => ({ ...call, id: index + 1 }));
    const answer = await gateway.ask('POST', '/mcp', { ...asJson, ...session }, batch);
    expect(answer).toMatchObject({ status: 400, text: expect.stringContaining('batches are not taken') });
    expect(gateway.sandbox.serverless.calls).toEqual([]);
    const statuses = [];
    for (let index = 0; index < 3; index += 1)
      statuses.push((await gateway.ask('POST', '/mcp', { ...asJson, ...session }, call)).status);
    expect(statuses).toEqual([200, 200, 429]);
  });
});

describe('what spends and destroys', () => {
  const terminate = { instances: ['sandbox-box'] };

  it('takes no yes that somebody else was asked for', async () => {
    const gateway = await startGuarded();
    const [ann, bob] = [await gateway.holder(['operate']), await gateway.holder(['operate'])];
    const [own, other] = [await gateway.openMcp(ann.headers), await gateway.openMcp(bob.headers)];
    const planned = await gateway.callTool(own, 'terminate_instance', terminate);
    const token = planned.result.structuredContent.confirm_token as string;
    const stolen = await gateway.callTool(other, 'terminate_instance', { ...terminate, confirm_token: token });
    expect(stolen.result.content[0].text).toContain('This confirm_token is not known here.');
    expect(gateway.sandbox.lambda.instances()).toHaveLength(1);
    // Its own principal may use it, in another session too, and once.
    const again = await gateway.openMcp(ann.headers);
    const confirmed = { ...terminate, confirm_token: token };
    expect((await gateway.callTool(again, 'terminate_instance', confirmed)).result.isError).toBeFalsy();
    expect((await gateway.callTool(again, 'terminate_instance', confirmed)).result.isError).toBe(true);
    const rows = (await auditOf(gateway)).map((row) => [row.principal_id, row.action, row.confirmed_by, row.outcome]);
    expect(rows.slice(0, 3)).toEqual([
      [ann.id, 'terminate_instance', 'none', 'planned'],
      [bob.id, 'terminate_instance', 'none', 'failed:confirmation_invalid'],
      [ann.id, 'terminate_instance', 'confirm_token', 'done'],
    ]);
  });

  it('is audited also where it is refused, without a secret', async () => {
    const gateway = await startGuarded();
    const { id, headers, secret } = await gateway.holder(['read']);
    const session = await gateway.openMcp(headers);
    for (const name of ['complete', 'launch_instance', 'terminate_instance'])
      await gateway.callTool(session, name, { ...inputs[name] });
    const rows = await auditOf(gateway);
    expect(rows.map((row) => [row.principal_id, row.action, row.outcome])).toEqual([
      [id, 'complete', 'failed:forbidden'],
      [id, 'launch_instance', 'failed:forbidden'],
      [id, 'terminate_instance', 'failed:forbidden'],
    ]);
    expect(JSON.stringify(rows)).not.toContain(secret.slice(4));
  });
});

describe('answers', () => {
  it('never contain the token that was sent', async () => {
    const gateway = await startGuarded();
    const { headers, secret } = await gateway.holder(['infer', 'read', 'operate']);
    const session = await gateway.openMcp(headers);
    const texts = [
      JSON.stringify(await gateway.callTool(session, 'complete', { prompt: `Repeat ${secret}`, model: 'none' })),
      (await gateway.ask('GET', '/metrics', headers)).text,
      (await gateway.ask('GET', `/v1/models/${secret}`, headers)).text,
      (await gateway.ask('GET', `/${secret}`)).text,
      JSON.stringify(await gateway.readLedger(({ read }) => read.selectFrom('token').selectAll().execute())),
    ];
    for (const text of texts) expect(text).not.toContain(secret.slice(4));
  });
});
