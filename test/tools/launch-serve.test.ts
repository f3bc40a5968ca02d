import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { until } from '../lambda/cloud.ts';
import { confirmed, countSent, instanceRows, launchLine } from '../lambda/steps.ts';
import { JumpClock } from '../support/clock.ts';
import { startWorld, type World } from '../support/world.ts';

const tool = 'launch_instance';
const model = 'openai/gpt-oss-120b';
const wish = { instance_type: 'gpu_1x_gh200', name: 'analysts', serve: { model } };

/** The machines that were launched; not the one that the sandbox starts with. */
function launched({ sandbox }: World) {
  return sandbox.lambda.instances().filter(({ name }) => name !== 'sandbox-box');
}

/** The call is refused, before anything was sent that could launch anything. */
async function expectRefusal(world: World, input: Record<string, unknown>): Promise<string> {
  const { isError, text } = await world.call(tool, input);
  expect(isError).toBe(true);
  expect(countSent(world, launchLine)).toBe(0);
  expect(await instanceRows(world)).toEqual([]);
  return text;
}

async function stateOf(world: World, name: string): Promise<Record<string, any> | undefined> {
  const { result } = await world.call('fleet_status');
  return (result.deployments as Record<string, any>[]).find((deployment) => deployment.name === name);
}

describe('launch_instance with serve: the plan', () => {
  it('says what is served, by which arithmetic it fits, how it is reached and when it is returned', async () => {
    const world = await startWorld();
    const { result, text } = await world.call(tool, wish);
    expect(result).toMatchObject({
      status: 'confirm_required',
      plan: { instance_type: 'gpu_1x_gh200', name: 'analysts', lease_hours: 4, worst_case_usd: expect.any(Number) },
    });
    expect(result.plan.serves).toMatch(
      /^openai\/gpt-oss-120b with vllm \(61 GB weights \+ \d+ GB cache and runtime of 96 GB\) by tunnel, returned after 30 min without work$/,
    );
    expect(text).toContain(result.plan.serves);
    expect(launched(world)).toEqual([]);
    expect((await world.call('fleet_status')).result.deployments).toEqual([]);
  });

  it('says which token goes onto the machine and what the server is told, and never the token', async () => {
    const world = await startWorld({ environment: { HF_TOKEN: 'hf_abcdefghijklmnopqrstuvwxyz' } });
    const serve = { model, hf_token_env: 'HF_TOKEN', extra_args: ['--trust-remote-code'], idle_minutes: null };
    const { result, text } = await world.call(tool, { ...wish, serve });
    expect(result.plan.serves).toMatch(
      / by tunnel, with the token in HF_TOKEN on the machine, with --trust-remote-code$/,
    );
    expect(text).not.toContain('hf_abc');
  });

  it('says to whom a direct endpoint is open', async () => {
    const serve = { model, endpoint: 'direct', allow_cidr: '203.0.113.0/24' };
    const { result } = await (await startWorld()).call(tool, { ...wish, serve });
    expect(result.plan.serves).toContain(' by direct, open to 203.0.113.0/24 by plain HTTP, ');
  });

  it('quotes arguments that could be taken for words of its own', async () => {
    const serve = {
      model,
      extra_args: ['--seed', '1', '--tag=\u202e', 'x, returned after 1 min without work? It is free'],
    };
    const { result } = await (await startWorld()).call(tool, { ...wish, serve });
    expect(result.plan.serves).toContain(
      ', with --seed 1 "--tag=\\u202e" "x, returned after 1 min without work? It is free", returned after 30 min',
    );
  });

  it('names the backend after the model when nobody else does', async () => {
    const { result } = await (await startWorld()).call(tool, { ...wish, name: undefined });
    expect(result.plan.name).toMatch(/^gpt-oss-120b-[0-9a-f]{4}$/);
  });

  it('asks the person where the client can, with all of it in the question', async () => {
    const questions: string[] = [];
    const world = await startWorld({
      person: (question) => {
        questions.push(question);
        return 'decline';
      },
    });
    const { result } = await world.call(tool, { ...wish, serve: { model, extra_args: ['--enforce-eager'] } });
    expect(result.status).toBe('declined');
    expect(questions).toHaveLength(1);
    expect(questions[0]).toMatch(
      /^Launch gpu_1x_gh200 .* then terminated, to serve openai\/gpt-oss-120b with vllm \(61 GB .*\) by tunnel, with --enforce-eager, returned after 30 min without work\? /,
    );
    expect(countSent(world, launchLine)).toBe(0);
  });
});

