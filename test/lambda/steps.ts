import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type App, createApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config/index.ts';
import type { Tables } from '../../src/usage/tables.ts';
import type { CallResult, World } from '../support/world.ts';

/** What people do with GPUs, in a world. */

export const launchLine = 'POST /instance-operations/launch';
export const terminateLine = 'POST /instance-operations/terminate';

/** The call, and once more with the token that it gave. */
export async function confirmed(world: World, tool: string, input: Record<string, unknown>): Promise<CallResult> {
  const plan = await world.call(tool, input);
  if (plan.result.status !== 'confirm_required') throw new Error(`no plan came of ${tool}: ${plan.text}`);
  return world.call(tool, { ...input, confirm_token: plan.result.confirm_token });
}

export function instanceRows(world: World): Promise<Tables['instance'][]> {
  return world.readLedger((database) =>
    database.read.selectFrom('instance').selectAll().orderBy('requested_at_ms').execute(),
  );
}

/** How many requests of this kind have reached the cloud. */
export function countSent({ sandbox }: World, line: string): number {
  return sandbox.lambda.requestLog.filter(({ method, path }) => `${method} ${path}` === line).length;
}

/** The next start of the program on the same home: nothing is left but what is on the disk. */
export async function startAgain({ sandbox, home, clock }: World): Promise<App> {
  const config = loadConfig({
    ...sandbox.environment,
    TANDEM_HOME: home,
    TANDEM_CONFIG: join(home, 'tandem.yaml'),
    TANDEM_LOG_LEVEL: 'silent',
  });
  const app = await createApp(config, { clock, sandbox });
  onTestFinished(() => app.close());
  return app;
}
