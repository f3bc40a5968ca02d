import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../src/clock.ts';
import { runDoctor } from '../src/doctor.ts';
import { startSandbox } from '../src/sandbox/index.ts';
import { openDatabase } from '../src/usage/database.ts';
import { temporaryFolder } from './support/folder.ts';

it('tandem doctor does not begin to keep a fleet that nobody keeps', async () => {
  const sandbox = await startSandbox({ clock: systemClock });
  onTestFinished(() => sandbox.close());
  const home = temporaryFolder();
  const windows = '[{days: daily, from: "00:00", to: "12:00"}, {days: daily, from: "12:00", to: "24:00"}]';
  const fleet = `fleet: [{name: always, model: openai/gpt-oss-20b, types: [gpu_1x_a10], windows: ${windows}}]\n`;
  writeFileSync(join(home, 'tandem.yaml'), `${sandbox.configYaml.replace('dailyUsd: 50', 'dailyUsd: 100')}${fleet}`);
  const database = await openDatabase(join(home, 'tandem.db'));
  onTestFinished(() => database.close());
  const dead = { id: 1, owner: 'dead', command: 'watch', since_ms: 0, beat_at_ms: 0, listed_at_ms: null };
  await database.write((queries) => queries.insertInto('keeper').values(dead).execute());
  const lines: string[] = [];
  await runDoctor((line) => lines.push(line), { ...sandbox.environment, TANDEM_HOME: home });
  expect(lines.join('\n')).toContain('Fleet: always; fits into the budgets');
  expect(await database.read.selectFrom('keeper').select('owner').execute()).toEqual([{ owner: 'dead' }]);
  expect(await database.read.selectFrom('deployment').selectAll().execute()).toEqual([]);
});
