import fastify from 'fastify';
import { request } from 'undici';
import { describe, expect, onTestFinished, test } from 'vitest';
import * as z from 'zod';
import type { Clock } from '../../src/clock.ts';
import { createLambdaCloud, type LambdaCloudOptions } from '../../src/sandbox/lambda/index.ts';

const apiKey = 'secret_sandbox_0123456789';
const startMs = Date.parse('2026-11-22T10:00:00Z');
const secondMs = 1_000;
const minuteMs = 60_000;

/** A clock that stands still until it is moved; sleepers wake when it passes their time. */
function createHandClock() {
  let nowMs = startMs;
  let sleepers: { wakeAtMs: number; wake: () => void }[] = [];
  const clock: Clock = {
    nowMs: () => nowMs,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason));
        sleepers.push({ wakeAtMs: nowMs + ms, wake: resolve });
      }),
  };
  return {
    clock,
    sleeping: () => sleepers.length,
    advance: (ms: number) => {
      nowMs += ms;
      for (const { wake } of sleepers.filter(({ wakeAtMs }) => wakeAtMs <= nowMs)) wake();
      sleepers = sleepers.filter(({ wakeAtMs }) => wakeAtMs > nowMs);
    },
  };
}

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  /** The parsed body; undefined where it is not JSON. Tests reach into it, so it is loosely typed. */
  body: any;
}

