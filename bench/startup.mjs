// From the start of the process to the answer of `tools/list` over stdio, as a client has it. Prints the median.
// `npm run bench:startup -- [runs]`
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';

const runs = Number(process.argv[2] ?? 11);
const mustMs = 700;
const home = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const times = [];
for (let run = -1; run < runs; run += 1) {
  const env = { TANDEM_HOME: home, TANDEM_LOG_LEVEL: 'error' };
  const client = new Client({ name: 'bench', version: '1' });
  const startedAt = performance.now();
  await client.connect(new StdioClientTransport({ command: process.execPath, args: [main], env, stderr: 'inherit' }));
  const { tools } = await client.listTools();
  const ms = performance.now() - startedAt;
  if (tools.length === 0) throw new Error('no tools');
  // The first run warms the file cache and makes the ledger.
  if (run >= 0) times.push(ms);
  await client.close();
}
rmSync(home, { recursive: true, force: true });
times.sort((one, other) => one - other);
const median = times[Math.floor(times.length / 2)];
console.log(
  `start to tools/list, ${runs} warm runs, Node ${process.versions.node}: median ${median.toFixed(0)} ms (min ${times[0].toFixed(0)}, max ${times.at(-1).toFixed(0)}); must be under ${mustMs} ms: ${median < mustMs ? 'yes' : 'NO'}`,
);
