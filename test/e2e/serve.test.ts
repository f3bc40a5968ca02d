import { readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/folder.ts';
import { run, ServerProcess, sandboxAndEnvironment, waitFor } from '../support/process.ts';

const chat = { model: 'auto', messages: [{ role: 'user', content: 'Xylophone' }] };

async function serve(args: string[], environment: Record<string, string>) {
  const server = new ServerProcess(['serve', '--port', '0', ...args], environment);
  let url = '';
  await waitFor(() => {
    url = /listens on (http:\S+):/.exec(server.stderr)?.[1] ?? '';
    return url !== '' || server.child.exitCode !== null;
  }, `a server: ${server.stderr}`);
  return { server, url: url.replace('0.0.0.0', '127.0.0.1') };
}

async function makeToken(environment: Record<string, string>, scope: string): Promise<string> {
  const { stdout, exitCode } = await run(['token', 'create', '--name', 'e2e', '--scope', scope], environment);
  expect(exitCode).toBe(0);
  return stdout.trim();
}

describe('tandem serve', () => {
  it('does not listen for everybody without a token, and names the command that helps', async () => {
    const home = temporaryFolder();
    const refused = await run(['serve', '--host', '0.0.0.0', '--port', '0'], { TANDEM_HOME: home });
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain('tandem token create --name NAME --scope infer');
    expect(refused.stderr).not.toContain('listens on');
    await makeToken({ TANDEM_HOME: home }, 'infer');
    const { url } = await serve(['--host', '0.0.0.0'], { TANDEM_HOME: home });
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect((await fetch(`${url}/v1/models`)).status).toBe(401);
  });

  it('plans no deployment that could not be reached, where there is no ssh', async () => {
    const { environment } = await sandboxAndEnvironment();
    const { url } = await serve([], { ...environment, PATH: temporaryFolder() });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`)));
    const order = { instance_type: 'gpu_1x_gh200', serve: { model: 'openai/gpt-oss-120b' } };
    const { isError, content } = await client.callTool({ name: 'launch_instance', arguments: order });
    expect(isError).toBe(true);
    expect((content as { text: string }[])[0]?.text).toMatch(/^not_configured: The program ssh is not installed here/);
    await client.close();
  });

  it('serves the sandbox to this machine only', async () => {
    const refused = await run(['serve', '--sandbox', '--host', '0.0.0.0', '--port', '0']);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain('Run: tandem serve --sandbox --host 127.0.0.1');
    // Its folder among those of the test: it is killed and cannot clear it away.
    const { url } = await serve(['--sandbox'], { TMPDIR: temporaryFolder() });
    const answer = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(chat),
    });
    expect(answer.status).toBe(200);
  });

  it('writes no secret, prompt or line per request into its log, and none into its arguments', async () => {
    const { environment } = await sandboxAndEnvironment();
    const secret = await makeToken(environment, 'infer,read,operate');
    for (const [level, perRequest] of [
      ['info', false],
      ['trace', true],
    ] as const) {
      const { server, url } = await serve([], { ...environment, TANDEM_LOG_LEVEL: level });
      const before = server.stderr.length;
      const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' };
      for (let index = 0; index < 10; index += 1) {
        const body = JSON.stringify({ ...chat, stream: index % 2 === 0 });
        await (await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body })).text();
        await fetch(`${url}/metrics?token=${secret}`, { headers: { authorization: `Bearer ${secret}x` } });
        await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body: '{"model": "Xylophone' });
      }
      const client = new Client({ name: 'test', version: '1' });
      await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }));
      await client.callTool({ name: 'complete', arguments: { prompt: 'Xylophone', model: secret } });
      await client.close();
      if (!perRequest) expect(server.stderr.slice(before)).toBe('');
      expect(server.stderr).not.toContain(secret.slice(4, 24));
      expect(server.stderr).not.toContain(environment.SANDBOX_KEY);
      expect(server.stderr).not.toContain('Xylophone');
      expect(readFileSync(`/proc/${server.child.pid}/cmdline`, 'utf8')).not.toContain(secret);
      server.child.kill('SIGTERM');
      expect((await server.finished).exitCode).toBe(0);
    }
  }, 30_000);

  it('ends on SIGTERM within seconds, with an answer to everybody, while a person is asked, streams are open and a model is silent', async () => {
    const { environment, sandbox } = await sandboxAndEnvironment(
      ({ configYaml }) => `${configYaml}\nserver: {shutdownGraceMs: 1000}\n`,
    );
    const { server, url } = await serve([], environment);
    const client = new Client({ name: 'test', version: '1' }, { capabilities: { elicitation: {} } });
    let asked = false;
    client.setRequestHandler(ElicitRequestSchema, () => {
      asked = true;
      return new Promise(() => undefined);
    });
    await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`)));
    const launch = { name: 'terminate_instance', arguments: { instances: ['sandbox-box'] } };
    const calling = client.callTool(launch).catch((error: unknown) => error);
    const stalled = fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...chat, model: 'silent' }),
    }).then(async (answer) => ({ status: answer.status, text: await answer.text() }));
    await waitFor(() => asked && sandbox.serverless.calls.length === 1, 'the question and the call');
    const toldAt = performance.now();
    server.child.kill('SIGTERM');
    const { exitCode, stderr } = await server.finished;
    expect(exitCode).toBe(0);
    expect(performance.now() - toldAt).toBeLessThan(5_000);
    expect(stderr).not.toContain('could not stop cleanly');
    expect((await stalled).status).toBe(503);
    expect(JSON.stringify(await calling)).toContain('Tandem is closing');
    await client.close();
    expect(sandbox.lambda.instances()).toHaveLength(1);
    const { stdout } = await run(['audit'], environment);
    expect(stdout).toMatch(/terminate_instance.*(cancelled|failed)/);
  }, 20_000);
});
