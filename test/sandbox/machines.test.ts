import { describe, expect, it } from 'vitest';
import { askMachine, chat, openServing, openStillSandbox, serveConfig } from '../support/machines.ts';

const bootMs = 240_000;
const lagMs = 40_000;
const minuteMs = 60_000;

describe('a machine that serves a model', () => {
  it('cuts connections until it is active and its server has started', async () => {
    const { sandbox, clock, launch } = await openStillSandbox();
    const id = await launch(serveConfig());
    expect(await askMachine(sandbox, id, '/health')).toBeNull();
    clock.advance(bootMs);
    expect(sandbox.lambda.instances().at(-1)?.status).toBe('active');
    expect(await askMachine(sandbox, id, '/health')).toBeNull();
    clock.advance(lagMs - 1);
    expect(await askMachine(sandbox, id, '/v1/models')).toBeNull();
    clock.advance(1);
    expect(await askMachine(sandbox, id, '/health')).toMatchObject({ status: 200, text: '' });
  });

  it('lists the model under the name that it serves, with its context', async () => {
    const { ask } = await openServing();
    const { data } = JSON.parse((await ask('/v1/models'))?.text ?? '');
    expect(data).toMatchObject([{ id: 'box', max_model_len: 16_384 }]);
  });

  it('completes chats and plain prompts, and keeps what it was asked', async () => {
    const { sandbox, id, ask } = await openServing();
    const answer = await ask('/v1/chat/completions', { body: chat('box') });
    expect(answer?.text).toContain('Paris');
    const plain = await ask('/v1/completions', { body: { model: 'box', prompt: 'capital of France' } });
    expect(plain?.text).toContain('Paris');
    expect(sandbox.machineServer(id).calls).toMatchObject([
      { model: 'box', outcome: 'answered' },
      { model: 'box', outcome: 'answered' },
    ]);
  });

  it('does not know models that it does not serve', async () => {
    const { ask } = await openServing();
    expect(await ask('/v1/chat/completions', { body: chat('openai/gpt-oss-120b') })).toMatchObject({ status: 404 });
  });

  it('wants its key on /v1 and nowhere else', async () => {
    const { ask } = await openServing({ apiKey: 'k-123' });
    expect(await ask('/v1/models')).toMatchObject({ status: 401 });
    expect(await ask('/v1/chat/completions', { body: chat('box'), apiKey: 'wrong' })).toMatchObject({ status: 401 });
    expect(await ask('/v1/chat/completions', { body: chat('box'), apiKey: 'k-123' })).toMatchObject({ status: 200 });
    expect(await ask('/health')).toMatchObject({ status: 200 });
    expect(await ask('/metrics')).toMatchObject({ status: 200 });
  });

  it('takes behaviours put over its server', async () => {
    const { sandbox, id, ask } = await openServing();
    sandbox.machineServer(id).override = 'error-503';
    expect(await ask('/v1/chat/completions', { body: chat('box') })).toMatchObject({ status: 503 });
    expect(await ask('/health')).toMatchObject({ status: 200 });
  });

  it('serves apart from other machines', async () => {
    const { sandbox, clock, id, ask, launch, isUp } = await openServing();
    const other = await launch(serveConfig({ arguments: ['--model', 'org/other'] }));
    expect(await askMachine(sandbox, other, '/health')).toBeNull();
    clock.advance(bootMs + lagMs);
    expect((await askMachine(sandbox, other, '/v1/models'))?.text).toContain('"org/other"');
    await ask('/v1/chat/completions', { body: chat('box') });
    expect(sandbox.machineServer(id).calls).toHaveLength(1);
    expect(sandbox.machineServer(other).calls).toHaveLength(0);
    sandbox.lambda.vanish(other);
    expect(await isUp()).toBe(true);
  });

  it('marks its answers as the sandbox’s', async () => {
    const { sandbox, id } = await openServing();
    const { headers } = await fetch(`${sandbox.machineUrl(id)}/health`);
    expect(headers.get('x-tandem-sandbox')).toBe('true');
  });
});