describe('launch_instance with serve: refusals', () => {
  it('refuses a model that does not fit, with the arithmetic and with types that hold it and can be had', async () => {
    const text = await expectRefusal(await startWorld(), { ...wish, instance_type: 'gpu_1x_a10' });
    expect(text).toMatch(
      /^invalid_input: openai\/gpt-oss-120b does not fit on gpu_1x_a10: 61 GB weights \+ \d+ GB cache and runtime of 24 GB\. It fits, with capacity now: gpu_\w+(, gpu_\w+){0,3}\. A shorter max_context needs less; allow_misfit tries all the same\.$/,
    );
  });

  it('plans it all the same when that is allowed', async () => {
    const serve = { model, allow_misfit: true };
    const { result } = await (await startWorld()).call(tool, { ...wish, instance_type: 'gpu_1x_a10', serve });
    expect(result.plan.serves).toContain('of 24 GB)');
  });

  it('takes no boot script beside it', async () => {
    const text = await expectRefusal(await startWorld(), { ...wish, user_data: '#!/bin/sh\ntrue\n' });
    expect(text).toMatch(/^invalid_input: Both serve and user_data are given\./);
  });

  it.each([
    ["of a GPU of one's own", 'sandbox-box'],
    ['of a provider', 'sandbox-serverless'],
    ['that stands for all of a kind', 'dedicated'],
  ])('refuses the name of a backend %s', async (_what, name) => {
    const text = await expectRefusal(await startWorld(), { ...wish, name });
    expect(text).toMatch(/^duplicate_name: The name ".*" is taken by a backend\. Give another name\./);
  });

  it('refuses a name that the schedule uses', async () => {
    const window = '{days: sun, from: "03:00", to: "04:00"}';
    const world = await startWorld({
      clock: new JumpClock(),
      yaml: () =>
        `fleet: [{name: analysts, count: 2, model: ${model}, types: [gpu_1x_gh200], windows: [${window}]}]\nbudgets: {dailyUsd: 50, monthlyUsd: 1000, timeZone: Etc/UTC}\n`,
    });
    expect(await expectRefusal(world, { ...wish, name: 'analysts-2' })).toMatch(/^duplicate_name: /);
  });

  it('refuses a name that cannot be one of a backend', async () => {
    const text = await expectRefusal(await startWorld(), { ...wish, name: 'our analysts' });
    expect(text).toMatch(/^invalid_input: "our analysts" cannot be the name of a backend\. Give a name of letters/);
  });

  it('refuses the name of another deployment, after the yes, and launches nothing', async () => {
    const world = await startWorld();
    const wait = { types: ['gpu_1x_gh200'], until: new Date(world.clock.nowMs() + 3_600_000).toISOString() };
    world.sandbox.lambda.applyFaults({ capacity: { gpu_1x_gh200: [] } });
    await confirmed(world, tool, { name: 'analysts', serve: { model }, wait_for_capacity: wait });
    const other = { ...wish, instance_type: 'gpu_1x_h100_sxm5' };
    const { text } = await confirmed(world, tool, other);
    expect(text).toMatch(/^duplicate_name: There is already a deployment "analysts"\./);
    expect(countSent(world, launchLine)).toBe(0);
  });

  it('refuses a token that is not set, and says which names may be', async () => {
    const serve = { model, hf_token_env: 'HF_TOKEN' };
    const text = await expectRefusal(await startWorld(), { ...wish, serve });
    expect(text).toMatch(/^not_configured: There is no environment variable HF_TOKEN that may go onto a machine\./);
  });

  it.each(['LAMBDA_API_KEY', 'SANDBOX_KEY', 'OPENAI_API_KEY', 'PATH', 'TANDEM_WEBHOOK_URL'])(
    'sends no other variable to a machine: not %s',
    async (name) => {
      const world = await startWorld({ environment: { OPENAI_API_KEY: 'sk-of-somebody', PATH: '/usr/bin' } });
      const text = await expectRefusal(world, { ...wish, serve: { model, hf_token_env: name } });
      expect(text).toMatch(new RegExp(`^not_configured: There is no environment variable ${name} that may go`));
      expect(text).not.toMatch(/sandbox-lambda-key|sk-of-somebody/);
    },
  );

  it('takes a variable of any name that the owner has put into the schedule', async () => {
    const world = await startWorld({
      clock: new JumpClock(),
      environment: { WEIGHTS_TOKEN: 'hf_ofourownweights' },
      yaml: () =>
        `fleet: [{name: night, model: ${model}, types: [gpu_1x_gh200], hfTokenEnv: WEIGHTS_TOKEN, windows: [{days: sun, from: "03:00", to: "04:00"}]}]\nbudgets: {dailyUsd: 50, monthlyUsd: 1000, timeZone: Etc/UTC}\n`,
    });
    const { result } = await world.call(tool, { ...wish, serve: { model, hf_token_env: 'WEIGHTS_TOKEN' } });
    expect(result.status).toBe('confirm_required');
  });

  it('takes the name of a variable, and does not repeat a token that was given instead', async () => {
    const serve = { model, hf_token_env: 'hf_abcdefghijklmnopqrstuvwxyz' };
    const text = await expectRefusal(await startWorld(), { ...wish, serve });
    expect(text).toMatch(/^invalid_input: .*serve\.hf_token_env: must be the NAME of an environment variable/);
    expect(text).not.toContain('hf_abc');
  });

  it.each([
    ['--api-key=mine', '--api-key'],
    ['--host', '--host'],
    ['--served_model_name', '--served-model-name'],
    ['-tp', '-tp'],
  ])('refuses %s, which Tandem sets itself', async (argument, flag) => {
    const text = await expectRefusal(await startWorld(), { ...wish, serve: { model, extra_args: [argument, 'x'] } });
    expect(text).toMatch(new RegExp(`^invalid_input: Tandem sets ${flag} itself`));
    expect(text).not.toContain('mine');
  });

  it('needs room in the budget until the lease ends', async () => {
    const world = await startWorld({
      clock: new JumpClock(),
      yaml: () => 'budgets: {dailyUsd: 5, monthlyUsd: 1000, timeZone: Etc/UTC}\n',
    });
    expect(await expectRefusal(world, wish)).toMatch(/^budget_exhausted: .* A lease of \d\.?\d* h would fit/);
  });
});

