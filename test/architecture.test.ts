import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const source = join(import.meta.dirname, '../src');

/**
 * The one-way rule: what each room may import from other rooms. Files directly under src/ are rooms of their own.
 * `types` marks imports that may only be `import type`.
 */
const everywhere = [
  'cancellation',
  'errors',
  'clock',
  'money',
  'http',
  'log',
  'principal',
  'redactor',
  'scope',
  'version',
];
const rooms: Record<string, { may: string[]; types?: string[] }> = {
  errors: { may: [] },
  cancellation: { may: ['errors'] },
  clock: { may: [] },
  money: { may: [] },
  principal: { may: [] },
  scope: { may: ['errors', 'principal'] },
  redactor: { may: [] },
  version: { may: [] },
  http: { may: ['errors'] },
  log: { may: ['redactor'] },
  config: { may: everywhere },
  usage: { may: everywhere },
  webhook: { may: [...everywhere, 'usage'], types: ['config'] },
  router: { may: [...everywhere, 'config', 'usage'] },
  lambda: { may: [...everywhere, 'usage'], types: ['config'] },
  tools: { may: [...everywhere, 'config', 'router', 'lambda', 'usage'] },
  server: { may: [...everywhere, 'config', 'router', 'lambda', 'usage', 'tools'] },
  sandbox: { may: ['clock'] },
  demo: { may: ['money', 'version'] },
  app: {
    may: [...everywhere, 'app-fleet', 'config', 'usage', 'router', 'lambda', 'tools', 'server'],
    types: ['sandbox'],
  },
  'app-fleet': {
    may: [...everywhere, 'config', 'usage', 'router', 'lambda', 'watchdog', 'webhook'],
    types: ['sandbox'],
  },
  'process-end': { may: ['errors', 'log'] },
  stdio: { may: ['process-end'], types: ['app'] },
  serve: { may: ['errors', 'process-end'], types: ['app'] },
  'log-file': { may: [] },
  watch: { may: ['errors', 'process-end'], types: ['app'] },
  watchdog: { may: ['log', 'log-file', 'usage'] },
  start: {
    may: [
      'app',
      'clock',
      'config',
      'errors',
      'http',
      'log-file',
      'sandbox',
      'serve',
      'stdio',
      'tools',
      'watch',
      'watchdog',
    ],
  },
  doctor: { may: ['app', 'clock', 'config', 'errors', 'lambda', 'usage', 'version'] },
  'token-command': { may: ['clock', 'config', 'errors', 'log', 'money', 'principal', 'usage'] },
  'audit-command': { may: ['clock', 'config', 'tools', 'usage'] },
  'reap-command': { may: ['clock', 'config', 'errors', 'lambda', 'log'] },
  'calibrate-command': { may: ['clock', 'config', 'errors', 'money', 'router', 'tools', 'usage'] },
  'plan-command': { may: ['clock', 'config', 'errors', 'lambda', 'money', 'tools', 'usage'] },
  main: {
    may: [
      'errors',
      'version',
      'start',
      'demo',
      'doctor',
      'token-command',
      'audit-command',
      'calibrate-command',
      'plan-command',
      'score-command',
      'reap-command',
    ],
  },
  'score-command': { may: ['errors', 'router'] },
};

