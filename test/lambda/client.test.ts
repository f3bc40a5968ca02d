import { request } from 'undici';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { AppError, type ErrorCode } from '../../src/errors.ts';
import { userAgent } from '../../src/http.ts';
import type { LambdaClient, LaunchRequest } from '../../src/lambda/client.ts';
import { apiKey, type Cloud, type CloudOptions, openCloud, until } from './cloud.ts';

const never = new AbortController().signal;
const revisions = ['early', 'late'] as const;
const id = /^[0-9a-f]{32}$/;
const httpsRule = {
  protocol: 'tcp',
  portRange: [443, 443] as [number, number],
  sourceNetwork: '0.0.0.0/0',
  description: 'https',
};
const pingRule = { protocol: 'icmp', portRange: null, sourceNetwork: '10.0.0.0/8', description: 'ping' };

const order: LaunchRequest = {
  region: 'us-east-1',
  instanceType: 'gpu_1x_a10',
  sshKeyName: 'laptop',
  name: 'router-qwen',
  imageFamily: 'lambda-stack-24-04',
  filesystemNames: [],
  userData: '#cloud-config\n',
  tags: [{ key: 'managed-by', value: 'tandem' }],
};

/** A machine that has long been active. */
function addActive(cloud: Cloud, name = 'box'): string {
  return cloud.addInstance({ name, active: true, launchedAtMs: cloud.clock.nowMs() - 3_600_000 });
}

async function failure(work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(AppError);
  return error as AppError;
}

