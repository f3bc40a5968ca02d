import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { it, onTestFinished } from 'vitest';

const script = fileURLToPath(new URL('child.mjs', import.meta.url));
const isBuilt = existsSync(new URL('../../dist/usage/database.js', import.meta.url));
if (!isBuilt) console.warn('SKIPPING every test with a second process: dist/ is missing. `npm run build` makes it.');

/** For tests that start another process: it runs the compiled code. */
export const itWithProcesses = it.skipIf(!isBuilt);

export interface Child {
  process: ChildProcess;
  /** The next line that it prints, parsed. */
  answer(): Promise<any>;
}

export interface ChildOptions {
  asNobody?: boolean;
  /** Besides this process's own. */
  environment?: Record<string, string>;
  cwd?: string;
}

/** Runs one command of `child.mjs` in a process of its own; it is killed when the test ends. */
export function startChild(
  command: string,
  input: object,
  { asNobody = false, environment = {}, cwd }: ChildOptions = {},
): Child {
  // Root may write everything, so that a permission only shows to somebody else.
  const nobody = asNobody && process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const child = spawn(process.execPath, [script, command, JSON.stringify(input)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
    cwd,
    ...nobody,
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    process: child,
    async answer() {
      const line = await lines.next();
      if (line.done) throw new Error(`The child process "${command}" ended without an answer.`);
      return JSON.parse(line.value);
    },
  };
}
