// Runs the official conformance suite against our HTTP: npm run conformance [-- --report FILE]
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const suite = '@modelcontextprotocol/conformance@0.1.16';
/** Fewer would mean that the suite did not run, or is not the one that we know. */
const expectedScenarios = 30;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(`The conformance suite needs Node 22.18 or later; this is ${process.version}.`);
  process.exit(1);
}

const { values } = parseArgs({ options: { report: { type: 'string' } } });
const { startConformanceServer } = await import('./server.ts');
const server = await startConformanceServer();
const folder = mkdtempSync(join(tmpdir(), 'tandem-conformance-'));
try {
  await run('npx', [
    '-y',
    '-p',
    suite,
    'conformance',
    'server',
    '--url',
    server.url,
    '--suite',
    'active',
    '-o',
    folder,
  ]);
  const scenarios = readdirSync(folder).map(readScenario);
  for (const { name, problems } of scenarios) for (const problem of problems) console.log(`${name}: ${problem}`);
  const passed = scenarios.filter(({ hasFailed }) => !hasFailed).length;
  const failed = Math.max(scenarios.length, expectedScenarios) - passed;
  console.log(`conformance: ${passed} passed, ${failed} failed`);
  if (values.report) writeFileSync(values.report, JSON.stringify({ numPassedTests: passed, numFailedTests: failed }));
  process.exitCode = failed === 0 ? 0 : 1;
} finally {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
}

/** A folder `server-NAME-TIME` with the checks of one scenario; warnings are shown and do not count. */
function readScenario(name) {
  const checks = JSON.parse(readFileSync(join(folder, name, 'checks.json'), 'utf8'));
  const bad = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING');
  return {
    name,
    hasFailed: bad.some(({ status }) => status === 'FAILURE') || !checks.some(({ status }) => status === 'SUCCESS'),
    problems: bad.map(({ status, errorMessage, description }) => `${status} ${errorMessage ?? description}`),
  };
}

/** What it prints and its exit code say less than the checks that it leaves. */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    child.on('error', reject);
    child.on('close', resolve);
  });
}