/** A fresh cloud on a free port. Unpaced unless asked, since the clock stands still. */
async function openCloud({ paced = false, ...options }: Partial<LambdaCloudOptions> & { paced?: boolean } = {}) {
  const { clock, advance, sleeping } = createHandClock();
  const cloud = createLambdaCloud({ clock, apiKey, ...options });
  cloud.applyFaults({ pacing: { enabled: paced } });
  const app = fastify();
  await app.register(cloud.plugin, { prefix: '/api/v1' });
  const origin = await app.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(() => app.close());

  const call = async (line: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> => {
    const [method = '', path = ''] = line.split(' ');
    const answer = await request(`${origin}/api/v1${path}`, {
      method: method as 'GET',
      headers: {
        'user-agent': 'tandem-test/1',
        authorization: `Bearer ${apiKey}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, headers: answer.headers, text, body: parse(text) };
  };
  const launch = async (extra: object = {}): Promise<string> => {
    const answer = await call('POST /instance-operations/launch', { ...order, ...extra });
    expect(answer.text).toContain('instance_ids');
    return answer.body.data.instance_ids[0];
  };
  const instance = async (id: string) => (await call(`GET /instances/${id}`)).body.data;
  const terminate = (...ids: string[]) => call('POST /instance-operations/terminate', { instance_ids: ids });
  const restart = (...ids: string[]) => call('POST /instance-operations/restart', { instance_ids: ids });
  const filesystem = async (name: string, region = 'us-east-1') =>
    (await call('POST /filesystems', { name, region })).body.data;
  const ruleset = async (name: string, region = 'us-east-1') =>
    (await call('POST /firewall-rulesets', { name, region, rules: [httpsRule] })).body.data;
  return {
    ...cloud,
    close: () => app.close(),
    advance,
    sleeping,
    call,
    launch,
    instance,
    terminate,
    restart,
    filesystem,
    ruleset,
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const order = { region_name: 'us-east-1', instance_type_name: 'gpu_1x_a10', ssh_key_names: ['laptop'] };
const httpsRule = { protocol: 'tcp', port_range: [443, 443], source_network: '0.0.0.0/0', description: 'https' };

function expectError(answer: Answer, status: number, code: string): void {
  expect({ status: answer.status, code: answer.body?.error?.code }).toEqual({ status, code });
}

/** The success bodies of the official document, one set per revision of it. Strict: an unknown field is a mistake. */
function documentedShapes(revision: 'early' | 'late') {
  const isLate = revision === 'late';
  const id = z.string().regex(/^[0-9a-f]{32}$/);
  const architecture = z.enum(['x86_64', 'arm64']);
  const region = z.strictObject({ name: z.string(), description: z.string() });
  const instanceType = z.strictObject({
    name: z.string(),
    description: z.string(),
    gpu_description: z.string(),
    price_cents_per_hour: z.int(),
    specs: z.strictObject({ vcpus: z.int(), memory_gib: z.int(), storage_gib: z.int(), gpus: z.int() }),
    ...(isLate ? { architecture } : {}),
  });
  const action = z.strictObject({
    available: z.boolean(),
    reason_code: z
      .enum(['vm-has-not-launched', 'vm-is-too-old', 'vm-is-terminating', 'vm-action-in-progress'])
      .optional(),
    reason_description: z.string().optional(),
  });
  const instance = z.strictObject({
    id,
    name: z.string().max(64).optional(),
    ip: z.ipv4().optional(),
    private_ip: z.ipv4().optional(),
    status: z.enum(['booting', 'active', 'unhealthy', 'terminated', 'terminating', 'preempted']),
    ssh_key_names: z.array(z.string()),
    file_system_names: z.array(z.string()),
    file_system_mounts: z
      .array(z.strictObject({ mount_point: z.string(), file_system_id: id }))
      .min(1)
      .optional(),
    region,
    instance_type: instanceType,
    hostname: z.string().optional(),
    jupyter_token: z.string().optional(),
    jupyter_url: z.url().optional(),
    actions: z.strictObject({
      migrate: action,
      rebuild: action,
      restart: action,
      cold_reboot: action,
      terminate: action,
      ...(isLate ? { power_cycle: action } : {}),
    }),
    tags: z.array(z.strictObject({ key: z.string(), value: z.string() })).optional(),
    firewall_rulesets: z.array(z.strictObject({ id })).optional(),
    ...(isLate ? { image: z.strictObject({ id: z.uuid(), family: z.string() }).optional() } : {}),
  });
  const image = z.strictObject({
    id: z.uuid(),
    created_time: z.iso.datetime(),
    updated_time: z.iso.datetime(),
    name: z.string(),
    description: z.string(),
    family: z.string(),
    version: z.string(),
    architecture,
    region,
  });
  const sshKey = z.strictObject({ id, name: z.string().min(1).max(64), public_key: z.string().min(1).max(4096) });
  const filesystem = z.strictObject({
    id,
    name: z.string(),
    mount_point: z.string(),
    created: z.iso.datetime(),
    created_by: z.strictObject({ id, email: z.string(), status: z.enum(['active', 'deactivated']) }),
    is_in_use: z.boolean(),
    region,
    bytes_used: z.int().optional(),
  });
  const port = z.int().min(1).max(65_535);
  const rule = z.strictObject({
    protocol: z.enum(['tcp', 'udp', 'icmp', 'all']),
    port_range: z.tuple([port, port]).optional(),
    source_network: z.string(),
    description: z.string().max(128),
  });
  const ruleset = z.strictObject({
    id,
    name: z.string(),
    region,
    rules: z.array(rule),
    created: z.iso.datetime(),
    instance_ids: z.array(id),
  });
  const globalRuleset = z.strictObject({ id: z.literal('global'), name: z.string(), rules: z.array(rule) });
  const lrn = z.string().startsWith('lrn:cloud:');
  const event = z.strictObject({
    service_name: z.literal('cloud'),
    resource_name: z.string(),
    action: z.string(),
    catalog_version: z.string(),
    event_id: id,
    event_time: z.iso.datetime(),
    actor_lrn: lrn.nullable(),
    resource_lrns: z.array(lrn),
    resource_owner_lrn: lrn.nullable(),
    request_api_key_lrn: lrn.nullable(),
    additional_details: z.record(z.string(), z.unknown()),
    ...(isLate
      ? {
          actor_email: z.string().nullable(),
          actor_display_name: z.string().nullable(),
          workspace_lrn: lrn.nullable(),
          client_ip: z.string().nullable(),
          client_user_agent: z.string().nullable(),
          surface: z.enum(['console', 'api', 'system']),
          result: z.strictObject({ status: z.enum(['success', 'failure']), status_code: z.int() }),
        }
      : {}),
  });
  const data = <T extends z.ZodType>(schema: T) => z.strictObject({ data: schema });
  return {
    instanceTypes: data(
      z.record(
        z.string(),
        z.strictObject({ instance_type: instanceType, regions_with_capacity_available: z.array(region) }),
      ),
    ),
    regions: data(z.array(region)),
    images: data(z.array(image)),
    instances: data(z.array(instance)),
    instance: data(instance),
    launched: data(z.strictObject({ instance_ids: z.array(id).length(1) })),
    restarted: data(z.strictObject({ restarted_instances: z.array(instance) })),
    terminated: data(z.strictObject({ terminated_instances: z.array(instance) })),
    sshKeys: data(z.array(sshKey)),
    sshKey: data(sshKey),
    generatedSshKey: data(sshKey.extend({ private_key: z.string() })),
    filesystems: data(z.array(filesystem)),
    filesystem: data(filesystem),
    deletedFilesystem: data(z.strictObject({ deleted_ids: z.array(id) })),
    rules: data(z.array(rule)),
    rulesets: data(z.array(ruleset)),
    ruleset: data(ruleset),
    globalRuleset: data(globalRuleset),
    events: z.strictObject({ data: z.array(event), page_token: z.string().nullable() }),
    empty: data(z.strictObject({})),
  };
}

describe('the document', () => {
  test.each(['early', 'late'] as const)(
    'every success body of the %s revision has the documented shape',
    async (revision) => {
      const shapes = documentedShapes(revision);
      const { call, advance } = await openCloud({ revision });
      const check = async (shape: keyof typeof shapes, line: string, body?: unknown) => {
        const answer = await call(line, body);
        expect(answer.status, line).toBe(200);
        const { error } = shapes[shape].safeParse(answer.body);
        expect(error && z.prettifyError(error), line).toBeUndefined();
        return answer.body.data;
      };

      await check('instanceTypes', 'GET /instance-types');
      await check('regions', 'GET /regions');
      await check('images', 'GET /images');
      await check('sshKeys', 'GET /ssh-keys');
      const key = await check('generatedSshKey', 'POST /ssh-keys', { name: 'made' });
      await check('sshKey', 'POST /ssh-keys', { name: 'brought', public_key: 'ssh-ed25519 AAAA brought' });
      await check('empty', `DELETE /ssh-keys/${key.id}`);
      const models = await check('filesystem', 'POST /filesystems', { name: 'models', region: 'us-east-1' });
      const spare = await check('filesystem', 'POST /filesystems', { name: 'spare', region: 'us-east-1' });
      await check('filesystems', 'GET /file-systems');
      await check('deletedFilesystem', `DELETE /filesystems/${spare.id}`);
      await check('rules', 'GET /firewall-rules');
      await check('rules', 'PUT /firewall-rules', { data: [httpsRule] });
      const web = await check('ruleset', 'POST /firewall-rulesets', {
        name: 'web',
        region: 'us-east-1',
        rules: [httpsRule],
      });
      await check('rulesets', 'GET /firewall-rulesets');
      await check('ruleset', `GET /firewall-rulesets/${web.id}`);
      await check('ruleset', `PATCH /firewall-rulesets/${web.id}`, { name: 'web2' });
      await check('globalRuleset', 'GET /firewall-rulesets/global');
      await check('globalRuleset', 'PATCH /firewall-rulesets/global', { rules: [httpsRule] });

      const launched = await check('launched', 'POST /instance-operations/launch', {
        ...order,
        name: 'router',
        hostname: 'router',
        image: { family: 'lambda-stack-24-04' },
        tags: [{ key: 'managed-by', value: 'test' }],
        file_system_names: ['models'],
        file_system_mounts: [{ mount_point: '/data/models', file_system_id: models.id }],
        firewall_rulesets: [{ id: web.id }],
      });
      const [id] = launched.instance_ids;
      await check('launched', 'POST /instance-operations/launch', order);
      await check('instances', 'GET /instances');
      advance(10 * minuteMs);
      await check('instances', 'GET /instances');
      await check('instance', `GET /instances/${id}`);
      await check('instance', `POST /instances/${id}`, { name: 'renamed' });
      await check('restarted', 'POST /instance-operations/restart', { instance_ids: [id] });
      await check('terminated', 'POST /instance-operations/terminate', { instance_ids: [id] });
      advance(minuteMs);
      await check('instances', 'GET /instances');
      await check('events', 'GET /audit-events');
      const other = await check('ruleset', 'POST /firewall-rulesets', { name: 'x', region: 'us-west-1', rules: [] });
      await check('empty', `DELETE /firewall-rulesets/${other.id}`);
    },
  );

  test('the late revision shows architecture, power_cycle, image and request ids', async () => {
    const { call, launch, instance } = await openCloud();
    const launched = await instance(await launch());
    expect(launched).toMatchObject({
      instance_type: { architecture: 'x86_64' },
      actions: { power_cycle: { available: false } },
      image: { family: 'lambda-stack-22-04' },
    });
    expect((await call('GET /instances/none')).body.error.request_id).toMatch(/^[0-9a-f]{32}$/);
  });

  test('the early revision shows none of them', async () => {
    const { call, launch, instance } = await openCloud({ revision: 'early' });
    const launched = await instance(await launch());
    expect(launched.instance_type).not.toHaveProperty('architecture');
    expect(launched.actions).not.toHaveProperty('power_cycle');
    expect(launched).not.toHaveProperty('image');
    expect((await call('GET /instances/none')).body.error).not.toHaveProperty('request_id');
  });

  test('tags can be replaced and cleared in the late revision, and stay when they are not named', async () => {
    const { call, launch, instance } = await openCloud();
    const id = await launch({ tags: [{ key: 'old', value: '1' }] });
    await call(`POST /instances/${id}`, { tags: [{ key: 'new', value: '2' }] });
    await call(`POST /instances/${id}`, { name: 'renamed' });
    expect(await instance(id)).toMatchObject({ name: 'renamed', tags: [{ key: 'new', value: '2' }] });
    await call(`POST /instances/${id}`, { tags: [] });
    expect((await instance(id)).tags).toEqual([]);
  });

  test('the early revision refuses to change tags and leaves the name alone then', async () => {
    const { call, launch, instance } = await openCloud({ revision: 'early' });
    const id = await launch({ name: 'before', tags: [{ key: 'old', value: '1' }] });
    expectError(await call(`POST /instances/${id}`, { name: 'after', tags: [] }), 400, 'global/invalid-parameters');
    expect(await instance(id)).toMatchObject({ name: 'before', tags: [{ key: 'old', value: '1' }] });
  });

  test('keys that start with lambda-ai- are reserved in the late revision only', async () => {
    const tags = [{ key: 'lambda-ai-owner', value: 'x' }];
    const late = await openCloud();
    expectError(
      await late.call('POST /instance-operations/launch', { ...order, tags }),
      400,
      'global/invalid-parameters',
    );
    const early = await openCloud({ revision: 'early' });
    await early.launch({ tags });
  });

  test('everything says that it is the sandbox', async () => {
    const { call } = await openCloud();
    const regions = await call('GET /regions');
    expect(regions.headers['x-tandem-sandbox']).toBe('true');
    expect(regions.body.data[0].description).toBe('Virginia, USA (sandbox)');
    const missing = await call('GET /nowhere');
    expect(missing.headers['x-tandem-sandbox']).toBe('true');
    expect(missing.body.error.message).toContain('(sandbox)');
  });

  test('the same seed gives the same ids, another seed other ones', async () => {
    const [first, again, other] = await Promise.all([1, 1, 2].map((seed) => openCloud({ seed })));
    const id = await first!.launch();
    expect(await again!.launch()).toBe(id);
    expect(await other!.launch()).not.toBe(id);
  });
});

describe('the catalogue', () => {
  test('is an object keyed by type, with whole-number prices', async () => {
    const { call } = await openCloud();
    const { data } = (await call('GET /instance-types')).body;
    expect(data.gpu_1x_h100_sxm5.instance_type).toMatchObject({ price_cents_per_hour: 429, specs: { gpus: 1 } });
    expect(data.gpu_1x_gh200.instance_type.architecture).toBe('arm64');
  });

  test('lists some types with regions and some without', async () => {
    const { call } = await openCloud();
    const { data } = (await call('GET /instance-types')).body;
    expect(data.gpu_1x_a10.regions_with_capacity_available.map((region: { name: string }) => region.name)).toEqual([
      'us-east-1',
      'us-west-1',
    ]);
    expect(data.gpu_8x_b200_sxm6.regions_with_capacity_available).toEqual([]);
  });

  test('lists one image per family, region and architecture, each with its own id', async () => {
    const { call } = await openCloud();
    const images: { id: string; family: string; region: { name: string } }[] = (await call('GET /images')).body.data;
    expect(new Set(images.map(({ id }) => id)).size).toBe(images.length);
    const inVirginia = images.filter(({ region }) => region.name === 'us-east-1').map(({ family }) => family);
    expect(new Set(inVirginia)).toEqual(new Set(['lambda-stack-22-04', 'lambda-stack-24-04', 'gpu-base-24-04']));
  });
});

describe('the life of a machine', () => {
  test('it boots without an address, gets one late in the boot and is active after about four minutes', async () => {
    const { advance, launch, instance } = await openCloud();
    const id = await launch();
    expect(await instance(id)).toMatchObject({ status: 'booting' });
    advance(2 * minuteMs);
    expect(await instance(id)).not.toHaveProperty('ip');
    advance(1.3 * minuteMs);
    expect(await instance(id)).toMatchObject({
      status: 'booting',
      ip: '198.51.100.2',
      hostname: 'sandbox-198-51-100-2',
    });
    advance(1.2 * minuteMs);
    expect(await instance(id)).toMatchObject({ status: 'active', ip: '198.51.100.2' });
  });

  test('eight GPUs take about twelve minutes', async () => {
    const { advance, launch, instance } = await openCloud();
    const id = await launch({ instance_type_name: 'gpu_8x_a100', region_name: 'us-midwest-1' });
    advance(10.5 * minuteMs);
    expect((await instance(id)).status).toBe('booting');
    advance(3 * minuteMs);
    expect((await instance(id)).status).toBe('active');
  });

  test('the Jupyter secrets appear once it is active', async () => {
    const { advance, launch, instance } = await openCloud();
    const id = await launch();
    expect(await instance(id)).not.toHaveProperty('jupyter_token');
    advance(5 * minuteMs);
    const { jupyter_token, jupyter_url } = await instance(id);
    expect(jupyter_token).toMatch(/^[0-9a-f]{32}$/);
    expect(jupyter_url).toContain(`?token=${jupyter_token}`);
  });

  test('terminated, it is first terminating, then terminated, then gone', async () => {
    const { advance, call, launch, instance, terminate } = await openCloud();
    const id = await launch();
    advance(5 * minuteMs);
    const answer = await terminate(id);
    expect(answer.body.data.terminated_instances).toMatchObject([{ id, status: 'terminating' }]);
    advance(39 * secondMs);
    expect((await instance(id)).status).toBe('terminating');
    advance(secondMs);
    const terminated = await instance(id);
    expect(terminated.status).toBe('terminated');
    expect(terminated).not.toHaveProperty('image');
    advance(2 * minuteMs);
    expect((await call('GET /instances')).body.data).toEqual([]);
    expectError(await call(`GET /instances/${id}`), 404, 'global/object-does-not-exist');
  });

  test('terminating twice changes nothing about the first time', async () => {
    const { advance, launch, terminate, instances } = await openCloud();
    const id = await launch();
    await terminate(id);
    advance(10 * secondMs);
    expect((await terminate(id)).status).toBe(200);
    expect(instances()[0]).toMatchObject({ terminateRequestedAtMs: startMs });
  });

  test('a restart boots for a minute, keeping its address and the first moment it was active', async () => {
    const { advance, launch, instance, restart, instances } = await openCloud();
    const id = await launch();
    advance(5 * minuteMs);
    const before = instances()[0]!.activeAtMs;
    const answer = await restart(id);
    expect(answer.body.data.restarted_instances).toMatchObject([{ id, status: 'booting', ip: '198.51.100.2' }]);
    expect((await instance(id)).actions.restart.reason_code).toBe('vm-action-in-progress');
    advance(minuteMs);
    expect((await instance(id)).status).toBe('active');
    expect(instances()[0]!.activeAtMs).toBe(before);
  });

  test('a machine that is still booting cannot be restarted', async () => {
    const { launch, restart } = await openCloud();
    expectError(await restart(await launch()), 409, 'global/conflict');
  });

  test('one unknown id fails the whole request', async () => {
    const { launch, terminate, restart, instance } = await openCloud();
    const id = await launch();
    expectError(await terminate(id, 'f'.repeat(32)), 404, 'global/object-does-not-exist');
    expectError(await restart('f'.repeat(32)), 404, 'global/object-does-not-exist');
    expect((await instance(id)).status).toBe('booting');
  });

  test('no machine is part of a cluster', async () => {
    const { call, launch } = await openCloud();
    await launch();
    expect((await call('GET /instances?cluster_id=abc')).body.data).toEqual([]);
  });

  test('a colleague can launch one too, active already if asked', async () => {
    const { addInstance, instance, instances } = await openCloud();
    const id = addInstance({
      name: 'theirs',
      launchedAtMs: startMs - 60 * minuteMs,
      active: true,
      priceCentsPerHour: 99,
    });
    expect(await instance(id)).toMatchObject({ name: 'theirs', status: 'active', ip: '198.51.100.2' });
    expect(instances()).toMatchObject([{ id, activeAtMs: startMs - 60 * minuteMs, priceCentsPerHour: 99 }]);
    expect((await instance(addInstance())).status).toBe('booting');
  });
});

describe('the bill', () => {
  test('counts whole minutes from active until terminated, and the boot is free', async () => {
    const { advance, applyFaults, launch, terminate, bill } = await openCloud();
    applyFaults({ boot: { durationMs: 4 * minuteMs } });
    const id = await launch();
    advance(4 * minuteMs);
    expect(bill()).toMatchObject({ totalCents: 0, instances: [{ id, minutes: 0 }] });
    advance(1);
    expect(bill().instances[0]).toEqual({ id, minutes: 1, cents: 129 / 60 });
    advance(10 * minuteMs - 1);
    await terminate(id);
    advance(60 * minuteMs);
    // Ten minutes and forty seconds of terminating.
    expect(bill()).toEqual({ totalCents: (11 * 129) / 60, instances: [{ id, minutes: 11, cents: (11 * 129) / 60 }] });
  });

  test('keeps the price of the launch when the price changes later', async () => {
    const { advance, applyFaults, launch, instance, bill, call } = await openCloud();
    applyFaults({ boot: { durationMs: 0 } });
    const id = await launch();
    applyFaults({ priceCentsPerHour: { gpu_1x_a10: 600 } });
    advance(60 * minuteMs);
    expect(bill().totalCents).toBe(129);
    expect((await instance(id)).instance_type.price_cents_per_hour).toBe(129);
    expect((await call('GET /instance-types')).body.data.gpu_1x_a10.instance_type.price_cents_per_hour).toBe(600);
    await launch();
    advance(60 * minuteMs);
    expect(bill().totalCents).toBe(2 * 129 + 600);
  });

  test('is empty for a machine that was terminated during its boot', async () => {
    const { advance, launch, terminate, bill, instances } = await openCloud();
    const id = await launch();
    advance(minuteMs);
    await terminate(id);
    advance(60 * minuteMs);
    expect(bill().totalCents).toBe(0);
    expect(instances()).toMatchObject([
      {
        status: 'terminated',
        launchedAtMs: startMs,
        activeAtMs: null,
        terminateRequestedAtMs: startMs + minuteMs,
        terminatedAtMs: startMs + minuteMs + 40 * secondMs,
      },
    ]);
  });
});

describe('the door', () => {
  test('takes the key as a bearer', async () => {
    const { call } = await openCloud();
    expect((await call('GET /regions')).status).toBe(200);
  });

  test.each([
    ['as the user name', `Basic ${Buffer.from(`${apiKey}:`).toString('base64')}`],
    ['as it is', `Basic ${apiKey}`],
  ])('takes the key in basic authentication %s', async (_how, authorization) => {
    const { call } = await openCloud();
    expect((await call('GET /regions', undefined, { authorization })).status).toBe(200);
  });

  test.each(['', 'Bearer wrong', 'Bearer', `Basic ${Buffer.from('wrong:').toString('base64')}`, apiKey])(
    'refuses the authorization "%s"',
    async (authorization) => {
      const { call } = await openCloud();
      expectError(await call('GET /regions', undefined, { authorization }), 401, 'global/invalid-api-key');
    },
  );

  test.each(['', 'Python-urllib/3.12'])('sends the user agent "%s" away with a page', async (userAgent) => {
    const { call } = await openCloud();
    const answer = await call('GET /regions', undefined, { 'user-agent': userAgent });
    expect(answer).toMatchObject({ status: 403, headers: { 'content-type': 'text/html; charset=utf-8' } });
    expect(answer.text).toContain('1010');
  });

  test.each(['GET /nowhere', 'GET /fabric', 'DELETE /instances'])('answers %s with not-found', async (line) => {
    const { call } = await openCloud();
    expectError(await call(line), 404, 'global/not-found');
  });

  test.each(['not json', '[]', ''])('refuses the body "%s"', async (body) => {
    const { call } = await openCloud();
    expectError(await call('POST /instance-operations/launch', body), 400, 'global/invalid-parameters');
  });

  test('does not mind a delete that announces JSON and sends nothing', async () => {
    const { call, filesystem } = await openCloud();
    const { id } = await filesystem('models');
    expect((await call(`DELETE /filesystems/${id}`, '')).status).toBe(200);
  });

  test('every request is in the log, with its status', async () => {
    const { call, advance, requestLog } = await openCloud();
    await call('GET /instances?cluster_id=1');
    advance(secondMs);
    await call('POST /instance-operations/launch', {});
    await call('GET /regions', undefined, { authorization: '' });
    expect(requestLog).toEqual([
      { atMs: startMs, method: 'GET', path: '/instances', status: 200 },
      { atMs: startMs + secondMs, method: 'POST', path: '/instance-operations/launch', status: 400 },
      { atMs: startMs + secondMs, method: 'GET', path: '/regions', status: 401 },
    ]);
  });
});

describe('pacing', () => {
  const statuses = async (count: number, next: () => Promise<Answer>) => {
    const seen: number[] = [];
    for (let i = 0; i < count; i += 1) seen.push((await next()).status);
    return seen;
  };

  test('is on from the start', async () => {
    const { clock } = createHandClock();
    expect(createLambdaCloud({ clock, apiKey }).faults.pacing.enabled).toBe(true);
  });

  test('lets three requests through at once and then one a second', async () => {
    const { call, advance } = await openCloud({ paced: true });
    const read = () => call('GET /regions');
    expect(await statuses(4, read)).toEqual([200, 200, 200, 429]);
    advance(999);
    expect(await statuses(1, read)).toEqual([429]);
    advance(1);
    expect(await statuses(2, read)).toEqual([200, 429]);
  });

  test('never stops a client that keeps to one request a second', async () => {
    const { call, advance } = await openCloud({ paced: true });
    const everySecond = () => {
      advance(secondMs);
      return call('GET /regions');
    };
    expect(new Set(await statuses(10, everySecond))).toEqual(new Set([200]));
  });

  test('lets one launch through per twelve seconds', async () => {
    const { call, advance } = await openCloud({ paced: true });
    const launch = () => call('POST /instance-operations/launch', order);
    expect(await statuses(2, launch)).toEqual([200, 429]);
    advance(11_999);
    expect(await statuses(1, launch)).toEqual([429]);
    advance(1);
    expect(await statuses(1, launch)).toEqual([200]);
  });

  test('does not count requests with a wrong key', async () => {
    const { call } = await openCloud({ paced: true });
    await statuses(5, () => call('GET /regions', undefined, { authorization: 'Bearer wrong' }));
    expect((await call('GET /regions')).status).toBe(200);
  });

  test('can be set', async () => {
    const { call, advance, applyFaults } = await openCloud({ paced: true });
    applyFaults({ pacing: { burst: 1, requestIntervalMs: 5 * secondMs } });
    expect(await statuses(2, () => call('GET /regions'))).toEqual([200, 429]);
    advance(5 * secondMs);
    expect(await statuses(1, () => call('GET /regions'))).toEqual([200]);
  });

  test.each([
    ['json', 'application/json; charset=utf-8', /"error"/],
    ['html', 'text/html; charset=utf-8', /<html/],
    ['empty', undefined, /^$/],
  ])('answers 429 with a body of kind %s and says when to come back', async (body, contentType, pattern) => {
    const { call, applyFaults } = await openCloud({ paced: true });
    applyFaults({ pacing: { body, retryAfterSeconds: 7, burst: 1 } });
    await call('GET /regions');
    const answer = await call('GET /regions');
    expect(answer.status).toBe(429);
    expect(answer.headers['retry-after']).toBe('7');
    expect(answer.headers['content-type']).toBe(contentType);
    expect(answer.text).toMatch(pattern);
  });

  test('gives no Retry-After unless asked to', async () => {
    const { call, applyFaults } = await openCloud({ paced: true });
    applyFaults({ pacing: { burst: 1 } });
    await call('GET /regions');
    expect((await call('GET /regions')).headers).not.toHaveProperty('retry-after');
  });
});

describe('a launch', () => {
  test.each([
    ['no region', { region_name: undefined }],
    ['an unknown region', { region_name: 'us-moon-1' }],
    ['no SSH key', { ssh_key_names: [] }],
    ['two SSH keys', { ssh_key_names: ['laptop', 'laptop'] }],
    ['a name of 65 letters', { name: 'x'.repeat(65) }],
    ['a hostname in capitals', { hostname: 'Router' }],
    ['a hostname of 64 letters', { hostname: 'x'.repeat(64) }],
    ['an empty hostname', { hostname: '' }],
    ['a tag key of one letter', { tags: [{ key: 'a', value: '' }] }],
    ['a tag key of 56 letters', { tags: [{ key: 'a'.repeat(56), value: '' }] }],
    ['a tag key with an underscore', { tags: [{ key: 'managed_by', value: '' }] }],
    ['a tag value of 129 letters', { tags: [{ key: 'key', value: 'x'.repeat(129) }] }],
    ['user data beyond 1 MB', { user_data: 'x'.repeat(1_000_001) }],
    [
      'a mount point outside the allowed places',
      { file_system_mounts: [{ mount_point: '/etc', file_system_id: 'x' }] },
    ],
    ['a quantity of two', { quantity: 2 }],
    ['an image without id and family', { image: {} }],
  ])('with %s is refused as invalid', async (_what, extra) => {
    const { call, instances } = await openCloud();
    const answer = await call('POST /instance-operations/launch', { ...order, ...extra });
    expectError(answer, 400, 'global/invalid-parameters');
    expect(instances()).toEqual([]);
  });

  test('of two is refused in the words that clients know', async () => {
    const { call } = await openCloud();
    const answer = await call('POST /instance-operations/launch', { ...order, quantity: 2 });
    expect(answer.body.error.message).toContain('quantity: Input should be less than or equal to 1');
  });

  test('at all the limits is accepted', async () => {
    const { launch, instances } = await openCloud();
    await launch({
      name: 'x'.repeat(64),
      hostname: 'x'.repeat(63),
      tags: [{ key: 'a'.repeat(55), value: 'x'.repeat(128) }],
      user_data: 'x'.repeat(1_000_000),
      quantity: 1,
      not_in_the_document: true,
    });
    expect(instances()[0]?.userData).toHaveLength(1_000_000);
  });

  test('never shows its user data again', async () => {
    const { call, launch } = await openCloud();
    await launch({ user_data: '#cloud-config secret' });
    expect((await call('GET /instances')).text).not.toContain('cloud-config');
  });

  test.each([
    ['instance type', { instance_type_name: 'gpu_9x_none' }],
    ['SSH key', { ssh_key_names: ['unknown'] }],
    ['image family', { image: { family: 'windows' } }],
    ['image', { image: { id: '43336648-096d-4cba-9aa2-f9bb7727639d' } }],
    ['filesystem', { file_system_names: ['unknown'] }],
    ['mounted filesystem', { file_system_mounts: [{ mount_point: '/data/x', file_system_id: 'unknown' }] }],
    ['firewall ruleset', { firewall_rulesets: [{ id: 'unknown' }] }],
  ])('with an unknown %s is a 400 that says so', async (_what, extra) => {
    const { call } = await openCloud();
    const answer = await call('POST /instance-operations/launch', { ...order, ...extra });
    expectError(answer, 400, 'global/object-does-not-exist');
  });

  test('takes the image by id, and refuses one for the other architecture', async () => {
    const { call, launch, instance } = await openCloud();
    const images: { id: string; architecture: string; region: { name: string } }[] = (await call('GET /images')).body
      .data;
    const here = images.filter(({ region }) => region.name === 'us-east-1');
    const fitting = here.find(({ architecture }) => architecture === 'x86_64')!;
    const other = here.find(({ architecture }) => architecture === 'arm64')!;
    const id = await launch({ image: { id: fitting.id } });
    expect((await instance(id)).image.id).toBe(fitting.id);
    const answer = await call('POST /instance-operations/launch', { ...order, image: { id: other.id } });
    expectError(answer, 400, 'global/invalid-parameters');
  });

  test('where there is no capacity is refused', async () => {
    const { call } = await openCloud();
    const answer = await call('POST /instance-operations/launch', { ...order, region_name: 'us-west-2' });
    expectError(answer, 400, 'instance-operations/launch/insufficient-capacity');
  });

  test('mounts filesystems at their usual place, or where it is told to', async () => {
    const { launch, instance, filesystem } = await openCloud();
    const models = await filesystem('models');
    const logs = await filesystem('logs');
    const id = await launch({
      file_system_names: ['models', 'logs'],
      file_system_mounts: [{ mount_point: '/data/models', file_system_id: models.id }],
    });
    const launched = await instance(id);
    expect(launched.file_system_names).toEqual(['models', 'logs']);
    expect(launched.file_system_mounts).toEqual([
      { mount_point: '/data/models', file_system_id: models.id },
      { mount_point: '/lambda/nfs/logs', file_system_id: logs.id },
    ]);
  });

  test('with a filesystem or a ruleset of another region is refused', async () => {
    const { call, filesystem, ruleset } = await openCloud();
    await filesystem('far', 'us-west-1');
    const far = await ruleset('far', 'us-west-1');
    expectError(
      await call('POST /instance-operations/launch', { ...order, file_system_names: ['far'] }),
      400,
      'instance-operations/launch/file-system-in-wrong-region',
    );
    expectError(
      await call('POST /instance-operations/launch', { ...order, firewall_rulesets: [{ id: far.id }] }),
      400,
      'global/invalid-parameters',
    );
  });

  test('a rename to 65 letters is refused', async () => {
    const { call, launch } = await openCloud();
    expectError(
      await call(`POST /instances/${await launch()}`, { name: 'x'.repeat(65) }),
      400,
      'global/invalid-parameters',
    );
  });
});

describe('the rest of the account', () => {
  test('starts with the key of a laptop', async () => {
    const { call } = await openCloud();
    expect((await call('GET /ssh-keys')).body.data).toMatchObject([{ name: 'laptop' }]);
  });

  test('shows a generated private key once and never again', async () => {
    const { call } = await openCloud();
    expect((await call('POST /ssh-keys', { name: 'made' })).body.data.private_key).toContain('PRIVATE KEY');
    expect((await call('GET /ssh-keys')).text).not.toContain('PRIVATE KEY');
  });

  test('refuses a second key of the same name, and takes it after the first is deleted', async () => {
    const { call } = await openCloud();
    const again = await call('POST /ssh-keys', { name: 'laptop' });
    expectError(again, 400, 'global/duplicate');
    expect(again.body.error.message).toContain('duplicate');
    const [laptop] = (await call('GET /ssh-keys')).body.data;
    await call(`DELETE /ssh-keys/${laptop.id}`);
    expect((await call('POST /ssh-keys', { name: 'laptop' })).status).toBe(200);
    expectError(await call(`DELETE /ssh-keys/${laptop.id}`), 404, 'global/not-found');
  });

  test.each([{ name: '' }, { name: 'x'.repeat(65) }, { name: 'x', public_key: 'x'.repeat(4097) }, {}])(
    'refuses the SSH key %#',
    async (body) => {
      const { call } = await openCloud();
      expectError(await call('POST /ssh-keys', body), 400, 'global/invalid-parameters');
    },
  );

  test.each(['POST /file-systems', 'GET /filesystems'])('answers %s with 405', async (line) => {
    const { call } = await openCloud();
    expect((await call(line, line.startsWith('POST') ? {} : undefined)).status).toBe(405);
  });

  test.each([{ name: '1st' }, { name: 'x'.repeat(61) }, { name: 'a_b' }, { region: 'us-moon-1' }])(
    'refuses the filesystem %o',
    async (extra) => {
      const { call } = await openCloud();
      const answer = await call('POST /filesystems', { name: 'models', region: 'us-east-1', ...extra });
      expectError(answer, 400, 'global/invalid-parameters');
    },
  );

  test('refuses a second filesystem of the same name and a twenty-fifth one', async () => {
    const { call, filesystem } = await openCloud();
    for (let i = 0; i < 24; i += 1) await filesystem(`models-${i}`);
    const create = (name: string) => call('POST /filesystems', { name, region: 'us-east-1' });
    expectError(await create('models-0'), 400, 'global/duplicate');
    expectError(await create('models-24'), 400, 'global/quota-exceeded');
  });

  test('keeps a filesystem until the machine that mounts it is terminated', async () => {
    const { call, launch, terminate, advance, filesystem } = await openCloud();
    const { id } = await filesystem('models');
    const machineId = await launch({ file_system_names: ['models'] });
    expect((await call('GET /file-systems')).body.data).toMatchObject([{ id, is_in_use: true }]);
    expectError(await call(`DELETE /filesystems/${id}`), 400, 'filesystems/filesystem-in-use');
    await terminate(machineId);
    advance(minuteMs);
    expect((await call(`DELETE /filesystems/${id}`)).body.data).toEqual({ deleted_ids: [id] });
    expectError(await call(`DELETE /filesystems/${id}`), 404, 'global/object-does-not-exist');
  });

  test('lets in ping and SSH until the rules are replaced, which the global ruleset shows too', async () => {
    const { call } = await openCloud();
    const before = (await call('GET /firewall-rules')).body.data;
    expect(before).toMatchObject([{ protocol: 'icmp' }, { protocol: 'tcp', port_range: [22, 22] }]);
    await call('PUT /firewall-rules', { data: [httpsRule] });
    expect((await call('GET /firewall-rulesets/global')).body.data.rules).toEqual([httpsRule]);
    await call('PATCH /firewall-rulesets/global', { rules: before });
    expect((await call('GET /firewall-rules')).body.data).toEqual(before);
  });

  test.each([
    ['icmp with ports', { protocol: 'icmp' }],
    ['tcp without ports', { port_range: undefined }],
    ['port 0', { port_range: [0, 10] }],
    ['port 65536', { port_range: [1, 65_536] }],
    ['ports the wrong way round', { port_range: [20, 10] }],
    ['one port', { port_range: [20] }],
    ['an unknown protocol', { protocol: 'sctp' }],
    ['a source that is no network', { source_network: 'everywhere' }],
    ['no description', { description: undefined }],
    ['a description of 129 letters', { description: 'x'.repeat(129) }],
  ])('refuses a rule with %s', async (_what, extra) => {
    const { call } = await openCloud();
    expectError(
      await call('PUT /firewall-rules', { data: [{ ...httpsRule, ...extra }] }),
      400,
      'global/invalid-parameters',
    );
  });

  test('keeps a ruleset until no machine uses it', async () => {
    const { call, launch, terminate, advance, ruleset } = await openCloud();
    const { id } = await ruleset('web');
    const machineId = await launch({ firewall_rulesets: [{ id }] });
    expect((await call(`GET /firewall-rulesets/${id}`)).body.data.instance_ids).toEqual([machineId]);
    expectError(await call(`DELETE /firewall-rulesets/${id}`), 400, 'firewall-rulesets/firewall-ruleset-in-use');
    await terminate(machineId);
    advance(minuteMs);
    expect((await call(`DELETE /firewall-rulesets/${id}`)).body).toEqual({ data: {} });
    expectError(await call(`GET /firewall-rulesets/${id}`), 404, 'global/object-does-not-exist');
  });

  test('changes of a ruleset only what is named', async () => {
    const { call, ruleset } = await openCloud();
    const { id } = await ruleset('web');
    await call(`PATCH /firewall-rulesets/${id}`, { name: 'renamed' });
    expect((await call(`GET /firewall-rulesets/${id}`)).body.data).toMatchObject({
      name: 'renamed',
      rules: [httpsRule],
    });
  });
});

describe('the audit log', () => {
  test('dates the launch of a machine that somebody else made', async () => {
    const { call, addInstance } = await openCloud();
    const launchedAtMs = startMs - 60 * minuteMs;
    const id = addInstance({ launchedAtMs, active: true });
    const { data } = (await call('GET /audit-events?resource_type=cloud.instance')).body;
    expect(data).toMatchObject([
      {
        event_time: new Date(launchedAtMs).toISOString(),
        resource_lrns: [`lrn:cloud:instance:${id}`],
        additional_details: {
          instance_lrn: `lrn:cloud:instance:${id}`,
          instance_type: 'gpu_1x_a10',
          region: 'us-east-1',
        },
        request_api_key_lrn: null,
        surface: 'console',
      },
    ]);
  });

  test('can be narrowed to a time and a kind of thing', async () => {
    const { call, launch, advance } = await openCloud();
    await launch();
    advance(minuteMs);
    await call('POST /ssh-keys', { name: 'made' });
    const actions = async (query: string): Promise<string[]> =>
      (await call(`GET /audit-events?${query}`)).body.data.map(
        (event: { resource_name: string; action: string }) => `${event.resource_name} ${event.action}`,
      );
    expect(await actions('')).toEqual(['instance launched', 'ssh_key created']);
    expect(await actions('resource_type=cloud.ssh_key')).toEqual(['ssh_key created']);
    expect(await actions('start=2026-11-22T10:00:30.000000Z')).toEqual(['ssh_key created']);
    expect(await actions('end=2026-11-22T10:00:30Z')).toEqual(['instance launched']);
    expectError(await call('GET /audit-events?start=yesterday'), 400, 'global/invalid-parameters');
  });

  test('comes in pages', async () => {
    const { call, addInstance } = await openCloud();
    for (let i = 0; i < 60; i += 1) addInstance();
    const first = (await call('GET /audit-events')).body;
    const second = (await call(`GET /audit-events?page_token=${first.page_token}`)).body;
    expect([first.data.length, second.data.length, second.page_token]).toEqual([50, 10, null]);
    expectError(await call('GET /audit-events?page_token=nonsense'), 400, 'global/invalid-parameters');
  });
});

describe('the knobs', () => {
  test.each([
    { unknown: 1 },
    { pacing: { unknown: 1 } },
    { boot: { outcome: 'exploded' } },
    { refuseLaunches: -1 },
    { nextResponses: [{ match: 'launch', status: 500 }] },
  ])('refuse %j and keep their positions', async (patch) => {
    const { applyFaults, faults } = await openCloud();
    const before = structuredClone(faults);
    expect(() => applyFaults({ accountInactive: true, ...patch })).toThrow(z.ZodError);
    expect(faults).toEqual(before);
  });

  test('keep what a patch of their group does not name, and go back when reset', async () => {
    const { applyFaults, resetFaults, faults } = await openCloud({ paced: true });
    const before = structuredClone(faults);
    expect(applyFaults({ pacing: { burst: 9 }, shape: { firstHealthy: true } })).toBe(faults);
    expect(faults.pacing).toEqual({ ...before.pacing, burst: 9 });
    resetFaults();
    expect(faults).toEqual(before);
  });

  test('can be turned in place', async () => {
    const { faults, call } = await openCloud();
    faults.accountInactive = true;
    expectError(await call('GET /regions'), 403, 'global/account-inactive');
  });

  test('capacity moves a type to other regions', async () => {
    const { applyFaults, call, launch } = await openCloud();
    applyFaults({ capacity: { gpu_1x_a10: ['us-west-2'] } });
    const { data } = (await call('GET /instance-types')).body;
    expect(data.gpu_1x_a10.regions_with_capacity_available).toMatchObject([{ name: 'us-west-2' }]);
    await launch({ region_name: 'us-west-2' });
    expectError(
      await call('POST /instance-operations/launch', order),
      400,
      'instance-operations/launch/insufficient-capacity',
    );
  });

  test('refuseLaunches refuses what is listed as available, so many times', async () => {
    const { applyFaults, call, launch, faults } = await openCloud();
    applyFaults({ refuseLaunches: 1 });
    expectError(
      await call('POST /instance-operations/launch', order),
      400,
      'instance-operations/launch/insufficient-capacity',
    );
    expect(faults.refuseLaunches).toBe(0);
    await launch();
  });

  test('quotaInstances counts the machines that are not terminated', async () => {
    const { applyFaults, call, launch, terminate, advance } = await openCloud();
    applyFaults({ quotaInstances: 1 });
    const id = await launch();
    expectError(await call('POST /instance-operations/launch', order), 400, 'global/quota-exceeded');
    await terminate(id);
    advance(minuteMs);
    await launch();
  });

  test('a boot can take any time', async () => {
    const { applyFaults, advance, launch, instance } = await openCloud();
    applyFaults({ boot: { durationMs: 25 * minuteMs } });
    const id = await launch();
    applyFaults({ boot: { durationMs: null } });
    advance(25 * minuteMs - 1);
    expect((await instance(id)).status).toBe('booting');
    advance(1);
    expect((await instance(id)).status).toBe('active');
  });

  test('a boot can end unhealthy, which is never billed', async () => {
    const { applyFaults, advance, launch, instance, bill } = await openCloud();
    applyFaults({ boot: { outcome: 'unhealthy' } });
    const id = await launch();
    advance(60 * minuteMs);
    expect(await instance(id)).toMatchObject({ status: 'unhealthy', actions: { restart: { available: true } } });
    expect(bill().totalCents).toBe(0);
  });

  test('a boot can be stuck for good, without an address', async () => {
    const { applyFaults, advance, launch, instance } = await openCloud();
    applyFaults({ boot: { outcome: 'stuck' } });
    const id = await launch();
    advance(7 * 24 * 60 * minuteMs);
    const stuck = await instance(id);
    expect(stuck).toMatchObject({ status: 'booting', actions: { terminate: { available: true } } });
    expect(stuck).not.toHaveProperty('ip');
  });

  test('a terminate request can be promised and forgotten', async () => {
    const { applyFaults, advance, launch, terminate, instance } = await openCloud();
    applyFaults({ terminate: { ignoreTimes: 1 } });
    const id = await launch();
    advance(5 * minuteMs);
    expect((await terminate(id)).body.data.terminated_instances).toMatchObject([{ id, status: 'terminating' }]);
    expect((await instance(id)).status).toBe('active');
    await terminate(id);
    expect((await instance(id)).status).toBe('terminating');
  });

  test('a terminate request can be carried out and left out of the answer', async () => {
    const { applyFaults, launch, terminate, instance } = await openCloud();
    applyFaults({ terminate: { omitFromAnswerTimes: 1, durationMs: 5 * minuteMs } });
    const id = await launch();
    expect((await terminate(id)).body.data.terminated_instances).toEqual([]);
    expect((await instance(id)).status).toBe('terminating');
    expect((await terminate(id)).body.data.terminated_instances).toMatchObject([{ id }]);
  });

  test('terminating can take any time, and is billed', async () => {
    const { applyFaults, advance, addInstance, terminate, instance, bill } = await openCloud();
    applyFaults({ terminate: { durationMs: 10 * minuteMs } });
    const id = addInstance({ active: true });
    await terminate(id);
    advance(10 * minuteMs - 1);
    expect((await instance(id)).status).toBe('terminating');
    advance(1);
    expect((await instance(id)).status).toBe('terminated');
    expect(bill().instances).toMatchObject([{ minutes: 10 }]);
  });

  test('pageSize brings the list in pages', async () => {
    const { applyFaults, addInstance, call } = await openCloud();
    const ids = [addInstance(), addInstance(), addInstance()];
    expect((await call('GET /instances?page_token=ignored')).body).not.toHaveProperty('page_token');
    applyFaults({ shape: { pageSize: 2 } });
    const first = (await call('GET /instances')).body;
    const second = (await call(`GET /instances?page_token=${first.page_token}`)).body;
    const seen = [...first.data, ...second.data].map((instance: { id: string }) => instance.id);
    expect({ seen, last: second.page_token }).toEqual({ seen: ids, last: null });
  });

  test('nullOptionals sends null for what is not there', async () => {
    const { applyFaults, launch, instance } = await openCloud();
    applyFaults({ shape: { nullOptionals: true } });
    expect(await instance(await launch())).toMatchObject({
      name: null,
      ip: null,
      private_ip: null,
      hostname: null,
      jupyter_token: null,
      jupyter_url: null,
    });
  });

  test('extraFields adds unknown fields, but no unknown instance type', async () => {
    const { applyFaults, launch, call } = await openCloud();
    await launch();
    const before = Object.keys((await call('GET /instance-types')).body.data);
    applyFaults({ shape: { extraFields: true } });
    const { body } = await call('GET /instances');
    expect(body).toHaveProperty('sandbox_extra');
    expect(body.data[0]).toHaveProperty('sandbox_extra');
    expect(body.data[0].instance_type).toHaveProperty('sandbox_extra');
    expect(Object.keys((await call('GET /instance-types')).body.data)).toEqual(before);
  });

  test('unknownStatus stands in for active', async () => {
    const { applyFaults, addInstance, launch, instance, instances } = await openCloud();
    applyFaults({ shape: { unknownStatus: 'hibernating' } });
    expect((await instance(addInstance({ active: true }))).status).toBe('hibernating');
    expect((await instance(await launch())).status).toBe('booting');
    expect(instances()[0]?.status).toBe('active');
  });

  test('omitArchitecture leaves it out of the types', async () => {
    const { applyFaults, call } = await openCloud();
    applyFaults({ shape: { omitArchitecture: true } });
    const { data } = (await call('GET /instance-types')).body;
    expect(data.gpu_1x_gh200.instance_type).not.toHaveProperty('architecture');
  });

  test('firstHealthy tells since when a machine is active', async () => {
    const { applyFaults, advance, launch, instance } = await openCloud();
    applyFaults({ boot: { durationMs: minuteMs }, shape: { firstHealthy: true } });
    const id = await launch();
    expect(await instance(id)).not.toHaveProperty('first_healthy');
    advance(5 * minuteMs);
    expect((await instance(id)).first_healthy).toBe('2026-11-22T10:01:00.000Z');
  });

  test('cudaBroken marks new machines and shows nowhere', async () => {
    const { applyFaults, launch, instances, call } = await openCloud();
    await launch();
    applyFaults({ cudaBroken: true });
    await launch();
    expect(instances().map(({ cudaBroken }) => cudaBroken)).toEqual([false, true]);
    expect((await call('GET /instances')).text).not.toContain('cuda');
  });
});

describe('scripted answers', () => {
  const launchLine = 'POST /instance-operations/launch';

  test('are given once, in order, to the requests that match', async () => {
    const { applyFaults, call, faults } = await openCloud();
    applyFaults({
      nextResponses: [
        { match: 'GET /instances', status: 500 },
        { match: '* /inst', status: 409 },
      ],
    });
    expect((await call('GET /regions')).status).toBe(200);
    expectError(await call('GET /instances'), 500, 'global/internal-error');
    expectError(await call('GET /instance-types'), 409, 'global/conflict');
    expect((await call('GET /instances')).status).toBe(200);
    expect(faults.nextResponses).toEqual([]);
  });

  test('are given as often as they say', async () => {
    const { applyFaults, call } = await openCloud();
    applyFaults({ nextResponses: [{ match: 'GET /regions', status: 503, times: 2 }] });
    const statuses = [await call('GET /regions'), await call('GET /regions'), await call('GET /regions')];
    expect(statuses.map(({ status }) => status)).toEqual([503, 503, 200]);
  });

  test.each([
    [403, 'global/forbidden'],
    [403, 'global/invalid-address'],
    [503, 'provider/internal-unavailable'],
    [500, 'provider/something-new'],
  ])('can carry any code: %i %s', async (status, code) => {
    const { applyFaults, call } = await openCloud();
    applyFaults({ nextResponses: [{ match: launchLine, status, code }] });
    expectError(await call(launchLine, order), status, code);
  });

  test('can be pages, or nothing', async () => {
    const { applyFaults, call } = await openCloud();
    applyFaults({
      nextResponses: [
        { match: 'GET /', status: 502, body: 'html' },
        { match: 'GET /', status: 429, body: 'empty', retryAfterSeconds: 3 },
      ],
    });
    expect((await call('GET /regions')).text).toContain('502 Bad Gateway');
    expect(await call('GET /regions')).toMatchObject({ status: 429, text: '', headers: { 'retry-after': '3' } });
  });

  test('before the commit, nothing happens', async () => {
    const { applyFaults, call, instances } = await openCloud();
    applyFaults({ nextResponses: [{ match: launchLine, status: 500 }] });
    await call(launchLine, order);
    expect(instances()).toEqual([]);
  });

  test.each([
    { status: 500, body: 'json' },
    { status: 502, body: 'html' },
    { status: 429, body: 'empty' },
  ])('after the commit, the machine exists in spite of %j', async (answer) => {
    const { applyFaults, call, instances, requestLog } = await openCloud();
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, ...answer }] });
    const { status, text } = await call(launchLine, order);
    expect(status).toBe(answer.status);
    expect(text).not.toContain('instance_ids');
    expect(instances()).toHaveLength(1);
    expect(requestLog).toMatchObject([{ status: answer.status }]);
  });

  test('after the commit, the answer can be lost', async () => {
    const { applyFaults, call, instances, requestLog } = await openCloud();
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, dropConnection: true }] });
    await expect(call(launchLine, order)).rejects.toThrow();
    expect(instances()).toHaveLength(1);
    expect(requestLog).toMatchObject([{ status: null }]);
    expect((await call('GET /instances')).body.data).toHaveLength(1);
  });

  test('before the commit, the connection can break', async () => {
    const { applyFaults, call, instances } = await openCloud();
    applyFaults({ nextResponses: [{ match: launchLine, dropConnection: true }] });
    await expect(call(launchLine, order)).rejects.toThrow();
    expect(instances()).toEqual([]);
  });

  test('after the commit, only a success is spoilt', async () => {
    const { applyFaults, call, faults } = await openCloud();
    applyFaults({ nextResponses: [{ match: launchLine, status: 500, afterCommit: true }] });
    expectError(await call(launchLine, {}), 400, 'global/invalid-parameters');
    expect(faults.nextResponses).toHaveLength(1);
  });

  test('a launch can be committed at once and answered late', async () => {
    const { applyFaults, call, instances, advance, sleeping } = await openCloud();
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, delayMs: 45 * secondMs }] });
    const answer = call(launchLine, order);
    await expect.poll(sleeping, { interval: 1 }).toBe(1);
    expect(instances()).toHaveLength(1);
    advance(45 * secondMs);
    expect((await answer).body.data.instance_ids).toEqual([instances()[0]!.id]);
  });

  test('an operation can be held back before it is carried out', async () => {
    const { applyFaults, call, instances, advance, sleeping } = await openCloud();
    applyFaults({ nextResponses: [{ match: launchLine, delayMs: 45 * secondMs }] });
    const answer = call(launchLine, order);
    await expect.poll(sleeping, { interval: 1 }).toBe(1);
    expect(instances()).toEqual([]);
    advance(45 * secondMs);
    expect((await answer).status).toBe(200);
    expect(instances()).toMatchObject([{ launchedAtMs: startMs + 45 * secondMs }]);
  });

  test.each([true, false])(
    'a delay does not hold up the end of the sandbox (after the commit: %s)',
    async (afterCommit) => {
      const { applyFaults, call, close, sleeping } = await openCloud();
      applyFaults({ nextResponses: [{ match: 'GET /regions', afterCommit, delayMs: 45 * secondMs }] });
      const answer = call('GET /regions').catch((error: unknown) => error);
      await expect.poll(sleeping, { interval: 1 }).toBe(1);
      await close();
      expect(await answer).not.toMatchObject({ status: 200 });
    },
  );
});