/** What each method does, on either revision of the API. A method without an entry does not compile. */
const contract: { [Method in keyof LambdaClient]: { does: string; check(cloud: Cloud): Promise<void> } } = {
  listInstanceTypes: {
    does: 'gives every type with its price, size and the regions that have it now',
    async check({ client, applyFaults }) {
      applyFaults({ capacity: { gpu_1x_h100_sxm5: ['us-south-3'], gpu_1x_a6000: [] } });
      const types = await client.listInstanceTypes(never);
      expect(types.find(({ name }) => name === 'gpu_1x_h100_sxm5')).toEqual({
        name: 'gpu_1x_h100_sxm5',
        description: '1x H100 (80 GB SXM5)',
        gpuDescription: 'H100 (80 GB SXM5)',
        priceCentsPerHour: 429,
        gpus: 1,
        vcpus: 26,
        memoryGib: 225,
        storageGib: expect.any(Number),
        gpuMemoryGb: 80,
        architecture: 'x86_64',
        regionsWithCapacity: ['us-south-3'],
      });
      expect(types.find(({ name }) => name === 'gpu_1x_a6000')?.regionsWithCapacity).toEqual([]);
      expect(types.find(({ name }) => name === 'gpu_1x_gh200')?.architecture).toBe('arm64');
      expect(types.find(({ name }) => name === 'cpu_4x_general')).toMatchObject({ gpus: 0, gpuMemoryGb: null });
    },
  },
  listRegions: {
    does: 'gives the regions by name and place',
    async check({ client }) {
      expect(await client.listRegions(never)).toContainEqual({
        name: 'us-west-1',
        description: expect.stringContaining('California'),
      });
    },
  },
  listImages: {
    does: 'gives one entry per image and region',
    async check({ client }) {
      const images = await client.listImages(never);
      const found = images.filter(
        ({ family, region, architecture }) =>
          family === 'lambda-stack-24-04' && region === 'us-east-3' && architecture === 'arm64',
      );
      expect(found).toEqual([
        {
          id: expect.stringMatching(/^[0-9a-f-]{36}$/),
          name: 'lambda-stack-24-04',
          family: 'lambda-stack-24-04',
          version: expect.any(String),
          architecture: 'arm64',
          region: 'us-east-3',
        },
      ]);
    },
  },
  listInstances: {
    does: 'gives every machine, without its secrets',
    async check(cloud) {
      const activeId = addActive(cloud);
      const bootingId = cloud.addInstance({ name: 'young' });
      const [active, booting] = await cloud.client.listInstances(never);
      expect(active).toEqual({
        id: activeId,
        name: 'box',
        status: 'active',
        ip: expect.stringMatching(/^198\.51\.100\./),
        hostname: expect.any(String),
        region: 'us-east-1',
        type: expect.objectContaining({ name: 'gpu_1x_a10', priceCentsPerHour: 129 }),
        sshKeyNames: ['laptop'],
        filesystemNames: [],
        tags: [],
        firewallRulesetIds: [],
        firstHealthyAtMs: null,
      });
      expect(booting).toMatchObject({ id: bootingId, status: 'booting', ip: null, hostname: null });
    },
  },
  getInstance: {
    does: 'gives the machine with this id',
    async check(cloud) {
      addActive(cloud, 'other');
      const wanted = addActive(cloud, 'wanted');
      expect(await cloud.client.getInstance(wanted, never)).toMatchObject({ id: wanted, name: 'wanted' });
    },
  },
  updateInstance: {
    does: 'renames a machine',
    async check(cloud) {
      const box = addActive(cloud);
      expect(await cloud.client.updateInstance(box, { name: 'renamed' }, never)).toMatchObject({ name: 'renamed' });
      expect(cloud.instances()[0]?.name).toBe('renamed');
    },
  },
  launch: {
    does: 'launches exactly one machine as ordered, and gives its id',
    async check(cloud) {
      const models = await cloud.client.createFilesystem('models', 'us-east-1', never);
      const ruleset = await cloud.client.createFirewallRuleset(
        { name: 'web', region: 'us-east-1', rules: [httpsRule] },
        never,
      );
      const launched = await cloud.client.launch(
        { ...order, filesystemNames: [models.name], firewallRulesetIds: [ruleset.id] },
        never,
      );
      expect(cloud.instances()).toEqual([
        expect.objectContaining({
          id: launched,
          name: 'router-qwen',
          type: 'gpu_1x_a10',
          region: 'us-east-1',
          imageFamily: 'lambda-stack-24-04',
          userData: '#cloud-config\n',
          tags: order.tags,
        }),
      ]);
      expect(await cloud.client.getInstance(launched, never)).toMatchObject({
        sshKeyNames: ['laptop'],
        filesystemNames: ['models'],
        firewallRulesetIds: [ruleset.id],
      });
    },
  },
  restart: {
    does: 'restarts machines and gives them back',
    async check(cloud) {
      const ids = [addActive(cloud, 'one'), addActive(cloud, 'two')];
      const restarted = await cloud.client.restart(ids, never);
      expect(restarted.map(({ id: restartedId, status }) => [restartedId, status])).toEqual(
        ids.map((box) => [box, 'booting']),
      );
    },
  },
  terminate: {
    does: 'terminates machines and says which',
    async check(cloud) {
      const box = addActive(cloud);
      const [terminated] = await cloud.client.terminate([box], never);
      expect(terminated).toMatchObject({ id: box, status: 'terminating' });
      expect(cloud.instances()[0]?.terminateRequestedAtMs).not.toBeNull();
    },
  },
  listSshKeys: {
    does: 'gives the keys of the account',
    async check({ client }) {
      expect(await client.listSshKeys(never)).toEqual([
        {
          id: expect.stringMatching(id),
          name: 'laptop',
          publicKey: expect.stringContaining('ssh-ed25519'),
          privateKey: null,
        },
      ]);
    },
  },
  addSshKey: {
    does: 'adds a public key, or has a pair made and gives its private part this once',
    async check({ client }) {
      const publicKey = 'ssh-ed25519 AAAAC3Nza desk';
      expect(await client.addSshKey('desk', publicKey, never)).toMatchObject({
        name: 'desk',
        publicKey,
        privateKey: null,
      });
      const made = await client.addSshKey('made', undefined, never);
      expect(made.privateKey).toContain('PRIVATE KEY');
      const listed = await client.listSshKeys(never);
      expect(listed.map(({ name, privateKey }) => [name, privateKey])).toEqual([
        ['laptop', null],
        ['desk', null],
        ['made', null],
      ]);
    },
  },
  deleteSshKey: {
    does: 'deletes a key',
    async check({ client }) {
      const [laptop] = await client.listSshKeys(never);
      expect(await client.deleteSshKey(laptop?.id ?? '', never)).toBeUndefined();
      expect(await client.listSshKeys(never)).toEqual([]);
    },
  },
  listFilesystems: {
    does: 'gives the filesystems with their region and whether they are in use',
    async check({ client }) {
      await client.createFilesystem('models', 'us-east-1', never);
      await client.createFilesystem('spare', 'us-west-1', never);
      await client.launch({ ...order, filesystemNames: ['models'] }, never);
      expect(await client.listFilesystems(never)).toEqual([
        expect.objectContaining({ name: 'models', region: 'us-east-1', isInUse: true }),
        expect.objectContaining({ name: 'spare', region: 'us-west-1', isInUse: false }),
      ]);
    },
  },
  createFilesystem: {
    does: 'creates a filesystem in a region',
    async check({ client }) {
      expect(await client.createFilesystem('models', 'us-east-1', never)).toEqual({
        id: expect.stringMatching(id),
        name: 'models',
        mountPoint: '/lambda/nfs/models',
        isInUse: false,
        region: 'us-east-1',
        bytesUsed: 0,
      });
    },
  },
  deleteFilesystem: {
    does: 'deletes a filesystem and says which',
    async check({ client }) {
      const { id: models } = await client.createFilesystem('models', 'us-east-1', never);
      expect(await client.deleteFilesystem(models, never)).toEqual([models]);
      expect(await client.listFilesystems(never)).toEqual([]);
    },
  },
  listFirewallRules: {
    does: 'gives the rules of the account; ping has no ports',
    async check({ client }) {
      expect(await client.listFirewallRules(never)).toEqual([
        expect.objectContaining({ protocol: 'icmp', portRange: null }),
        expect.objectContaining({ protocol: 'tcp', portRange: [22, 22], sourceNetwork: '0.0.0.0/0' }),
      ]);
    },
  },
  replaceFirewallRules: {
    does: 'replaces all rules of the account',
    async check({ client }) {
      expect(await client.replaceFirewallRules([httpsRule, pingRule], never)).toEqual([httpsRule, pingRule]);
      expect(await client.listFirewallRules(never)).toEqual([httpsRule, pingRule]);
    },
  },
  listFirewallRulesets: {
    does: 'gives the rulesets and the machines that use them',
    async check({ client }) {
      const { id: web } = await client.createFirewallRuleset(
        { name: 'web', region: 'us-east-1', rules: [httpsRule] },
        never,
      );
      const box = await client.launch({ ...order, firewallRulesetIds: [web] }, never);
      expect(await client.listFirewallRulesets(never)).toEqual([
        { id: web, name: 'web', region: 'us-east-1', rules: [httpsRule], instanceIds: [box] },
      ]);
    },
  },
  createFirewallRuleset: {
    does: 'creates a ruleset in a region',
    async check({ client }) {
      const ruleset = { name: 'web', region: 'us-east-1', rules: [httpsRule] };
      const created = await client.createFirewallRuleset(ruleset, never);
      expect(created).toEqual({ ...ruleset, id: expect.stringMatching(id), instanceIds: [] });
    },
  },
  updateFirewallRuleset: {
    does: 'replaces the rules of a ruleset, and of the global one',
    async check({ client }) {
      const { id: web } = await client.createFirewallRuleset(
        { name: 'web', region: 'us-east-1', rules: [httpsRule] },
        never,
      );
      expect(await client.updateFirewallRuleset(web, [pingRule], never)).toMatchObject({ id: web, rules: [pingRule] });
      expect(await client.updateFirewallRuleset('global', [httpsRule], never)).toMatchObject({
        id: 'global',
        region: null,
        rules: [httpsRule],
      });
      expect(await client.listFirewallRules(never)).toEqual([httpsRule]);
    },
  },
  deleteFirewallRuleset: {
    does: 'deletes a ruleset',
    async check({ client }) {
      const { id: web } = await client.createFirewallRuleset({ name: 'web', region: 'us-east-1', rules: [] }, never);
      expect(await client.deleteFirewallRuleset(web, never)).toBeUndefined();
      expect(await client.listFirewallRulesets(never)).toEqual([]);
    },
  },
  listAuditEvents: {
    does: 'gives what happened, over all pages and within the times asked for',
    async check(cloud) {
      const startMs = cloud.clock.nowMs() - 100 * 60_000;
      const boxes = Array.from({ length: 60 }, (_, index) =>
        cloud.addInstance({ name: `box-${index}`, launchedAtMs: startMs + index * 60_000 }),
      );
      const events = await cloud.client.listAuditEvents({ resource_type: 'cloud.instance' }, never);
      expect(events.map(({ resourceLrns }) => resourceLrns)).toEqual(boxes.map((box) => [`lrn:cloud:instance:${box}`]));
      expect(events[0]).toMatchObject({
        id: expect.stringMatching(id),
        atMs: startMs,
        action: 'launched',
        resourceName: 'instance',
      });
      const early = await cloud.client.listAuditEvents({ end: new Date(startMs + 150_000).toISOString() }, never);
      expect(early).toHaveLength(3);
    },
  },
};

