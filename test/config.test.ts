import { chmodSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Environment, loadConfig } from '../src/config/index.ts';
import { presetIds, presets } from '../src/config/presets.ts';
import { AppError } from '../src/errors.ts';
import { temporaryFolder } from './support/folder.ts';

function load(yaml: string | null, environment: Environment = {}) {
  const home = temporaryFolder();
  if (yaml !== null) writeFileSync(join(home, 'tandem.yaml'), yaml);
  return loadConfig({ TANDEM_HOME: home, ...environment });
}

function problems(yaml: string | null, environment: Environment = {}): string {
  try {
    load(yaml, environment);
  } catch (error) {
    if (error instanceof AppError && error.code === 'config_invalid') return error.text;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

const contract = `
serverless:
  - {id: cheap, preset: deepinfra}
  - id: other
    baseUrl: http://127.0.0.1:9101/v1
    apiKeyEnv: OTHER_KEY
    timeoutMs: 30000
    models:
      - {id: small-8b, tier: small, contextWindow: 32768, price: {inputUsdPerMTok: 0.05, outputUsdPerMTok: 0.08}}
dedicated:
  - {id: box, baseUrl: http://127.0.0.1:9102/v1, models: [{id: big-70b, tier: large, contextWindow: 131072}]}
routing: {priority: balanced}
budgets: {dailyUsd: 50, monthlyUsd: 1000, timeZone: America/New_York}
`;

describe('configuration', () => {
  it('reads the whole contract', () => {
    const config = load(contract, {
      DEEPINFRA_API_KEY: 'deep-key',
      OTHER_KEY: 'other-key',
      LAMBDA_API_KEY: 'secret_abc',
    });
    expect(config.backends).toMatchObject([
      {
        id: 'cheap',
        kind: 'serverless',
        preset: 'deepinfra',
        baseUrl: 'https://api.deepinfra.com/v1/openai',
        unusable: null,
        models: null,
      },
      {
        id: 'other',
        kind: 'serverless',
        preset: null,
        baseUrl: 'http://127.0.0.1:9101/v1',
        timeoutMs: 30_000,
        models: [{ id: 'small-8b' }],
      },
      { id: 'box', kind: 'dedicated', apiKey: null, unusable: null, models: [{ id: 'big-70b', tier: 'large' }] },
    ]);
    expect(config.budgets).toEqual({ dailyNanoUsd: 50e9, monthlyNanoUsd: 1000e9, timeZone: 'America/New_York' });
    expect(config.lambda.baseUrl).toBe('https://cloud.lambda.ai/api/v1');
  });

  it('has defaults for everything', () => {
    const config = load(null);
    expect(config).toMatchObject({
      file: null,
      readOnly: false,
      logLevel: 'info',
      backends: [],
      routing: { priority: 'balanced' },
    });
    expect(config.budgets).toMatchObject({ dailyNanoUsd: 50e9, monthlyNanoUsd: 1000e9 });
  });

  it('takes an empty file for no wishes', () => {
    expect(load('').backends).toEqual([]);
  });

  it.each(presetIds)('switches the preset %s on by its key', (id) => {
    const config = load(null, { [presets[id].keyEnv]: 'some-key-123' });
    expect(config.backends).toMatchObject([{ id, preset: id, baseUrl: presets[id].baseUrl, unusable: null }]);
  });

  it('does not add a preset twice that the file names already', () => {
    const config = load('serverless: [{id: mine, preset: groq}]', { GROQ_API_KEY: 'some-key-123' });
    expect(config.backends.map(({ id }) => id)).toEqual(['mine']);
  });

  it('keeps a backend whose key is missing, as one that cannot be used, with the reason', () => {
    expect(load(contract).backends).toMatchObject([
      { unusable: expect.stringContaining('DEEPINFRA_API_KEY') },
      { unusable: expect.stringContaining('OTHER_KEY') },
      { unusable: null },
    ]);
  });

  it('reports all problems at once, with the path of the key and what is allowed', () => {
    const text = problems(
      `
serverless:
  - {id: cheap, preset: deepinfra, colour: red}
  - {id: auto, baseUrl: 'ftp://x'}
  - {id: nothing}
dedicated:
  - {id: cheap, baseUrl: 'http://127.0.0.1:1/v1', models: [{id: m, tier: huge}]}
routing: {priority: cheapest}
budgets: {dailyUsd: -1, timeZone: Mars/Base}
buget: 5
`,
      { TANDEM_LOG_LEVEL: 'loud', TANDEM_READ_ONLY: 'maybe', LAMBDA_API_BASE: 'nowhere' },
    );
    for (const expected of [
      /has 13 problems/,
      /serverless\[2\]\.baseUrl: give a baseUrl, or a preset/,
      /dedicated\[0\]\.id: "cheap" is used twice/,
      /serverless\[0\]: unknown key "colour"; allowed: id, apiKeyEnv/,
      /serverless\[1\]\.id: must not be one of the reserved words auto/,
      /serverless\[1\]\.baseUrl: must be an http/,
      /dedicated\[0\]\.models\[0\]\.tier: .*"small"\|"medium"\|"large"/,
      /routing\.priority: .*"low_cost"/,
      /budgets\.dailyUsd: .*>=0/,
      /budgets\.timeZone: must be an IANA time zone/,
      /unknown key "buget"; allowed: serverless, dedicated, routing, server, budgets/,
      /TANDEM_LOG_LEVEL: must be one of trace/,
      /TANDEM_READ_ONLY: must be true or false/,
      /LAMBDA_API_BASE: must be an http/,
    ]) {
      expect(text).toMatch(expected);
    }
  });

  it('reads what models take, how many calls a backend gets, and where prompts may go', () => {
    const yaml = `
dedicated: [{id: box, baseUrl: http://127.0.0.1:9/v1, maxConcurrentRequests: 4, models: [{id: m, supports: [tools]}]}]
routing: {privacy: dedicated_only}
`;
    const { backends, routing } = load(yaml);
    expect(backends).toMatchObject([{ maxConcurrentRequests: 4, models: [{ supports: ['tools'] }] }]);
    expect(routing.privacy).toBe('dedicated_only');
    expect(load(null).routing.privacy).toBe('any');
    const wrong = yaml.replace('4', '0').replace('[tools]', '[sight]').replace('dedicated_only', 'private');
    expect(problems(wrong)).toMatch(
      /maxConcurrentRequests: .*\n.*supports\[0\]: .*"json_schema".*\n.*privacy: .*"any"/,
    );
  });

  it('names ids that are used twice', () => {
    expect(problems('serverless: [{id: a, preset: groq}]\ndedicated: [{id: a, baseUrl: "http://x/v1"}]')).toContain(
      'dedicated[0].id: "a" is used twice',
    );
  });

  it('names models that one backend has twice', () => {
    const yaml =
      'dedicated: [{id: a, baseUrl: "http://x/v1", models: [{id: m}, {id: m}]}, {id: b, baseUrl: "http://x/v1", models: [{id: m}]}]';
    expect(problems(yaml)).toMatch(/has 1 problem:\n {2}- dedicated\[0\]\.models\[1\]\.id: "m" is used twice/);
  });

  it('says of a serverless backend without an address what it may have', () => {
    expect(problems('serverless: [{id: a}]')).toMatch(
      /serverless\[0\]\.baseUrl: give a baseUrl, or a preset: together, deepinfra/,
    );
  });

  it('says in one sentence that the lambda preset has ended', () => {
    expect(problems('serverless: [{id: a, preset: lambda}]')).toMatch(
      /serverless\[0\]\.preset: Lambda's Inference API ended on 2025-09-25; choose one of: together/,
    );
  });

  it('gives the place of broken YAML and never quotes it', () => {
    const text = problems('serverless: [{id: a, apiKey: sk-super-secret-1234567890');
    expect(text).toMatch(/tandem\.yaml:1:\d+: not valid YAML/);
    expect(text).not.toContain('super-secret');
  });

  it('does not quote a key that was pasted into the file', () => {
    const text = problems('serverless: [{id: a, preset: groq, apiKey: sk-super-secret-1234567890}]');
    expect(text).toContain('unknown key "apiKey"');
    expect(text).not.toContain('super-secret');
  });

  it('takes the name of a variable where a key was pasted for a mistake, and does not repeat it', () => {
    const text = problems('serverless: [{id: a, preset: groq, apiKeyEnv: house-secret-123}]');
    expect(text).toContain('serverless[0].apiKeyEnv: must be the NAME of an environment variable');
    expect(text).not.toContain('house-secret-123');
  });

  it('takes a placeholder that a client could not fill in for a key that is not set', () => {
    const placeholder = '$' + '{env:LAMBDA_API_KEY}';
    const config = load(null, { LAMBDA_API_KEY: placeholder, GROQ_API_KEY: placeholder });
    expect(config).toMatchObject({ lambda: { apiKey: null }, backends: [] });
  });

  it('knows ~ and wants an absolute home', () => {
    expect(loadConfig({ TANDEM_HOME: '~/no-such-folder' }).home).toBe(join(homedir(), 'no-such-folder'));
    expect(problems(null, { TANDEM_HOME: 'somewhere' })).toContain('TANDEM_HOME: must be an absolute path');
  });

  it('complains about a TANDEM_CONFIG that is not there', () => {
    expect(problems(null, { TANDEM_CONFIG: '/no/such/tandem.yaml' })).toContain(
      'TANDEM_CONFIG: there is no file /no/such/tandem.yaml',
    );
  });

  describe('the Lambda key', () => {
    it('comes from the variable', async () => {
      expect(await load(null, { LAMBDA_API_KEY: ' secret_abc ' }).lambda.apiKey?.read()).toBe('secret_abc');
    });

    it('comes from a file', async () => {
      const file = join(temporaryFolder(), 'key');
      writeFileSync(file, 'secret_from_file\n');
      expect(await load(null, { LAMBDA_API_KEY_FILE: file }).lambda.apiKey?.read()).toBe('secret_from_file');
    });

    it('comes from a command, which is run once and only when the key is needed', async () => {
      const folder = temporaryFolder();
      const script = join(folder, 'vault');
      writeFileSync(script, `#!/bin/sh\necho run >> ${folder}/runs\necho "$1-$2"\n`);
      chmodSync(script, 0o755);
      const { lambda } = load(null, { LAMBDA_API_KEY_COMMAND: `${script} secret value` });
      expect(await lambda.apiKey?.read()).toBe('secret-value');
      expect(await lambda.apiKey?.read()).toBe('secret-value');
      const { readFileSync } = await import('node:fs');
      expect(readFileSync(join(folder, 'runs'), 'utf8')).toBe('run\n');
    });

    it('does not let a shell interpret the command', async () => {
      const { lambda } = load(null, { LAMBDA_API_KEY_COMMAND: 'echo key; echo $HOME' });
      expect(await lambda.apiKey?.read()).toBe('key; echo $HOME');
    });

    it('fails clearly, without the output, when the command fails', async () => {
      const { lambda } = load(null, { LAMBDA_API_KEY_COMMAND: 'sh -c "echo leaked-secret; exit 3"' });
      const error = await lambda.apiKey?.read().catch((reason: unknown) => reason);
      expect(error).toMatchObject({
        code: 'config_invalid',
        message: expect.stringContaining('LAMBDA_API_KEY_COMMAND'),
      });
      expect(String(error)).not.toContain('leaked-secret');
    });

    it('may be given in one way only', () => {
      expect(problems(null, { LAMBDA_API_KEY: 'a', LAMBDA_API_KEY_FILE: 'b' })).toContain(
        'LAMBDA_API_KEY and LAMBDA_API_KEY_FILE: set only one of them',
      );
    });

    it('is hidden wherever it would be printed', async () => {
      const config = load(null, { LAMBDA_API_KEY: 'topsecretvalue' });
      expect(config.redactor.scrub('key topsecretvalue, sk-abcdefghijkl and Bearer abcdefghijkl')).toBe(
        'key [redacted], [redacted] and [redacted]',
      );
      expect(config.redactor.scrub(`of a token: tdm_${'x'.repeat(43)}`)).toBe('of a token: [redacted]');
      expect(JSON.stringify(config.lambda)).not.toContain('topsecretvalue');
    });
  });

  describe('the fleet', () => {
    const entry = `{name: analysts, model: openai/gpt-oss-120b, types: [gpu_1x_gh200], windows: [{days: mon-fri, from: "09:00", to: "18:00"}]}`;
    const withWindows = (...windows: string[]) =>
      `fleet: [{name: a, model: m, types: [t], windows: [${windows.map((window) => `{${window}}`)}]}]`;
    const windowOf = (window: string) => load(withWindows(window)).fleet[0]?.windows[0];

    it('reads the whole contract', () => {
      const config = load(`
leases: {defaultHours: 2.5, capHours: 48, orphans: terminate}
deployments: {idleMinutes: 0.5, maxReplacements: 0, bootMinutes: 12, drainSeconds: 1.5}
fleet:
  - name: analysts
    model: openai/gpt-oss-120b
    engine: sglang
    types: [gpu_1x_gh200, gpu_1x_h100_sxm5]
    regions: [us-east-3]
    count: 2
    windows: [{days: mon-fri, from: "09:00", to: "18:00"}, {days: "sat,sun", from: "22:30", to: "02:00"}]
    timeZone: America/New_York
    maxHourlyUsd: 3.5
    maxContext: 32768
    idleMinutes: 45
    filesystem: models
    hfTokenEnv: HF_TOKEN
    endpoint: direct
    allowCidr: 203.0.113.0/24
`);
      expect(config.leases).toEqual({ defaultMs: 9_000_000, capMs: 172_800_000, orphans: 'terminate' });
      expect(config.deployments).toEqual({ idleMs: 30_000, maxReplacements: 0, bootMs: 720_000, drainMs: 1_500 });
      expect(config.fleet).toEqual([
        {
          name: 'analysts',
          model: 'openai/gpt-oss-120b',
          engine: 'sglang',
          types: ['gpu_1x_gh200', 'gpu_1x_h100_sxm5'],
          regions: ['us-east-3'],
          count: 2,
          windows: [
            { weekdays: [1, 2, 3, 4, 5], fromMinute: 540, toMinute: 1080 },
            { weekdays: [6, 7], fromMinute: 1350, toMinute: 120 },
          ],
          timeZone: 'America/New_York',
          maxCentsPerHour: 350,
          maxContext: 32_768,
          idleMs: 2_700_000,
          filesystem: 'models',
          hfTokenEnv: 'HF_TOKEN',
          endpoint: 'direct',
          allowCidr: '203.0.113.0/24',
        },
      ]);
    });

    it('has defaults for everything that may be left out', () => {
      const config = load(`budgets: {timeZone: Asia/Tokyo}\nfleet: [${entry}]`);
      expect(config.leases).toEqual({ defaultMs: 14_400_000, capMs: 86_400_000, orphans: 'adopt' });
      expect(config.deployments).toEqual({ idleMs: 1_800_000, maxReplacements: 2, bootMs: null, drainMs: 120_000 });
      expect(config.notices).toEqual({ webhookUrl: null });
      expect(config.fleet).toMatchObject([
        {
          engine: 'vllm',
          regions: null,
          count: 1,
          timeZone: 'Asia/Tokyo',
          maxCentsPerHour: null,
          maxContext: null,
          idleMs: null,
          filesystem: null,
          hfTokenEnv: null,
          endpoint: 'tunnel',
          allowCidr: null,
        },
      ]);
      expect(load(null).fleet).toEqual([]);
    });

    it.each([
      [3.499, 349],
      [0.29, 29],
      [4.29, 429],
    ])('never takes a limit of $%d for more than it is: %i cents', (maxHourlyUsd, cents) => {
      const yaml = `fleet: [${entry.replace('{', `{maxHourlyUsd: ${maxHourlyUsd}, `)}]`;
      expect(load(yaml).fleet[0]?.maxCentsPerHour).toBe(cents);
    });

    it('does not let a lease be longer than the cap', () => {
      expect(load('leases: {capHours: 0.01}').leases).toMatchObject({ defaultMs: 36_000, capMs: 36_000 });
      expect(problems('leases: {defaultHours: 30}')).toContain(
        'leases.defaultHours: must not be more than leases.capHours (24)',
      );
    });

    it('reports all problems at once, with the path and what is allowed', () => {
      const text = problems(`
leases: {defaultHours: 0, orphans: keep}
deployments: {maxReplacements: 1.5, idle: 3}
notices: {webhookUrlEnv: "https://hooks.example/T0/secret-path"}
fleet:
  - {name: auto, model: m, engine: tgi, types: [], count: 17, windows: []}
  - {name: a, model: m, types: [t], hfTokenEnv: hf_pasted_token_1, timeZone: Mars/Base, windows: [{days: montag, from: "9:00", to: "24:01"}, {days: daily, from: "09:00", to: "09:00"}, {days: mon}]}
`);
      for (const expected of [
        /has 18 problems/,
        /leases\.defaultHours: .*>0/,
        /leases\.orphans: .*"adopt"\|"terminate"/,
        /deployments\.maxReplacements: .*int/,
        /deployments: unknown key "idle"; allowed: idleMinutes, maxReplacements, bootMinutes, drainSeconds/,
        /notices\.webhookUrlEnv: must be the NAME of an environment variable/,
        /fleet\[0\]\.name: must not be one of the reserved words/,
        /fleet\[0\]\.engine: .*"vllm"\|"sglang"/,
        /fleet\[0\]\.types: .*>=1/,
        /fleet\[0\]\.count: .*<=16/,
        /fleet\[0\]\.windows: .*>=1/,
        /fleet\[1\]\.hfTokenEnv: must be the NAME of an environment variable/,
        /fleet\[1\]\.timeZone: must be an IANA time zone/,
        /fleet\[1\]\.windows\[0\]\.days: must be daily, a span such as mon-fri, or a list/,
        /fleet\[1\]\.windows\[0\]\.from: must be a time as "HH:MM", from "00:00" to "23:59"/,
        /fleet\[1\]\.windows\[0\]\.to: must be a time as "HH:MM", from "00:00" to "24:00"/,
        /fleet\[1\]\.windows\[1\]\.to: must not be the same as from: the window would be empty/,
        /fleet\[1\]\.windows\[2\]\.from: /,
      ]) {
        expect(text).toMatch(expected);
      }
      expect(text).not.toMatch(/secret-path|hf_pasted/);
    });

    it.each([
      ['daily', [1, 2, 3, 4, 5, 6, 7]],
      ['mon-fri', [1, 2, 3, 4, 5]],
      ['fri-mon', [1, 5, 6, 7]],
      ['wed, mon', [1, 3]],
      ['mon-tue,sat', [1, 2, 6]],
      ['sun', [7]],
    ])('reads the days %s', (days, weekdays) => {
      expect(windowOf(`days: "${days}", from: "00:00", to: "01:00"`)?.weekdays).toEqual(weekdays);
    });

    it.each(['', 'weekdays', 'mon-', 'mon-wed-fri', 'mon;tue', 'Monday'])(
      'does not guess what days "%s" are',
      (days) => {
        expect(problems(withWindows(`days: "${days}", from: "00:00", to: "01:00"`))).toContain('must be daily, a span');
      },
    );

    it.each([
      ['in a day', 'days: mon, from: "09:00", to: "12:00"', 'days: mon-fri, from: "11:59", to: "13:00"'],
      ['across midnight', 'days: fri, from: "20:00", to: "02:00"', 'days: sat, from: "01:00", to: "03:00"'],
      ['across the end of the week', 'days: sun, from: "20:00", to: "02:00"', 'days: mon, from: "01:00", to: "03:00"'],
      ['twice', 'days: mon, from: "09:00", to: "12:00"', 'days: mon, from: "09:00", to: "12:00"'],
    ])('refuses windows of one entry that overlap: %s', (_, one, other) => {
      for (const windows of [
        [one, other],
        [other, one],
      ])
        expect(problems(withWindows(...windows))).toContain('fleet[0].windows[1]: overlaps with fleet[0].windows[0]');
    });

    it('takes windows that follow each other', () => {
      const yaml = withWindows(
        'days: daily, from: "00:00", to: "12:00"',
        'days: daily, from: "12:00", to: "18:00"',
        'days: daily, from: "18:00", to: "00:00"',
      );
      expect(load(yaml).fleet[0]?.windows).toHaveLength(3);
    });

    it('refuses a window that no lease can cover, and says what to do', () => {
      const day = withWindows('days: daily, from: "00:00", to: "24:00"');
      expect(problems(day)).toMatch(
        /fleet\[0\]\.windows\[0\]: .*raise leases\.capHours to 24\.25, or make shorter windows/,
      );
      expect(load(`leases: {capHours: 24.25}\n${day}`).fleet).toHaveLength(1);
      expect(load(withWindows('days: daily, from: "00:15", to: "00:00"')).fleet).toHaveLength(1);
      expect(problems(withWindows('days: daily, from: "00:14", to: "00:00"'))).toContain('capHours to 24.02');
    });

    it.each([
      ['of another entry', `fleet: [${entry}, ${entry}]`, 'fleet[1].name: "analysts"'],
      [
        'of a backend',
        `dedicated: [{id: analysts, baseUrl: "http://x/v1"}]\nfleet: [${entry}]`,
        'fleet[0].name: "analysts"',
      ],
      [
        'of one of several machines',
        `dedicated: [{id: analysts-2, baseUrl: "http://x/v1"}]\nfleet: [${entry.replace('{', '{count: 2, ')}]`,
        'fleet[0].name: "analysts-2"',
      ],
    ])('refuses the name %s', (_, yaml, problem) => {
      expect(problems(yaml)).toContain(`${problem} is used twice`);
    });

    it('wants a name that is short enough for the numbers of its machines', () => {
      const long = entry.replace('analysts', 'x'.repeat(62));
      expect(load(`fleet: [${long}]`).fleet).toHaveLength(1);
      expect(problems(`fleet: [${long.replace('{', '{count: 2, ')}]`)).toContain('fleet[0].name: must be shorter');
    });

    it('does not switch on a preset under the name of a machine', () => {
      const yaml = `fleet: [${entry.replace('analysts', 'groq')}]`;
      expect(load(yaml, { GROQ_API_KEY: 'some-key-123' }).backends).toEqual([]);
    });

    it('keeps the webhook a secret', async () => {
      const url = 'https://hooks.example/T0/secret-path';
      const { notices, redactor } = load('notices: {webhookUrlEnv: MY_HOOK}', {
        MY_HOOK: ` ${url} `,
        TANDEM_WEBHOOK_URL: 'http://other.example',
      });
      expect(await notices.webhookUrl?.read()).toBe(url);
      expect(notices.webhookUrl?.origin).toBe('MY_HOOK');
      expect(JSON.stringify(notices)).not.toContain('secret-path');
      expect(redactor.scrub(`sent to ${url}`)).toBe('sent to [redacted]');
    });

    it('finds the webhook in its usual variable, and says without quoting when it is no URL', async () => {
      const { notices } = load(null, { TANDEM_WEBHOOK_URL: 'http://127.0.0.1:9/hook' });
      expect(await notices.webhookUrl?.read()).toBe('http://127.0.0.1:9/hook');
      const text = problems(null, { TANDEM_WEBHOOK_URL: 'hooks.example/T0/secret-path' });
      expect(text).toContain('TANDEM_WEBHOOK_URL: must hold an http:// or https:// URL');
      expect(text).not.toContain('secret-path');
    });
  });

  describe('OAuth', () => {
    const given = (oauth: string) => `server: {oauth: ${oauth}}`;
    const audience = 'audience: https://tandem.example.com/mcp';

    it('is off unless it is configured', () => {
      expect(load(null).server.oauth).toBeNull();
    });

    it('takes the issuer exactly as it stands: some end in a slash', () => {
      expect(load(given(`{issuer: "https://login.example/", ${audience}}`)).server.oauth).toEqual({
        issuer: 'https://login.example/',
        audience: 'https://tandem.example.com/mcp',
        jwksUri: null,
      });
    });

    it('reads keys in the clear from loopback only', () => {
      const problem = 'must be an https:// URL (http:// only on loopback)';
      expect(load(given(`{issuer: "http://127.0.0.1:9000", ${audience}}`)).server.oauth).not.toBeNull();
      expect(problems(given(`{issuer: "http://login.example", ${audience}}`))).toContain(
        `server.oauth.issuer: ${problem}`,
      );
      expect(
        problems(given(`{issuer: "https://login.example", ${audience}, jwksUri: "http://login.example/keys"}`)),
      ).toContain(`server.oauth.jwksUri: ${problem}`);
    });

    it('is nothing without an audience', () => {
      expect(problems(given('{issuer: "https://login.example"}'))).toContain('server.oauth.audience');
    });
  });
});