describe('the end of a model server', () => {
  it('comes with the request to terminate its machine', async () => {
    const { id, callApi, isUp } = await openServing();
    await callApi('POST /instance-operations/terminate', { instance_ids: [id] });
    expect(await isUp()).toBe(false);
  });

  it('lasts through a restart and the start of the server, and the counters begin anew', async () => {
    const { id, ask, callApi, clock, isUp, metrics } = await openServing();
    await ask('/v1/chat/completions', { body: chat('box') });
    await callApi('POST /instance-operations/restart', { instance_ids: [id] });
    expect(await isUp()).toBe(false);
    clock.advance(minuteMs + lagMs - 1);
    expect(await isUp()).toBe(false);
    clock.advance(1);
    expect(await metrics()).toMatchObject({ 'vllm:prompt_tokens_total': 0, 'vllm:generation_tokens_total': 0 });
  });

  it.each([
    ['of a few pieces', null],
    ['without an end', 'endless'],
  ] as const)('cuts an answer %s in the middle', async (_title, behaviour) => {
    const { sandbox, clock, launch } = await openStillSandbox({ millisecondsPerPiece: 20 });
    const id = await launch(serveConfig());
    clock.advance(bootMs + lagMs);
    sandbox.machineServer(id).override = behaviour;
    const response = await fetch(`${sandbox.machineUrl(id)}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(chat('box', { stream: true })),
    });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    const awaited = behaviour ? 'and so on' : 'capital';
    while (!(await reader?.read())?.value?.includes(awaited));
    sandbox.lambda.vanish(id);
    const readOn = async () => {
      while (!(await reader?.read())?.done);
    };
    await expect(readOn()).rejects.toThrow('terminated');
    expect(sandbox.machineServer(id).calls).toMatchObject([{ outcome: 'broken' }]);
  });

  it.each([
    ['CUDA is broken', { cudaBroken: true }],
    ['the boot ends unhealthy', { boot: { outcome: 'unhealthy' } }],
    ['the server is dead', { serving: { dead: true } }],
  ])('is there from the beginning when %s', async (_reason, faults) => {
    const { clock, isUp } = await openServing({}, faults);
    clock.advance(60 * minuteMs);
    expect(await isUp()).toBe(false);
  });

  it('comes when it was told to at the launch, for good, and the machine stays active and billed', async () => {
    const { sandbox, id, callApi, clock, isUp } = await openServing({}, { serving: { diesAfterMs: 10 * minuteMs } });
    sandbox.lambda.applyFaults({ serving: { diesAfterMs: null } });
    clock.advance(10 * minuteMs - 1);
    expect(await isUp()).toBe(true);
    clock.advance(1);
    expect(await isUp()).toBe(false);
    expect((await callApi(`GET /instances/${id}`)).body.data.status).toBe('active');
    await callApi('POST /instance-operations/restart', { instance_ids: [id] });
    clock.advance(60 * minuteMs);
    expect(await isUp()).toBe(false);
    expect(sandbox.lambda.bill().instances.at(-1)).toMatchObject({ id, minutes: 71 });
  });

  it('is not put off by a restart', async () => {
    const { id, callApi, clock, isUp } = await openServing({}, { serving: { diesAfterMs: 10 * minuteMs } });
    clock.advance(5 * minuteMs);
    await callApi('POST /instance-operations/restart', { instance_ids: [id] });
    clock.advance(5 * minuteMs - 1);
    expect(await isUp()).toBe(true);
    clock.advance(1);
    expect(await isUp()).toBe(false);
  });

  it('spares machines launched before the fault', async () => {
    const { sandbox, clock, isUp } = await openServing();
    sandbox.lambda.applyFaults({ serving: { dead: true, diesAfterMs: 0, lagMs: 999 * minuteMs } });
    clock.advance(60 * minuteMs);
    expect(await isUp()).toBe(true);
  });
});

describe('the metrics of a model server', () => {
  it('are in vLLM’s words, with the name of the model', async () => {
    const { ask } = await openServing();
    const answer = await ask('/metrics');
    expect(answer?.type).toContain('text/plain');
    expect(answer?.text).toContain('# TYPE vllm:num_requests_running gauge');
    expect(answer?.text).toMatch(/^vllm:num_requests_waiting\{engine="0",model_name="box"\} 0\.0$/m);
    expect(answer?.text).toMatch(/^vllm:kv_cache_usage_perc\{.*model_name="box"\} 0\.0$/m);
  });

  it('count the tokens that were read and written, streamed or whole', async () => {
    const { ask, metrics } = await openServing();
    const whole = JSON.parse((await ask('/v1/chat/completions', { body: chat('box') }))?.text ?? '');
    const { prompt_tokens, completion_tokens } = whole.usage;
    expect(await metrics()).toMatchObject({
      'vllm:prompt_tokens_total': prompt_tokens,
      'vllm:generation_tokens_total': completion_tokens,
    });
    await ask('/v1/chat/completions', { body: chat('box', { stream: true }) });
    expect(await metrics()).toMatchObject({
      'vllm:prompt_tokens_total': 2 * prompt_tokens,
      'vllm:generation_tokens_total': 2 * completion_tokens,
      'vllm:num_requests_running': 0,
    });
  });

  it('show what runs and what waits, as long as it does', async () => {
    const command = ['--model', 'box', '--max-num-seqs', '2'];
    const { sandbox, id, ask, metrics } = await openServing({ arguments: command });
    const server = sandbox.machineServer(id);
    server.override = 'silent';
    const leaving = new AbortController();
    const calls = [1, 2, 3].map(() =>
      fetch(`${sandbox.machineUrl(id)}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(chat('box')),
        signal: leaving.signal,
      }).catch(() => undefined),
    );
    await expect.poll(() => server.calls.length).toBe(3);
    const busy = await metrics();
    expect(busy).toMatchObject({ 'vllm:num_requests_running': 2, 'vllm:num_requests_waiting': 1 });
    expect(busy['vllm:kv_cache_usage_perc']).toBeGreaterThan(0);
    leaving.abort();
    await Promise.all(calls);
    await expect.poll(() => server.load.openCalls).toBe(0);
    expect(await metrics()).toMatchObject({ 'vllm:num_requests_running': 0, 'vllm:kv_cache_usage_perc': 0 });
    expect(await ask('/health')).toMatchObject({ status: 200 });
  });

  it('are in SGLang’s words where SGLang serves', async () => {
    const image = 'lmsysorg/sglang:v0.5.3';
    const launchServer = ['python3', '-m', 'sglang.launch_server', '--model-path', 'org/m', '--context-length', '8192'];
    const { ask, metrics } = await openServing({ image, arguments: [...launchServer, '--enable-metrics'] });
    expect((await ask('/v1/models'))?.text).toContain('"max_model_len":8192');
    await ask('/v1/chat/completions', { body: chat('org/m') });
    const read = await metrics();
    expect(Object.keys(read)).toEqual([
      'sglang:num_running_reqs',
      'sglang:num_queue_reqs',
      'sglang:token_usage',
      'sglang:prompt_tokens_total',
      'sglang:generation_tokens_total',
    ]);
    expect(read['sglang:generation_tokens_total']).toBeGreaterThan(0);
  });

  it('are missing where SGLang was not told to keep them', async () => {
    const { ask } = await openServing({ image: 'lmsysorg/sglang:v0.5.3', arguments: ['--model-path', 'org/m'] });
    expect(await ask('/metrics')).toMatchObject({ status: 404 });
    expect(await ask('/health')).toMatchObject({ status: 200 });
  });
});
