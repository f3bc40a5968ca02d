import { describe, expect, it } from 'vitest';
import { allTools } from '../../src/tools/index.ts';
import { countSent, launchLine } from '../lambda/steps.ts';
import { holderOf } from '../support/principal.ts';
import { startWorld } from '../support/world.ts';

const a10 = { instance_type: 'gpu_1x_a10' };

describe('what a principal may do', () => {
  it('is said by every tool', () => {
    expect(Object.fromEntries(allTools.map(({ name, scope }) => [name, scope]))).toEqual({
      complete: 'infer',
      route_explain: 'infer',
      list_gpu_instances: 'read',
      list_gpu_types: 'read',
      launch_instance: 'operate',
      renew_lease: 'operate',
      fleet_status: 'read',
      terminate_instance: 'operate',
      cost_report: 'read',
      rate_response: 'infer',
    });
  });

  it('decides which tools, resources and prompts are listed', async () => {
    const world = await startWorld();
    const seenBy = async (...given: Parameters<typeof holderOf>) => {
      const { client } = await world.connectAs(holderOf(...given));
      return {
        tools: (await client.listTools()).tools.map(({ name }) => name),
        resources: (await client.listResources()).resources.map(({ uri }) => uri),
        prompts: (await client.listPrompts()).prompts.map(({ name }) => name),
      };
    };
    expect(await seenBy('infer')).toEqual({
      tools: ['complete', 'route_explain', 'rate_response'],
      resources: [],
      prompts: [],
    });
    expect(await seenBy('read')).toEqual({
      tools: ['list_gpu_instances', 'list_gpu_types', 'fleet_status', 'cost_report'],
      resources: ['tandem://instances', 'tandem://report', 'tandem://sandbox'],
      prompts: ['what_did_we_spend'],
    });
    expect((await seenBy('read', 'operate')).prompts).toEqual(['what_did_we_spend', 'get_me_a_gpu', 'return_gpus']);
    expect(await seenBy()).toEqual({ tools: [], resources: [], prompts: [] });
  });

  it.each([
    ['launch_instance', a10, 'operate'],
    ['terminate_instance', { instances: ['sandbox-box'] }, 'operate'],
    ['list_gpu_instances', {}, 'read'],
    ['cost_report', {}, 'read'],
    ['fleet_status', {}, 'read'],
    ['renew_lease', { instance: 'sandbox-box', hours: 2 }, 'operate'],
    ['launch_instance', { ...a10, serve: { model: 'openai/gpt-oss-20b' } }, 'operate'],
    ['launch_instance', { wait_for_capacity: { types: ['gpu_1x_a10'], until: '2030-01-01T00:00:00Z' } }, 'operate'],
  ])('is not widened by calling %s by its name', async (tool, input, scope) => {
    const world = await startWorld();
    const { call } = await world.connectAs(holderOf('infer'));
    const { isError, text, result } = await call(tool, input);
    expect(isError).toBe(true);
    expect(text).toContain(`forbidden: ${tool} needs the scope ${scope}; "infer" has infer. Nothing was done.`);
    expect(text).toContain(`--scope ${scope}`);
    expect(result).toEqual({});
    expect(world.sandbox.lambda.requestLog).toEqual([]);
  });

  it('is not widened by a prompt for those who may only operate', async () => {
    const world = await startWorld();
    const { call } = await world.connectAs(holderOf('operate', 'read'));
    expect((await call('complete', { prompt: 'Hello' })).text).toMatch(/^forbidden: complete needs the scope infer/);
    expect(world.sandbox.serverless.calls).toEqual([]);
  });

  it('covers resources that are read by their address', async () => {
    const { client } = await (await startWorld()).connectAs(holderOf('infer', 'operate'));
    for (const uri of ['tandem://instances', 'tandem://report'])
      await expect(client.readResource({ uri })).rejects.toThrow(`forbidden: ${uri} needs the scope read`);
  });

  it('lets nobody redeem the plan of another principal', async () => {
    const world = await startWorld();
    const { call } = await world.connectAs(holderOf('operate'));
    const plan = await world.call('launch_instance', a10);
    const { isError, text } = await call('launch_instance', { ...a10, confirm_token: plan.result.confirm_token });
    expect(isError).toBe(true);
    expect(text).toMatch(/^confirmation_invalid: This confirm_token is not known here\. Nothing was done\./);
    expect(countSent(world, launchLine)).toBe(0);
  });

  it('stays within --read-only and --tools', async () => {
    const world = await startWorld({ readOnly: true });
    const { call } = await world.connectAs(holderOf('infer', 'read', 'operate'));
    await expect(call('launch_instance', a10)).rejects.toThrow('There is no tool "launch_instance" here');
  });
});
