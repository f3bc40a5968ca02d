import { describe, expect, it } from 'vitest';
import { usd } from '../../src/tools/text.ts';
import { until } from '../lambda/cloud.ts';
import { confirmed, instanceRows, launchLine } from '../lambda/steps.ts';
import { startWorld, type World } from '../support/world.ts';

interface Type {
  instance_type: string;
  price_usd_per_hour: number;
  gpus: number;
  gpu_memory_gb: number | null;
  regions_with_capacity: string[];
}

async function typesOf({ call }: World, filters: Record<string, unknown> = {}): Promise<Type[]> {
  return (await call('list_gpu_types', filters)).result.types;
}

/** The cells of a text table, without its two header lines. */
function rowsOf(text: string): string[][] {
  return text
    .split('\n')
    .slice(2)
    .map((line) => line.split(/ {2,}/));
}

describe('list_gpu_types', () => {
  it('lists every type that can be rented, cheapest first', async () => {
    const types = await typesOf(await startWorld());
    const prices = types.map((type) => type.price_usd_per_hour);
    expect(types.length).toBeGreaterThan(20);
    expect(prices).toEqual(prices.toSorted((one, other) => one - other));
  });

  it('says all that is needed to choose', async () => {
    const types = await typesOf(await startWorld());
    expect(types.find((type) => type.instance_type === 'gpu_8x_h100_sxm5')).toEqual({
      instance_type: 'gpu_8x_h100_sxm5',
      price_usd_per_hour: 31.92,
      gpu: 'H100 (80 GB SXM5)',
      gpus: 8,
      gpu_memory_gb: 640,
      vcpus: 208,
      memory_gib: 1800,
      architecture: 'x86_64',
      regions_with_capacity: ['us-south-3', 'europe-central-1'],
    });
  });

  it('lists what has capacity now, when asked', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ capacity: { gpu_1x_a10: [] } });
    const types = await typesOf(world, { available_only: true });
    expect(types.length).toBeGreaterThan(0);
    expect(types.every((type) => type.regions_with_capacity.length > 0)).toBe(true);
    expect(types.some((type) => type.instance_type === 'gpu_1x_a10')).toBe(false);
  });

  it('keeps to a price limit, inclusive', async () => {
    const types = await typesOf(await startWorld(), { max_hourly_usd: 1.09 });
    expect(types.map((type) => type.instance_type)).toContain('gpu_1x_a6000');
    expect(Math.max(...types.map((type) => type.price_usd_per_hour))).toBe(1.09);
  });

  it('counts the memory of all GPUs of a machine, inclusive', async () => {
    const types = await typesOf(await startWorld(), { min_gpu_memory_gb: 96 });
    const names = types.map((type) => type.instance_type);
    expect(names).toContain('gpu_2x_a6000');
    expect(names).toContain('gpu_1x_gh200');
    expect(names).not.toContain('gpu_1x_h100_sxm5');
    expect(types.every((type) => (type.gpu_memory_gb ?? 0) >= 96)).toBe(true);
  });

  it('combines its filters', async () => {
    const filters = { available_only: true, max_hourly_usd: 3, min_gpu_memory_gb: 90 };
    const types = await typesOf(await startWorld(), filters);
    expect(types.map((type) => type.instance_type)).toEqual(['gpu_2x_a6000', 'gpu_1x_gh200']);
  });

  it('shows machines without a GPU as such', async () => {
    const { call } = await startWorld();
    const { result, text } = await call('list_gpu_types', { max_hourly_usd: 0.2 });
    const cpus = result.types.filter((type: Type) => type.gpus === 0);
    expect(cpus.length).toBe(result.types.length);
    expect(cpus.length).toBeGreaterThan(0);
    expect(text).toContain('–');
  });

  it('says the same as text, line by line', async () => {
    const { call } = await startWorld();
    const { result, text } = await call('list_gpu_types', { min_gpu_memory_gb: 1 });
    const rows = rowsOf(text);
    expect(rows).toHaveLength(result.types.length);
    for (const [index, type] of result.types.entries()) {
      expect(rows[index]).toEqual([
        type.instance_type,
        `$${type.price_usd_per_hour.toFixed(2)}`,
        `${type.gpus}x ${type.gpu}`,
        `${type.gpu_memory_gb} GB`,
        `${type.vcpus}`,
        `${type.memory_gib} GiB`,
        type.architecture,
        type.regions_with_capacity.join(', ') || 'no capacity now',
      ]);
    }
  });

  it('says which filters to loosen when nothing fits', async () => {
    const { call } = await startWorld();
    const { result, text } = await call('list_gpu_types', { max_hourly_usd: 0 });
    expect(result.types).toEqual([]);
    expect(text).toBe('No instance type fits. Loosen the filters: available_only, max_hourly_usd, min_gpu_memory_gb.');
  });

  it('says what is missing when there is no key', async () => {
    const { call } = await startWorld({ environment: { LAMBDA_API_KEY: '' } });
    const { isError, text } = await call('list_gpu_types');
    expect(isError).toBe(true);
    expect(text).toMatch(/^not_configured: No Lambda Cloud key is configured\. Set LAMBDA_API_KEY/);
  });
});

