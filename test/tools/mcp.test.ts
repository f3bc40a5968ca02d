import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { encode } from 'gpt-tokenizer/encoding/o200k_base';
import { describe, expect, it } from 'vitest';
import { allTools, selectTools } from '../../src/tools/index.ts';
import { startWorld } from '../support/world.ts';

const names = [
  'complete',
  'route_explain',
  'list_gpu_instances',
  'list_gpu_types',
  'launch_instance',
  'renew_lease',
  'fleet_status',
  'terminate_instance',
  'cost_report',
  'rate_response',
];

describe('the tools as clients see them', () => {
  it('are these, in this order, with these schemas', async () => {
    const { client } = await startWorld();
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toEqual(names);
    await expect(`${JSON.stringify(tools, null, 2)}\n`).toMatchFileSnapshot('../fixtures/tools.json');
  });

  it('stay under 3,000 tokens together', async () => {
    const { client } = await startWorld();
    const tokens = encode(JSON.stringify((await client.listTools()).tools)).length;
    console.log(`tool definitions: ${tokens} tokens (o200k_base)`);
    expect(tokens).toBeLessThan(3_000);
  });

  it('have a title, a description, strict input, output of type object, and all four hints', async () => {
    const { client } = await startWorld();
    for (const tool of (await client.listTools()).tools) {
      expect(tool.title).toBeTruthy();
      expect(tool.description?.length).toBeGreaterThan(40);
      expect(tool.inputSchema).toMatchObject({ type: 'object', additionalProperties: false });
      expect(tool.outputSchema?.type).toBe('object');
      expect(Object.keys(tool.annotations ?? {}).sort()).toEqual([
        'destructiveHint',
        'idempotentHint',
        'openWorldHint',
        'readOnlyHint',
      ]);
      // Some clients drop the whole list when a schema begins with a choice.
      for (const schema of [tool.inputSchema, tool.outputSchema]) expect(schema).not.toHaveProperty(['anyOf']);
      expect(JSON.stringify(tool)).not.toMatch(/\$ref|\$schema|"type":\[/);
    }
  });

  it('say honestly what they do', async () => {
    const { client } = await startWorld();
    const hints = Object.fromEntries(
      (await client.listTools()).tools.map(({ name, annotations }) => [name, annotations]),
    );
    expect(hints.terminate_instance).toMatchObject({ readOnlyHint: false, destructiveHint: true });
    expect(hints.launch_instance).toMatchObject({ readOnlyHint: false, destructiveHint: false, idempotentHint: false });
    expect(hints.cost_report).toMatchObject({ readOnlyHint: true, destructiveHint: false, openWorldHint: false });
  });

  it('have file names after their own', () => {
    for (const tool of allTools) {
      const path = join(import.meta.dirname, '../../src/tools', `${tool.name.replaceAll('_', '-')}.ts`);
      expect(readFileSync(path, 'utf8')).toContain(tool.title);
    }
  });

  it('are listed in the README as they are', () => {
    const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
    const table = /<!-- tools -->\n([\s\S]*?)<!-- \/tools -->/.exec(readme)?.[1]?.trim();
    const rows = allTools.map(({ name, effect, description }) => `| \`${name}\` | ${effect} | ${description} |`);
    expect(table).toBe(['| tool | effect | what it does |', '|---|---|---|', ...rows].join('\n'));
  });

  it('are only the harmless ones when read-only', async () => {
    const { client, call } = await startWorld({ readOnly: true });
    const offered = (await client.listTools()).tools.map(({ name }) => name);
    expect(offered).toEqual(['route_explain', 'list_gpu_instances', 'list_gpu_types', 'fleet_status', 'cost_report']);
    await expect(call('complete', { prompt: 'x' })).rejects.toThrow(
      /There is no tool "complete" here\. Valid: route_explain/,
    );
  });

  it('are only the named ones when some are named', async () => {
    const { client } = await startWorld({ onlyTools: ['cost_report', 'complete'] });
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['complete', 'cost_report']);
  });

  it('cannot be chosen by a name that does not exist', () => {
    expect(() => selectTools({ readOnly: false, only: ['complete', 'destroy_all'] })).toThrow(
      /There is no tool "destroy_all"/,
    );
  });
});

describe('the server', () => {
  it('introduces itself and says when it is the sandbox', async () => {
    const { client } = await startWorld();
    expect(client.getServerVersion()).toMatchObject({ name: 'tandem', title: 'Tandem' });
    expect(client.getInstructions()).toMatch(/^This is the SANDBOX/);
  });

  it('reports all problems of the arguments at once', async () => {
    const { call } = await startWorld();
    const { isError, text } = await call('list_gpu_types', {
      max_hourly_usd: 'cheap',
      min_gpu_memory_gb: -1,
      colour: 'red',
    });
    expect(isError).toBe(true);
    expect(text).toMatch(/^invalid_input: list_gpu_types cannot take these arguments: /);
    expect(text).toMatch(
      /max_hourly_usd: .*; min_gpu_memory_gb: .*; unknown argument "colour" \(allowed: available_only, max_hourly_usd, min_gpu_memory_gb\)/,
    );
  });

  it('tells the client no more than an incident id about a bug', async () => {
    const { app, call } = await startWorld();
    await app.close();
    const { isError, text } = await call('cost_report');
    expect(isError).toBe(true);
    expect(text).toMatch(/^internal_error: .*incident [0-9a-f]{8}/);
    expect(text).not.toMatch(/\n|\.ts|driver/);
  });

  it('gives the instances and the report as resources', async () => {
    const { client } = await startWorld();
    expect((await client.listResources()).resources.map(({ uri }) => uri)).toEqual([
      'tandem://instances',
      'tandem://report',
      'tandem://sandbox',
    ]);
    const read = async (uri: string) => {
      const [content] = (await client.readResource({ uri })).contents;
      return content && 'text' in content ? content.text : '';
    };
    expect(JSON.parse(await read('tandem://instances'))).toMatchObject({ instances: [{ name: 'sandbox-box' }] });
    expect(await read('tandem://report')).toContain('0 requests');
    await expect(read('tandem://nothing')).rejects.toThrow(/Valid: tandem:\/\/instances/);
  });

  it('offers the everyday asks as prompts that name existing tools', async () => {
    const { client } = await startWorld();
    const { prompts } = await client.listPrompts();
    expect(prompts.map(({ name }) => name)).toEqual(['what_did_we_spend', 'get_me_a_gpu', 'return_gpus']);
    const { messages } = await client.getPrompt({ name: 'get_me_a_gpu', arguments: { purpose: 'a 70B model' } });
    const [message] = messages;
    expect(message?.content).toMatchObject({ type: 'text', text: expect.stringContaining('a 70B model') });
    await expect(client.getPrompt({ name: 'get_me_a_gpu' })).rejects.toThrow(/Argument purpose is missing/);
    await expect(client.getPrompt({ name: 'sing' })).rejects.toThrow(/Valid: what_did_we_spend/);
  });

  it('offers only prompts whose tools it offers', async () => {
    const { client } = await startWorld({ readOnly: true });
    expect((await client.listPrompts()).prompts.map(({ name }) => name)).toEqual(['what_did_we_spend']);
  });
});