/** Packages and globals that belong to one place. */
const only: { what: string; pattern: RegExp; in: string[] }[] = [
  {
    what: 'the MCP SDK',
    pattern: /from '@modelcontextprotocol\/sdk/,
    in: ['tools/mcp.ts', 'server/mcp-http.ts', 'demo/index.ts'],
  },
  { what: 'a SQLite driver or Kysely dialect', pattern: /SqliteDialect|createRequire/, in: ['usage/database.ts'] },
  { what: 'the environment', pattern: /process\.env/, in: ['config/index.ts'] },
  {
    what: 'building services',
    pattern: /new (?:Ledger|Budget|Router|Reports|InstanceLedger|McpSession)\(/,
    in: ['app.ts'],
  },
  {
    what: 'building what the fleet consists of',
    pattern:
      /new (?:Fleet|LeaseKeeper|Deployments|DeploymentLauncher|Hunts|Keeper|ScheduleKeeper|NoticeBook|Webhook)\(/,
    in: ['app-fleet.ts'],
  },
  { what: 'building backends', pattern: /new OpenAiBackend\(/, in: ['app.ts', 'app-fleet.ts'] },
  {
    what: "Lambda's client, also in commands that need nothing else",
    pattern: /new LambdaClient\(/,
    in: ['app.ts', 'plan-command.ts', 'reap-command.ts'],
  },
  {
    what: 'tokens and the audit, also in commands that need nothing else',
    pattern: /new (?:TokenBook|AuditTrail)\(/,
    in: ['app.ts', 'token-command.ts', 'audit-command.ts'],
  },
  {
    what: 'ratings and calibrations, also in the command that needs nothing else',
    pattern: /new (?:Ratings|Calibrations|CalibrationInUse|ShadowRunner)\(/,
    in: ['app.ts', 'calibrate-command.ts'],
  },
  { what: 'JWTs', pattern: /from 'jose'/, in: ['server/jwt.ts'] },
  { what: 'the wall clock', pattern: /Date\.now\(\)|new Date\(\)/, in: ['clock.ts', 'router/backends/wire.ts'] },
  { what: 'stdout', pattern: /process\.stdout\.write|console\.(?:log|info)/, in: ['demo/index.ts', 'main.ts'] },
];

const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => ({ path: file, text: readFileSync(join(source, file), 'utf8') }));

describe('architecture', () => {
  it('knows every room', () => {
    const unknown = files.map(({ path }) => roomOf(path)).filter((room) => !(room in rooms));
    expect([...new Set(unknown)]).toEqual([]);
  });

  it('has its table in the documentation', () => {
    const page = readFileSync(join(import.meta.dirname, '../docs/architecture.md'), 'utf8');
    const [table = ''] = /\| room \| imports[^\n]*\n[^\n]*\n((?:\|[^\n]*\n)+)/.exec(page)?.slice(1) ?? [];
    const documented = Object.fromEntries(
      table.split('\n').flatMap((line) => {
        const [, names = '', imports = ''] = line.split('|');
        const types = namesIn(/of (`.*) only types/.exec(imports)?.[1] ?? '');
        const small = imports.includes('the small files') ? everywhere : [];
        const may = [...small, ...namesIn(imports).filter((name) => !types.includes(name))].sort();
        return namesIn(names).map((name) => [name, { may, types: types.sort() }]);
      }),
    );
    const ruled = Object.entries(rooms).map(([name, { may, types = [] }]) => [
      name,
      { may: may.toSorted(), types: types.toSorted() },
    ]);
    expect(documented).toEqual(Object.fromEntries(ruled));
  });

  it('has imports that go one way only', () => {
    const wrong = files.flatMap(({ path, text }) =>
      importsOf(path, text)
        .filter(({ room, typeOnly }) => {
          const rule = rooms[roomOf(path)];
          return room !== roomOf(path) && !rule?.may.includes(room) && !(typeOnly && rule?.types?.includes(room));
        })
        .map(({ room, typeOnly }) => `${path} imports ${typeOnly ? 'types of ' : ''}${room}`),
    );
    expect(wrong).toEqual([]);
  });

  it.each(only)('keeps $what in one place', ({ pattern, in: allowed }) => {
    const elsewhere = files
      .filter(({ path, text }) => pattern.test(text) && !allowed.includes(path))
      .map(({ path }) => path);
    expect(elsewhere).toEqual([]);
  });

  it('keeps files small enough to be read at once', () => {
    const long = files.filter(({ text }) => text.split('\n').length > 350).map(({ path }) => path);
    expect(long).toEqual([]);
  });
});

function namesIn(text: string): string[] {
  return [...text.matchAll(/`([\w-]+)`/g)].map(([, name = '']) => name);
}

function roomOf(path: string): string {
  const [first = ''] = path.split('/');
  return first.replace(/\.ts$/, '');
}

function importsOf(path: string, text: string): { room: string; typeOnly: boolean }[] {
  const found = [...text.matchAll(/(import|export)( type)? [^;]*?from '(\.[^']+)'|import\('(\.[^']+)'\)/g)];
  return found.map((match) => {
    const target = relative(source, join(source, dirname(path), match[3] ?? match[4] ?? ''));
    return { room: roomOf(target), typeOnly: match[2] !== undefined };
  });
}
