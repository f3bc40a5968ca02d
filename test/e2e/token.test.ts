import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/folder.ts';
import { run, ServerProcess, sandboxAndEnvironment } from '../support/process.ts';

/** `tandem token ...` and `tandem audit` on one home. */
function atHome(home = temporaryFolder()) {
  return { home, tandem: (...args: string[]) => run(args, { TANDEM_HOME: home }) };
}

describe('tandem token', () => {
  it('prints the secret alone on stdout, and the rest to stderr', async () => {
    const { tandem } = atHome();
    const { exitCode, stdout, stderr } = await tandem(
      ...['token', 'create', '--name', 'ci', '--scope', 'read,infer', '--budget', '5/day', '--rate', '60/min'],
    );
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^tdm_[\w-]{43}\n$/);
    expect(stderr).toMatch(/^tok_\w+ "ci": infer, read; at most \$5\.00 a day; 60 requests a minute; until 20/);
    expect(stderr).not.toContain(stdout.trim());
  });

  it('shows it this once: not in the list and in no file', async () => {
    const { home, tandem } = atHome();
    const secret = (await tandem('token', 'create', '--name', 'ci', '--scope', 'infer')).stdout.trim();
    const { stdout } = await tandem('token', 'list');
    expect(stdout).toMatch(/^tok_\w+ {2}live {5}ci: infer; no budget of its own; until .*; never used\n$/);
    expect(stdout).not.toContain(secret);
    const files = readdirSync(home);
    expect(files).toContain('tandem.db');
    for (const file of files) expect(readFileSync(join(home, file), 'latin1')).not.toContain(secret.slice(4, 24));
  });

  it('makes a folder for the ledger that only its owner can read', async () => {
    const home = join(temporaryFolder(), 'fresh');
    await atHome(home).tandem('token', 'create', '--name', 'ci', '--scope', 'infer');
    expect(statSync(home).mode & 0o777).toBe(0o700);
  });

  it('revokes by name', async () => {
    const { tandem } = atHome();
    await tandem('token', 'create', '--name', 'ci', '--scope', 'infer', '--expires', 'never');
    expect(await tandem('token', 'revoke', 'ci')).toMatchObject({
      exitCode: 0,
      stdout: '',
      stderr: expect.stringContaining('is revoked. Running servers refuse it within five seconds.'),
    });
    expect((await tandem('token', 'list')).stdout).toContain('revoked  ci: infer; no budget of its own; never expires');
    expect(await tandem('token', 'revoke', 'ci')).toMatchObject({
      exitCode: 1,
      stderr: 'tandem: There is no live token "ci". Live: none.\n',
    });
  });

  it.each([
    [['--scope', 'infer,fly'], 'there is no scope "fly". Valid: infer, read, operate'],
    [['--scope', ''], 'Valid: infer, read, operate'],
    [['--scope', 'infer', '--budget', '5'], 'Valid: dollars per day or month, such as 5/day'],
    [['--scope', 'infer', '--budget', '-5/day'], 'Valid: dollars per day or month'],
    [['--scope', 'infer', '--rate', '60/h'], 'Valid: requests per minute, such as 60/min'],
    [['--scope', 'infer', '--rate', '0/min'], 'Valid: requests per minute'],
    [['--scope', 'infer', '--expires', '3w'], 'Valid: hours or days up to 3650d, such as 12h or 90d, or never'],
    [['--scope', 'infer', '--expires', '0d'], 'Valid: hours or days'],
    [['--scope', 'infer', '--name', 'my laptop'], 'Use 1 to 64 letters'],
  ])('refuses %j and says what is valid', async (args, advice) => {
    const { home, tandem } = atHome();
    const { exitCode, stdout, stderr } = await tandem('token', 'create', '--name', 'ci', ...args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toContain(advice);
    expect(readdirSync(home).length === 0 || (await tandem('token', 'list')).stdout.startsWith('No tokens.')).toBe(
      true,
    );
  });
});

describe('tandem audit', () => {
  it('shows what was run, by whom and what it cost, while the server runs', async () => {
    const { environment, home } = await sandboxAndEnvironment();
    const { tandem } = atHome(home);
    expect((await tandem('audit')).stdout).toBe('Nothing yet.\n');
    const server = new ServerProcess([], environment);
    await server.initialize();
    await server.call('complete', { prompt: 'Xylophone' });
    await server.call('terminate_instance', { instances: ['sandbox-box'] });
    const { stdout, exitCode } = await tandem('audit');
    expect(exitCode).toBe(0);
    const lines = stdout.trim().split('\n');
    expect(lines).toHaveLength(4);
    expect(lines[2]).toMatch(/local +local +complete +\{\} +none +done +\{"request_id":".*"cost_usd":/);
    expect(lines[3]).toMatch(/terminate_instance +\{"instances":\["sandbox-box"\]\} +none +planned/);
    expect(stdout).not.toContain('Xylophone');
    expect((await tandem('audit', '--last', '1')).stdout.trim().split('\n')).toHaveLength(3);
  });

  it('wants a number', async () => {
    const { stderr, exitCode } = await atHome().tandem('audit', '--last', 'all');
    expect(exitCode).toBe(1);
    expect(stderr).toContain('Give a number from 1 to 999999.');
  });
});