/** Every call that changes something, on a machine or thing that is not there: the first answer is all that counts. */
const changes: Record<string, (client: LambdaClient) => Promise<unknown>> = {
  'POST /instances/x': (client) => client.updateInstance('x', { name: 'new' }, never),
  'POST /instance-operations/launch': (client) => client.launch(order, never),
  'POST /instance-operations/restart': (client) => client.restart(['x'], never),
  'POST /instance-operations/terminate': (client) => client.terminate(['x'], never),
  'POST /ssh-keys': (client) => client.addSshKey('new', undefined, never),
  'DELETE /ssh-keys/x': (client) => client.deleteSshKey('x', never),
  'POST /filesystems': (client) => client.createFilesystem('new', 'us-east-1', never),
  'DELETE /filesystems/x': (client) => client.deleteFilesystem('x', never),
  'PUT /firewall-rules': (client) => client.replaceFirewallRules([], never),
  'POST /firewall-rulesets': (client) =>
    client.createFirewallRuleset({ name: 'new', region: 'us-east-1', rules: [] }, never),
  'PATCH /firewall-rulesets/x': (client) => client.updateFirewallRuleset('x', [], never),
  'DELETE /firewall-rulesets/x': (client) => client.deleteFirewallRuleset('x', never),
};

describe.each(revisions)('LambdaClient on the %s revision of the API', (revision) => {
  it.each(Object.entries(contract).map(([method, { does, check }]) => ({ method, does, check })))(
    '$method $does',
    async ({ check }) => check(await openCloud({ revision })),
  );

  it('tolerates fields that nobody knows, everywhere', async () => {
    for (const { check } of [contract.listInstances, contract.listImages, contract.launch]) {
      const fresh = await openCloud({ revision });
      fresh.applyFaults({ shape: { extraFields: true } });
      await check(fresh);
    }
  });
});