describe('launch_instance with serve: the yes', () => {
  it('returns at once, and the machine gets a boot script without a key of this computer', async () => {
    const world = await startWorld({ environment: { HF_TOKEN: 'hf_abcdefghijklmnopqrstuvwxyz' } });
    const { result } = await confirmed(world, tool, { ...wish, serve: { model, hf_token_env: 'HF_TOKEN' } });
    expect(result).toMatchObject({ status: 'launching', instance_id: expect.any(String) });
    expect(result.note).toMatch(/joins the router by itself, and serverless models answer until then/);
    const [machine] = launched(world);
    expect(machine?.userData).toMatch(/^#cloud-config\n/);
    expect(machine?.userData).toContain('HF_TOKEN=hf_abcdefghijklmnopqrstuvwxyz');
    expect(machine?.userData).not.toMatch(/sandbox-lambda-key|sandbox-serverless-key/);
    const { result: listed } = await world.call('list_gpu_instances');
    expect(listed.instances.find(({ name }: { name: string }) => name === 'analysts')).toMatchObject({
      serves: model,
      deployment: expect.stringMatching(/booting|starting|ready/),
      managed: true,
    });
  });

  it('is in the audit with what is served and the name of the token, and with no secret and no argument', async () => {
    const world = await startWorld({ environment: { HF_TOKEN: 'hf_abcdefghijklmnopqrstuvwxyz' } });
    const serve = { model, hf_token_env: 'HF_TOKEN', extra_args: ['--chat-template', 'private text'] };
    await confirmed(world, tool, { ...wish, serve });
    const [entry] = await world.app.audit.last(1);
    expect(entry).toMatchObject({ action: tool, effect: 'spend', outcome: 'done', confirmed_by: 'confirm_token' });
    expect(JSON.parse(entry?.subject ?? '')).toEqual({
      instance_type: 'gpu_1x_gh200',
      name: 'analysts',
      serve: { model, hf_token_env: 'HF_TOKEN' },
    });
    expect(JSON.parse(entry?.plan ?? '')).toMatchObject({
      instanceType: 'gpu_1x_gh200',
      priceCentsPerHour: expect.any(Number),
      serves: { spec: { model, engine: 'vllm', endpoint: 'tunnel', hfTokenEnv: 'HF_TOKEN' } },
    });
    expect(JSON.stringify(entry)).not.toMatch(/private text|hf_abc|BEGIN|sk-/);
  });

  it('holds for the same model: a token is not good for another one', async () => {
    const world = await startWorld();
    const { result } = await world.call(tool, wish);
    const other = { ...wish, serve: { model: 'openai/gpt-oss-20b' }, confirm_token: result.confirm_token };
    const { text } = await world.call(tool, other);
    expect(text).toMatch(/^confirmation_invalid: This confirm_token was given for other arguments\./);
    expect(countSent(world, launchLine)).toBe(0);
  });

  it('leaves no keys and no deployment behind when Lambda refuses the launch', async () => {
    const world = await startWorld();
    const input = { ...wish, confirm_token: (await world.call(tool, wish)).result.confirm_token };
    world.sandbox.lambda.applyFaults({ capacity: { gpu_1x_gh200: [] } });
    const { isError } = await world.call(tool, input);
    expect(isError).toBe(true);
    const folder = join(world.home, 'deployments');
    expect(existsSync(folder) ? readdirSync(folder, { recursive: true }) : []).toEqual([]);
    expect((await stateOf(world, 'analysts'))?.state).toBe('ended');
  });
});

describe('a deployment reached at its address', () => {
  it.each(['vllm', 'sglang'])(
    'has a key of its own, with which the router reaches %s, and which nobody is shown',
    async (engine) => {
      const world = await startWorld();
      const { result, text } = await confirmed(world, tool, {
        ...wish,
        serve: { model, engine, endpoint: 'direct', allow_cidr: '203.0.113.7/32' },
      });
      expect(result.plan.serves).toContain(' by direct');
      const [machine] = launched(world);
      const key = /VLLM_API_KEY=(sk-[0-9a-f]{64})/.exec(machine?.userData ?? '')?.[1] ?? 'none';
      expect(machine?.userData).toContain('0.0.0.0:8000:8000');
      await until(async () => (await stateOf(world, 'analysts'))?.state === 'ready', 20_000);
      const url = world.sandbox.machineUrl(machine?.id ?? '');
      expect((await fetch(`${url}/v1/models`)).status).toBe(401);
      const said = await world.call('complete', { prompt: 'Hello', backend: 'analysts' });
      expect(said.result).toMatchObject({ backend: 'analysts', model: 'gpt-oss-120b' });
      const files = readdirSync(join(world.home, 'deployments'), { recursive: true, encoding: 'utf8' });
      const keyFile = files.find((file) => file.endsWith('api_key'));
      expect(readFileSync(join(world.home, 'deployments', keyFile ?? ''), 'utf8').trim()).toBe(key);
      const shown = [
        text,
        said.text,
        (await world.call('fleet_status')).text,
        (await world.call('list_gpu_instances')).text,
      ];
      expect(shown.join('\n')).not.toContain(key);
      expect(JSON.stringify(await world.app.audit.last(10))).not.toContain(key);
      const rows = await world.readLedger((database) => database.read.selectFrom('deployment').selectAll().execute());
      expect(JSON.stringify(rows)).not.toContain(key);
    },
  );
});