describe('list_gpu_instances', () => {
  it('says that an empty account costs nothing', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ terminate: { durationMs: 0 } });
    await confirmed(world, 'terminate_instance', { instances: ['sandbox-box'] });
    // The API shows terminated machines for a while.
    await until(async () => (await world.call('list_gpu_instances')).result.instances.length === 0);
    expect((await world.call('list_gpu_instances')).text).toBe('No GPU instances. Nothing is being billed.');
  });

  it('shows a machine that Tandem launched with its age and cost', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ boot: { durationMs: 30_000 } });
    const { result } = await confirmed(world, 'launch_instance', { instance_type: 'gpu_1x_a10', name: 'ours' });
    await until(async () => (await instanceRows(world))[0]?.status === 'active');
    const listed = (await world.call('list_gpu_instances')).result.instances;
    expect(listed).toContainEqual({
      id: result.instance_id,
      name: 'ours',
      instance_type: 'gpu_1x_a10',
      region: 'us-east-1',
      status: 'active',
      ip: expect.stringMatching(/^198\.51\.100\./),
      age_seconds: expect.any(Number),
      price_usd_per_hour: 1.29,
      cost_so_far_usd: expect.any(Number),
      cost_upper_bound_usd: expect.any(Number),
      endpoint: null,
      managed: true,
      lease_ends_at: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d$/),
      lease_left_seconds: expect.any(Number),
      overdue: false,
    });
    const ours = listed.at(-1);
    expect(ours.cost_so_far_usd).toBeGreaterThan(0);
    expect(ours.cost_upper_bound_usd).toBeGreaterThanOrEqual(ours.cost_so_far_usd);
    expect(ours.age_seconds).toBeGreaterThanOrEqual(30);
  });

  it('charges nothing for a machine that boots, and says what it may cost at most', async () => {
    const world = await startWorld();
    await confirmed(world, 'launch_instance', { instance_type: 'gpu_1x_a10', name: 'young' });
    await world.clock.sleep(60_000);
    const young = (await world.call('list_gpu_instances')).result.instances.at(-1);
    expect(young).toMatchObject({ name: 'young', status: 'booting', ip: null, cost_so_far_usd: 0 });
    expect(young.cost_upper_bound_usd).toBeGreaterThanOrEqual(1.29 / 60);
  });

  it('shows the machine that somebody else launched, with the model server on it, at unknown cost', async () => {
    const world = await startWorld();
    expect((await world.call('list_gpu_instances')).result.instances).toMatchObject([
      {
        name: 'sandbox-box',
        managed: false,
        endpoint: `${world.sandbox.url}/dedicated/v1`,
        age_seconds: null,
        cost_so_far_usd: null,
        cost_upper_bound_usd: null,
        price_usd_per_hour: 2.29,
      },
    ]);
  });

  it('finds the model server on a machine by its address, too', async () => {
    const world = await startWorld({
      yaml: () =>
        'dedicated: [{id: anything, baseUrl: "http://198.51.100.2:8000/v1", models: [{id: m, contextWindow: 1000}]}]\n',
    });
    expect((await world.call('list_gpu_instances')).result.instances).toMatchObject([
      { name: 'sandbox-box', ip: '198.51.100.2', endpoint: 'http://198.51.100.2:8000/v1' },
    ]);
  });

  it('shows a launch whose answer is still open', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: launchLine, delayMs: 60_000 }] });
    const launching = confirmed(world, 'launch_instance', { instance_type: 'gpu_1x_a10', name: 'maybe' });
    await until(async () => (await instanceRows(world)).length === 1);
    const { result, text } = await world.call('list_gpu_instances');
    expect(result.instances.at(-1)).toMatchObject({
      id: null,
      name: 'maybe',
      instance_type: 'gpu_1x_a10',
      region: 'us-east-1',
      status: 'unconfirmed',
      ip: null,
      price_usd_per_hour: 1.29,
      cost_so_far_usd: null,
      managed: true,
    });
    expect(text).toContain('not known yet');
    await launching;
    expect((await world.call('list_gpu_instances')).result.instances.at(-1)).toMatchObject({
      name: 'maybe',
      status: 'booting',
    });
  });

  it('counts a status that nobody knows as running', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ boot: { durationMs: 1_000 }, shape: { unknownStatus: 'hibernating' } });
    await confirmed(world, 'launch_instance', { instance_type: 'gpu_1x_a10', name: 'odd' });
    await until(async () => (await instanceRows(world))[0]?.status === 'hibernating');
    const odd = (await world.call('list_gpu_instances')).result.instances.at(-1);
    expect(odd).toMatchObject({ name: 'odd', status: 'hibernating' });
    expect(odd.cost_so_far_usd).toBeGreaterThan(0);
  });

  it('says the same as text, line by line', async () => {
    const world = await startWorld();
    await confirmed(world, 'launch_instance', { instance_type: 'gpu_1x_a10', name: 'ours' });
    await world.clock.sleep(60_000);
    const { result, text } = await world.call('list_gpu_instances');
    const rows = rowsOf(text);
    expect(rows).toHaveLength(2);
    for (const [index, instance] of result.instances.entries()) {
      expect(rows[index]).toEqual([
        instance.name,
        instance.instance_type,
        instance.region,
        instance.status,
        instance.ip ?? '–',
        instance.age_seconds === null ? 'unknown' : expect.stringMatching(/^\d+ (s|min)$/),
        `$${instance.price_usd_per_hour.toFixed(2)}/h`,
        usd(instance.cost_so_far_usd),
        usd(instance.cost_upper_bound_usd),
        instance.lease_ends_at === null ? '–' : expect.stringMatching(/^in \d h \d\d min$/),
        instance.endpoint ?? '–',
        instance.managed ? 'yes' : 'no',
        instance.id,
      ]);
    }
  });

  it('shows no secret of a machine', async () => {
    const { call } = await startWorld();
    const answer = await call('list_gpu_instances');
    expect(JSON.stringify(answer)).not.toMatch(/jupyter|token/i);
  });

  it('passes on what the API says when it cannot be read', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ accountInactive: true });
    const { isError, text } = await world.call('list_gpu_instances');
    expect(isError).toBe(true);
    expect(text).toMatch(
      /^forbidden: Lambda Cloud: Your account is inactive.* Check the account's e-mail confirmation/,
    );
  });
});
