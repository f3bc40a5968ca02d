import { describe, expect, it } from 'vitest';
import { askMachine, openServing, openStillSandbox, type ServeOrder, serveConfig } from '../support/machines.ts';

const minuteMs = 60_000;

describe('a cloud-config', () => {
  const base64 = (text: string) => Buffer.from(text).toString('base64');

  it.each<[string, ServeOrder, string]>([
    ['the model’s own name without an alias', { arguments: ['--model', 'org/m'] }, 'org/m'],
    ['a model without an option', { arguments: ['org/m', '--max-model-len', '4096'] }, 'org/m'],
    ['options with an equals sign', { arguments: ['--model=org/m', '--served-model-name=alias'] }, 'alias'],
    ['sudo', { docker: ['sudo', 'docker', 'run', '--publish=8000:8000'] }, 'box'],
  ])('is read with %s', async (_title, order, servedName) => {
    const { ask } = await openServing(order);
    expect((await ask('/v1/models'))?.text).toContain(`"id":"${servedName}"`);
  });

  it.each<[string, ServeOrder]>([
    ['in base64', { writeFiles: [{ path: '/etc/llm.env', encoding: 'b64', content: base64('VLLM_API_KEY=k') }] }],
    ['on the command line', { arguments: ['--model', 'box', '--api-key', 'k'] }],
  ])('is read with a key %s', async (_title, order) => {
    const { ask } = await openServing(order);
    expect(await ask('/v1/models')).toMatchObject({ status: 401 });
    expect(await ask('/v1/models', { apiKey: 'k' })).toMatchObject({ status: 200 });
  });

  it('gives its key to a container that reads the file, and to no other', async () => {
    const { ask } = await openServing({ apiKey: 'k', docker: ['docker', 'run', '-p', '8000:8000'] });
    expect(await ask('/v1/models')).toMatchObject({ status: 200 });
  });

  it.each([
    ['there is none', undefined],
    ['its first line does not say what it is', serveConfig().replace('#cloud-config\n', '')],
    ['it is not YAML', '#cloud-config\nruncmd: [a\n  b: {'],
    ['it runs no container', '#cloud-config\nruncmd: [[nvidia-smi, -L]]\n'],
    ['it is not a table', '#cloud-config\n- docker\n- run\n'],
    ['it publishes no port', serveConfig({ docker: ['docker', 'run', '-d'] })],
    ['it publishes another port', serveConfig({ docker: ['docker', 'run', '-p', '8000:9000'] })],
  ])('starts no model server when %s', async (_title, userData) => {
    const { sandbox, clock, launch } = await openStillSandbox();
    const id = await launch(userData);
    clock.advance(60 * minuteMs);
    expect(await askMachine(sandbox, id, '/health')).toBeNull();
    expect(() => sandbox.machineServer(id)).toThrow('starts no model server');
  });

  it('of a machine that nobody knows is nowhere', async () => {
    const { sandbox } = await openStillSandbox();
    expect(await askMachine(sandbox, 'nobody', '/health')).toBeNull();
    expect(() => sandbox.machineServer('nobody')).toThrow('starts no model server');
  });
});