describe('LambdaClient and the shapes of answers', () => {
  it('replaces tags where the API can, and says that it cannot where it cannot', async () => {
    const tags = [{ key: 'team', value: 'search' }];
    const late = await openCloud({ revision: 'late' });
    expect(await late.client.updateInstance(addActive(late), { tags }, never)).toMatchObject({ tags });
    const early = await openCloud({ revision: 'early' });
    const error = await failure(early.client.updateInstance(addActive(early), { tags }, never));
    expect(error.code).toBe('invalid_input');
  });

  it('follows page tokens until there are none', async () => {
    const cloud = await openCloud();
    cloud.applyFaults({ shape: { pageSize: 2 } });
    const ids = ['a', 'b', 'c', 'd', 'e'].map((name) => addActive(cloud, name));
    expect((await cloud.client.listInstances(never)).map((instance) => instance.id)).toEqual(ids);
    expect(cloud.sent()).toEqual(['GET /instances', 'GET /instances', 'GET /instances']);
  });

  it('reads null as absent', async () => {
    const cloud = await openCloud();
    cloud.applyFaults({ shape: { nullOptionals: true } });
    cloud.addInstance();
    expect(await cloud.client.listInstances(never)).toMatchObject([
      { name: null, ip: null, hostname: null, status: 'booting' },
    ]);
  });

  it('passes on a status that nobody knows', async () => {
    const cloud = await openCloud();
    cloud.applyFaults({ shape: { unknownStatus: 'hibernating' } });
    addActive(cloud);
    expect(await cloud.client.listInstances(never)).toMatchObject([{ status: 'hibernating' }]);
  });

  it('knows that Grace Hopper is arm64 where the API does not say the architecture', async () => {
    const cloud = await openCloud();
    cloud.applyFaults({ shape: { omitArchitecture: true } });
    const types = await cloud.client.listInstanceTypes(never);
    expect(types.filter(({ architecture }) => architecture === 'arm64').map(({ name }) => name)).toEqual([
      'gpu_1x_gh200',
    ]);
  });

  it('reads when a machine was first healthy, where the API says it', async () => {
    const cloud = await openCloud();
    cloud.applyFaults({ shape: { firstHealthy: true } });
    const launchedAtMs = cloud.clock.nowMs() - 3_600_000;
    cloud.addInstance({ active: true, launchedAtMs });
    expect(await cloud.client.listInstances(never)).toMatchObject([{ firstHealthyAtMs: launchedAtMs }]);
  });

  it('gives the Jupyter secrets to nobody', async () => {
    const cloud = await openCloud();
    const box = addActive(cloud);
    const raw = await request(`${cloud.baseUrl}/instances/${box}`, {
      headers: { authorization: `Bearer ${apiKey}`, 'user-agent': 'test' },
    });
    const { jupyter_token: secret } = ((await raw.body.json()) as { data: { jupyter_token: string } }).data;
    expect(secret).toMatch(/\w{20}/);
    const given = JSON.stringify([
      await cloud.client.listInstances(never),
      await cloud.client.getInstance(box, never),
      await cloud.client.updateInstance(box, { name: 'new' }, never),
      await cloud.client.restart([box], never),
      await cloud.client.terminate([box], never),
    ]);
    expect(given).not.toContain(secret);
    expect(given).not.toMatch(/jupyter/i);
  });
});

