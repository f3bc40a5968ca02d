import { Agent } from 'undici';
import { type Clock, systemClock } from './clock.ts';
import { type Environment, loadLambdaConfig } from './config/index.ts';
import { AppError } from './errors.ts';
import { LambdaClient } from './lambda/client.ts';
import { Pacer } from './lambda/pacer.ts';
import { type ReapOptions, reap } from './lambda/reap.ts';
import { createLog } from './log.ts';

/**
 * Ends what has outlived its cap, for cron and CI: needs the API key and nothing else, and opens no database. Returns
 * the exit code: 0 when nothing is left, 1 when something still runs.
 */
export async function runReap(
  options: ReapOptions,
  print: (line: string) => void,
  env?: Environment,
  clock: Clock = systemClock,
): Promise<number> {
  const { lambda, logLevel, redactor } = loadLambdaConfig(env);
  const { baseUrl, apiKey } = lambda;
  if (!apiKey) {
    throw new AppError('not_configured', 'No Lambda Cloud key is configured.', {
      next: 'Set LAMBDA_API_KEY, LAMBDA_API_KEY_FILE or LAMBDA_API_KEY_COMMAND.',
    });
  }
  const dispatcher = new Agent();
  const client = new LambdaClient({ baseUrl, apiKey, pacer: new Pacer(clock), clock, dispatcher });
  const parts = {
    client,
    clock,
    log: createLog(logLevel, redactor),
    print: (line: string) => print(redactor.scrub(line)),
  };
  try {
    return (await reap(parts, options, new AbortController().signal)) ? 0 : 1;
  } finally {
    await dispatcher.destroy();
  }
}
