// The processes of a run. Whatever happens, none outlives it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

const children = new Set();
const killAll = () => {
  for (const child of children) child.kill('SIGKILL');
};
process.on('exit', killAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

/** For our own servers, which listen on a port that the system picks: tells the parent where. */
export function announce() {
  process.send?.({ port: this.address().port });
  // A parent that is gone must not leave us behind.
  process.on('disconnect', () => process.exit());
}

/** Runs one of our own servers; resolves with `{ url, child }` once it listens. */
export async function startModule(file, env = {}, nodeArgs = []) {
  const child = run([...nodeArgs, fileURLToPath(new URL(file, import.meta.url))], env);
  const port = await new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message.port));
    child.once('exit', (code) => reject(new Error(`${file} ended with ${code} before it listened`)));
  });
  return { url: `http://127.0.0.1:${port}`, child };
}

/** Runs a Node program that is told its port; resolves once `path` answers 200. */
export async function startServer(name, port, args, env, path = '/') {
  const child = run(args, env);
  let said = '';
  child.stderr.on('data', (text) => {
    said = (said + text).slice(-2000);
  });
  const url = `http://127.0.0.1:${port}`;
  const giveUpAt = performance.now() + 20_000;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}: ${said}`);
    if (performance.now() > giveUpAt) throw new Error(`${name} was not ready after 20 s: ${said}`);
    const ready = await fetch(url + path).then(
      (answer) => answer.ok,
      () => false,
    );
    if (ready) return { url, child };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const tooLong = setTimeout(() => child.kill('SIGKILL'), 5000);
  await once(child, 'exit');
  clearTimeout(tooLong);
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function run(args, env) {
  const { PATH, HOME, TMPDIR } = process.env;
  const child = spawn(process.execPath, args, {
    // A clean environment: keys and settings of the person's shell are no part of the measurement.
    env: { PATH, HOME, ...(TMPDIR && { TMPDIR }), NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  child.stderr.resume();
  return child;
}
