// What is measured: each a process of its own in front of the same fake provider.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, startModule, startServer } from './children.mjs';

const portkeyVersion = '1.15.2';
const tandemMain = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** Each takes the provider's address; resolves with `{ url, headers, models, child }`. */
export const subjects = {
  async direct(providerUrl) {
    return { url: providerUrl, headers: {}, models: plain };
  },

  async bare(providerUrl, nodeArgs) {
    return {
      ...(await startModule('bare-proxy.mjs', { UPSTREAM: providerUrl }, nodeArgs)),
      headers: {},
      models: plain,
    };
  },

  async portkey(providerUrl) {
    const port = await freePort();
    const server = await startServer('Portkey', port, [installPortkey(), `--port=${port}`, '--headless'], {});
    const headers = {
      'x-portkey-provider': 'openai',
      'x-portkey-custom-host': `${providerUrl}/v1`,
      authorization: 'Bearer bench',
    };
    return { ...server, headers, models: plain };
  },

  async tandem(providerUrl, nodeArgs = []) {
    const home = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
    process.on('exit', () => rmSync(home, { recursive: true, force: true }));
    const config = join(home, 'tandem.yaml');
    writeFileSync(config, configOf(providerUrl));
    const port = await freePort();
    const args = [...nodeArgs, tandemMain, 'serve', '--host', '127.0.0.1', '--port', String(port)];
    const env = { TANDEM_HOME: home, TANDEM_CONFIG: config, TANDEM_LOG_LEVEL: 'warn' };
    const server = await startServer('tandem serve', port, args, env, '/healthz');
    return { ...server, headers: {}, models: { answer: 'auto', stream: 'fake/model-a', paced: 'fake/paced' } };
  },
};

const plain = { answer: 'model-a', stream: 'model-a', paced: 'paced' };

/** JSON is YAML. One model may be chosen by itself, the other is asked for by name. */
function configOf(providerUrl) {
  const price = { inputUsdPerMTok: 0.1, outputUsdPerMTok: 0.4 };
  const model = { tier: 'medium', contextWindow: 131_072, maxOutputTokens: 8192, price };
  const models = [
    { id: 'model-a', ...model },
    { id: 'paced', ...model, auto: false },
  ];
  return JSON.stringify({
    serverless: [{ id: 'fake', baseUrl: `${providerUrl}/v1`, models }],
    budgets: { dailyUsd: 1_000_000, monthlyUsd: 1_000_000 },
  });
}

/** Installed once into the system's temporary folder, not into this project: it is only compared with. */
function installPortkey() {
  const folder = join(tmpdir(), `tandem-bench-portkey-${portkeyVersion}`);
  const main = join(folder, 'node_modules/@portkey-ai/gateway/build/start-server.js');
  const complete = join(folder, 'complete');
  if (existsSync(complete)) return main;
  console.error(`installing @portkey-ai/gateway ${portkeyVersion} into ${folder} ...`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  const options = ['--save-exact', '--no-audit', '--no-fund', '--ignore-scripts', '--silent'];
  execFileSync('npm', ['install', ...options, `@portkey-ai/gateway@${portkeyVersion}`], { cwd: folder });
  writeFileSync(complete, '');
  return main;
}