describe('LambdaClient on the wire', () => {
  it('says who it is and shows its key', async () => {
    const { client, headers } = await openCloud();
    await client.listRegions(never);
    expect(headers).toMatchObject([{ 'user-agent': userAgent, authorization: `Bearer ${apiKey}` }]);
  });

  it('sends requests no faster than one a second, however many are asked for at once', async () => {
    const { client, requestLog } = await openCloud({ speed: 10 });
    await Promise.all(Array.from({ length: 5 }, () => client.listRegions(never)));
    expect(requestLog.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect((requestLog.at(-1)?.atMs ?? 0) - (requestLog[0]?.atMs ?? 0)).toBeGreaterThan(2_500);
  });
});

describe('LambdaClient when an answer is bad', () => {
  /** The wait before a second try is real time: the shortest there is. */
  const openHasty = (options: CloudOptions = {}) => {
    const random = vi.spyOn(Math, 'random').mockReturnValue(0);
    onTestFinished(() => random.mockRestore());
    return openCloud(options);
  };
  const regions = { match: 'GET /regions' };

  it.each([
    { what: 'HTTP 500', answer: { status: 500 } },
    { what: 'HTTP 502 with a page of HTML', answer: { status: 502, body: 'html' } },
    { what: 'HTTP 429', answer: { status: 429 } },
    { what: 'HTTP 429 without a body', answer: { status: 429, body: 'empty' } },
    { what: 'a connection that is cut', answer: { dropConnection: true } },
    { what: 'JSON that is none', answer: { status: 200, body: 'html' } },
    { what: 'an answer without a body', answer: { status: 200, body: 'empty' } },
  ])('reads once more after $what', async ({ answer }) => {
    const cloud = await openHasty();
    cloud.applyFaults({ nextResponses: [{ ...regions, ...answer }] });
    expect((await cloud.client.listRegions(never)).length).toBeGreaterThan(10);
    expect(cloud.requestLog).toHaveLength(2);
  });

  it.each([400, 401, 403, 404, 405, 410, 422])('does not read again after HTTP %i', async (status) => {
    const cloud = await openHasty();
    cloud.applyFaults({ nextResponses: [{ ...regions, status }] });
    await failure(cloud.client.listRegions(never));
    expect(cloud.requestLog).toHaveLength(1);
  });

  it('gives up after the fourth try and says what the last answer was', async () => {
    const cloud = await openHasty();
    cloud.applyFaults({ nextResponses: [{ ...regions, status: 503, body: 'html', times: 9 }] });
    const error = await failure(cloud.client.listRegions(never));
    expect(error).toMatchObject({ code: 'upstream_unavailable', httpStatus: 503 });
    expect(cloud.requestLog).toHaveLength(4);
  });

  it.each([429, 503])('waits as long as Retry-After says after HTTP %i', async (status) => {
    const cloud = await openHasty({ speed: 50 });
    cloud.applyFaults({ nextResponses: [{ ...regions, status, retryAfterSeconds: 19 }] });
    await cloud.client.listRegions(never);
    const [first, second] = cloud.requestLog;
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThanOrEqual(19_000);
  });

  it.each([429, 503])('reports a Retry-After of an hour at once (HTTP %i)', async (status) => {
    const cloud = await openHasty();
    cloud.applyFaults({ nextResponses: [{ ...regions, status, retryAfterSeconds: 3_600 }] });
    const startedAt = performance.now();
    const error = await failure(cloud.client.listRegions(never));
    expect(error).toMatchObject({ httpStatus: status, retryAfterMs: 3_600_000 });
    expect(error.text).toContain('60 min');
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    expect(cloud.requestLog).toHaveLength(1);
  });

  it('lets all other calls wait as well after a 429', async () => {
    const cloud = await openHasty({ speed: 50 });
    cloud.applyFaults({ nextResponses: [{ match: 'POST /filesystems', status: 429, retryAfterSeconds: 19 }] });
    await failure(cloud.client.createFilesystem('models', 'us-east-1', never));
    await Promise.all([cloud.client.listRegions(never), cloud.client.listSshKeys(never)]);
    const [limited, ...later] = cloud.requestLog;
    for (const { atMs } of later) expect(atMs - (limited?.atMs ?? 0)).toBeGreaterThanOrEqual(19_000);
  });

  it.each(Object.entries(changes))('sends %s once, whatever the answer', async (line, change) => {
    for (const answer of [{ status: 500 }, { status: 429 }, { dropConnection: true }, { status: 200, body: 'html' }]) {
      const cloud = await openCloud();
      cloud.applyFaults({ nextResponses: [{ match: '* /', ...answer }] });
      await failure(change(cloud.client));
      expect(cloud.sent()).toEqual([line]);
    }
  });

  it('gives up on an answer that does not come', async () => {
    const cloud = await openHasty({ timeoutsMs: { request: 50, launch: 50 } });
    cloud.applyFaults({ nextResponses: [{ match: '* /', delayMs: 3_600_000, times: 9 }] });
    expect(await failure(cloud.client.launch(order, never))).toMatchObject({
      code: 'upstream_timeout',
      message: expect.stringContaining('did not answer in time'),
    });
    expect(cloud.instances()).toHaveLength(0);
  });

  it('gives a launch more time than a read', async () => {
    const cloud = await openCloud({ timeoutsMs: { request: 10, launch: 2_000 } });
    cloud.applyFaults({ nextResponses: [{ match: 'POST /instance-operations/launch', delayMs: 50_000 }] });
    expect(await cloud.client.launch(order, never)).toMatch(id);
  });

  it('says that nothing listens at the address', async () => {
    const { client } = await openCloud({ lookAt: 'http://127.0.0.1:9/api/v1' });
    const error = await failure(client.launch(order, never));
    expect(error).toMatchObject({
      code: 'upstream_unavailable',
      message: 'Lambda Cloud could not be reached: connection refused.',
    });
  });

  it('names where a refused key comes from, never the key', async () => {
    const wrong = 'secret_wrong_9876543210';
    const { client } = await openCloud({ secret: { origin: 'LAMBDA_API_KEY_FILE', read: async () => wrong } });
    const error = await failure(client.listRegions(never));
    expect(error).toMatchObject({ code: 'unauthorized', httpStatus: 401 });
    expect(error.text).toContain('LAMBDA_API_KEY_FILE');
    expect(JSON.stringify([error, error.text, error.stack])).not.toContain(wrong);
  });

  it('sends nothing when the key cannot be read', async () => {
    const locked = new AppError('config_invalid', 'The vault is locked.');
    const { client, requestLog } = await openCloud({ secret: { origin: 'X', read: () => Promise.reject(locked) } });
    await expect(client.listRegions(never)).rejects.toBe(locked);
    expect(requestLog).toEqual([]);
  });

  it.each([
    { status: 403, code: 'forbidden', title: '403 Forbidden | Cloudflare' },
    { status: 502, code: 'upstream_unavailable', title: '502 Bad Gateway | Cloudflare' },
  ])('quotes the title of an HTML page with HTTP $status', async ({ status, code, title }) => {
    const cloud = await openCloud();
    cloud.applyFaults({ nextResponses: [{ match: 'POST /filesystems', status, body: 'html' }] });
    const error = await failure(cloud.client.createFilesystem('models', 'us-east-1', never));
    expect(error).toMatchObject({ code, httpStatus: status });
    expect(error.message).toBe(`Lambda Cloud: an HTML page titled "${title}" (HTTP ${status}).`);
  });

  it('does not follow a redirect with the key in its hand', async () => {
    const cloud = await openCloud();
    cloud.applyFaults({ nextResponses: [{ match: 'GET /regions', status: 301, body: 'html' }] });
    expect(await failure(cloud.client.listRegions(never))).toMatchObject({
      code: 'upstream_rejected',
      httpStatus: 301,
    });
    expect(cloud.requestLog).toHaveLength(1);
  });

  it('says that it is limited when a 429 has no body', async () => {
    const cloud = await openCloud();
    cloud.applyFaults({ nextResponses: [{ match: 'POST /filesystems', status: 429, body: 'empty' }] });
    const error = await failure(cloud.client.createFilesystem('models', 'us-east-1', never));
    expect(error).toMatchObject({ code: 'rate_limited', message: 'Lambda Cloud limits the rate (HTTP 429).' });
  });

  it('says where an unexpected answer was found, not what was in it', async () => {
    const cloud = await openCloud();
    cloud.applyFaults({ nextResponses: [{ match: 'POST /filesystems', status: 200, body: 'html' }] });
    const error = await failure(cloud.client.createFilesystem('models', 'us-east-1', never));
    expect(error).toMatchObject({
      code: 'upstream_invalid',
      message: 'Lambda Cloud answered /filesystems with something unexpected.',
    });
  });

  it('quotes what the API said, its advice, its code and the id of the request', async () => {
    const { client } = await openCloud({ revision: 'late' });
    const error = await failure(client.deleteFilesystem('x', never));
    expect(error.message).toMatch(
      /^Lambda Cloud: Filesystem was not found\. \(sandbox\) Check the name or the ID and try again \(HTTP 404, global\/object-does-not-exist, request [0-9a-f]{32}\)\.$/,
    );
  });

  it.each<{ wire: string; status: number; code: ErrorCode }>([
    { wire: 'global/invalid-api-key', status: 401, code: 'unauthorized' },
    { wire: 'global/invalid-api-key', status: 403, code: 'unauthorized' },
    { wire: 'global/account-inactive', status: 403, code: 'forbidden' },
    { wire: 'global/forbidden', status: 403, code: 'forbidden' },
    { wire: 'global/invalid-address', status: 403, code: 'forbidden' },
    { wire: 'global/invalid-parameters', status: 400, code: 'invalid_input' },
    { wire: 'global/object-does-not-exist', status: 404, code: 'not_found' },
    { wire: 'global/object-does-not-exist', status: 400, code: 'not_found' },
    { wire: 'global/not-found', status: 404, code: 'not_found' },
    { wire: 'global/quota-exceeded', status: 400, code: 'quota_exceeded' },
    { wire: 'global/duplicate', status: 400, code: 'duplicate_name' },
    { wire: 'global/conflict', status: 409, code: 'conflict' },
    { wire: 'global/internal-error', status: 409, code: 'upstream_unavailable' },
    { wire: 'global/internal-error', status: 500, code: 'upstream_unavailable' },
    { wire: 'instance-operations/launch/insufficient-capacity', status: 400, code: 'capacity_unavailable' },
    { wire: 'instance-operations/launch/file-system-in-wrong-region', status: 400, code: 'invalid_input' },
    { wire: 'filesystems/filesystem-in-use', status: 400, code: 'conflict' },
    { wire: 'firewall-rulesets/firewall-ruleset-in-use', status: 400, code: 'conflict' },
    { wire: 'provider/internal-unavailable', status: 503, code: 'upstream_unavailable' },
    { wire: 'provider/anything', status: 400, code: 'upstream_unavailable' },
    { wire: 'support-tickets/creation-failed', status: 400, code: 'upstream_rejected' },
    { wire: 'global/unknown', status: 400, code: 'upstream_rejected' },
    { wire: 'instance-operations/launch/file-systems-not-supported', status: 400, code: 'upstream_rejected' },
    { wire: 'ssh-keys/key-in-use', status: 400, code: 'upstream_rejected' },
    { wire: 'never/heard-of', status: 418, code: 'upstream_rejected' },
    { wire: 'never/heard-of', status: 403, code: 'forbidden' },
    { wire: 'never/heard-of', status: 503, code: 'upstream_unavailable' },
    { wire: 'never/heard-of', status: 429, code: 'rate_limited' },
  ])('takes $wire (HTTP $status) for $code', async ({ wire, status, code }) => {
    const cloud = await openCloud();
    cloud.applyFaults({ nextResponses: [{ match: 'POST /filesystems', status, code: wire }] });
    const error = await failure(cloud.client.createFilesystem('models', 'us-east-1', never));
    expect(error).toMatchObject({ code, httpStatus: status });
  });
});

describe('LambdaClient when it is cancelled', () => {
  it.each(['a read', 'a change'])('ends %s that is on its way', async (what) => {
    const cloud = await openCloud();
    cloud.applyFaults({ nextResponses: [{ match: '* /', delayMs: 3_600_000 }] });
    const aborter = new AbortController();
    const { client } = cloud;
    const work = what === 'a read' ? client.listRegions(aborter.signal) : client.launch(order, aborter.signal);
    await until(() => cloud.requestLog.length === 1);
    await expectCancelledAtOnce(work, aborter);
  });

  it.each(['a read', 'a change'])('ends %s that waits for its turn, and never sends it', async (what) => {
    const cloud = await openCloud({ speed: 1 });
    const { client } = cloud;
    await client.listRegions(never);
    const aborter = new AbortController();
    const work = what === 'a read' ? client.listRegions(aborter.signal) : client.launch(order, aborter.signal);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await expectCancelledAtOnce(work, aborter);
    expect(cloud.requestLog).toHaveLength(1);
  });

  it('ends a read that waits for its next try', async () => {
    const cloud = await openCloud();
    cloud.applyFaults({ nextResponses: [{ match: '* /', status: 500, times: 9 }] });
    const aborter = new AbortController();
    const work = cloud.client.listRegions(aborter.signal);
    await until(() => cloud.requestLog[0]?.status === 500);
    await expectCancelledAtOnce(work, aborter);
  });

  it('sends nothing when it is cancelled already', async () => {
    const cloud = await openCloud();
    expect(await failure(cloud.client.listRegions(AbortSignal.abort()))).toMatchObject({ code: 'cancelled' });
    expect(await failure(cloud.client.launch(order, AbortSignal.abort()))).toMatchObject({ code: 'cancelled' });
    expect(cloud.requestLog).toEqual([]);
  });

  it('passes on the reason when there is one of ours', async () => {
    const { client } = await openCloud();
    const reason = new AppError('deadline_exceeded', 'Too late.');
    await expect(client.listRegions(AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

async function expectCancelledAtOnce(work: Promise<unknown>, aborter: AbortController): Promise<void> {
  const failed = failure(work);
  const startedAt = performance.now();
  aborter.abort();
  expect(await failed).toMatchObject({ code: 'cancelled' });
  expect(performance.now() - startedAt).toBeLessThan(500);
}
