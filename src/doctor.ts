import { join } from 'node:path';
import { styleText } from 'node:util';
import { type App, createApp } from './app.ts';
import { systemClock } from './clock.ts';
import { type Config, type Environment, loadConfig } from './config/index.ts';
import { presetIds } from './config/presets.ts';
import { AppError } from './errors.ts';
import { requireAffordableFleet } from './lambda/fleet-budget.ts';
import { sshVersion } from './lambda/serving/ssh-session.ts';
import { openDatabase } from './usage/database.ts';
import { version } from './version.ts';

type Verdict = 'ok' | 'note' | 'problem';
type Say = (verdict: Verdict, what: string, next?: string) => void;

const marks: Record<Verdict, string> = {
  ok: styleText('green', '✓'),
  note: styleText('yellow', '•'),
  problem: styleText('red', '✗'),
};
const checkTimeoutMs = 20_000;

/** Checks everything that can be wrong before a client is connected, and says what to do. Returns the exit code. */
export async function runDoctor(print: (line: string) => void, env?: Environment): Promise<number> {
  let problems = 0;
  let scrub = (text: string) => text;
  const say: Say = (verdict, what, next) => {
    if (verdict === 'problem') problems += 1;
    print(scrub(`${marks[verdict]} ${what}${next ? `\n    ${next.trim()}` : ''}`));
  };
  print(`tandem ${version}, Node ${process.versions.node}`);
  const config = attempt(() => loadConfig(env), say);
  if (!config) return 1;
  scrub = (text) => config.redactor.scrub(text);
  say('ok', config.file ? `Configuration: ${config.file}` : 'Configuration: environment only (no tandem.yaml)');
  const fits = checkFleet(config, say);
  if (!(await checkDatabase(config, say))) return 1;
  // Nothing starts with a schedule that cannot be kept; the rest is worth checking all the same.
  await checkServices(fits ? config : { ...config, fleet: [] }, say);
  print(problems === 0 ? 'All is well.' : `${problems} ${problems === 1 ? 'problem' : 'problems'} to mend.`);
  return problems === 0 ? 0 : 1;
}

function attempt(load: () => Config, say: Say): Config | null {
  try {
    return load();
  } catch (error) {
    report(error, say, 'Configuration');
    return null;
  }
}

function checkFleet(config: Config, say: Say): boolean {
  if (config.fleet.length === 0) return true;
  try {
    requireAffordableFleet(config, systemClock.nowMs());
  } catch (error) {
    report(error, say, 'Fleet');
    return false;
  }
  say('ok', `Fleet: ${config.fleet.map(({ name }) => name).join(', ')}; fits into the budgets (tandem plan shows it)`);
  return true;
}

async function checkDatabase(config: Config, say: Say): Promise<boolean> {
  const path = join(config.home, 'tandem.db');
  try {
    const database = await openDatabase(path);
    // A change that changes nothing: a ledger that can be read but not written cannot record what is spent.
    await database.write(async (queries) => {
      await queries.updateTable('budget_period').set({ settled_nano_usd: 0 }).where('period', '=', '').execute();
    });
    await database.close();
    say('ok', `Ledger: ${path} (${database.driver})`);
    return true;
  } catch (error) {
    report(error, say, 'Ledger');
    return false;
  }
}

async function checkServices(config: Config, say: Say): Promise<void> {
  // It looks, and launches or ends nothing.
  const app = await createApp({ ...config, logLevel: 'silent' }, { keep: false });
  try {
    await checkLambda(config, app.fleet, say);
    await checkKeeping(config, app, say);
    if (app.backends.length === 0) {
      // Someone may want GPUs only; without those either, there is nothing to work with.
      const verdict = app.fleet.isConfigured ? 'note' : 'problem';
      say(
        verdict,
        'Models: no backend is configured',
        `Set a provider key (presets: ${presetIds.join(', ')}) or name backends in tandem.yaml.`,
      );
    }
    const hasDedicated = app.backends.some(({ kind }) => kind === 'dedicated');
    if (app.backends.length > 0 && !hasDedicated && config.routing.privacy === 'dedicated_only') {
      say(
        'problem',
        'Models: no prompt may go to any backend that is configured (routing.privacy: dedicated_only)',
        'Name a model server of yours under dedicated in tandem.yaml.',
      );
    }
    for (const [index, backend] of app.backends.entries()) {
      const where = `Backend ${backend.id} (${config.backends[index]?.baseUrl})`;
      if (backend.unusable) {
        say(
          'problem',
          `${where}: ${backend.unusable}`,
          'Set the variable where the server is started (env in mcp.json).',
        );
        continue;
      }
      try {
        const listed = await backend.listModels(AbortSignal.timeout(checkTimeoutMs));
        const ids = new Set(listed.map(({ id }) => id));
        const missing = (config.backends[index]?.models ?? []).filter(({ id }) => !ids.has(id)).map(({ id }) => id);
        if (missing.length > 0) {
          say(
            'problem',
            `${where}: it does not list ${missing.join(', ')}`,
            `It lists: ${[...ids].slice(0, 10).join(', ')}.`,
          );
        } else say('ok', `${where}: answers, lists ${listed.length} models`);
      } catch (error) {
        report(error, say, where, 'Check that it runs, and that baseUrl ends before /chat/completions (often in /v1).');
      }
    }
  } finally {
    await app.close();
  }
}

async function checkLambda(
  config: Config,
  fleet: { isConfigured: boolean; types(signal: AbortSignal): Promise<unknown[]> },
  say: Say,
): Promise<void> {
  if (!fleet.isConfigured) {
    say(
      'note',
      'Lambda Cloud: no key, so no GPUs',
      'Set LAMBDA_API_KEY, LAMBDA_API_KEY_FILE or LAMBDA_API_KEY_COMMAND to rent some.',
    );
    return;
  }
  try {
    const types = await fleet.types(AbortSignal.timeout(checkTimeoutMs));
    say(
      'ok',
      `Lambda Cloud (${config.lambda.baseUrl}): the key in ${config.lambda.apiKey?.origin} works, ${types.length} instance types`,
    );
  } catch (error) {
    report(error, say, `Lambda Cloud (${config.lambda.baseUrl})`);
  }
}

/** What leases, schedules and deployments need besides a key. */
async function checkKeeping(config: Config, { keeper, keeperLock, fleet }: App, say: Say): Promise<void> {
  if (!fleet.isConfigured) return;
  const version = await sshVersion();
  if (version) say('ok', `SSH: ${version}`);
  else say('note', 'SSH: there is no ssh here', 'Install the OpenSSH client: deployments are reached through it.');
  if (!config.notices.webhookUrl)
    say('note', 'Notices: no webhook', 'Set TANDEM_WEBHOOK_URL to be told of leases, budgets and boots that failed.');
  const row = await keeperLock.state();
  const isKept = await keeperLock.isKept();
  if (isKept) say('ok', `Keeper: ${row?.owner} (tandem ${row?.command})`);
  else if (await keeper.hasWork())
    say('note', 'Keeper: nobody enforces leases and schedules now', 'Run `tandem watch`, `tandem serve` or a client.');
}

function report(error: unknown, say: Say, what: string, advice?: string): void {
  if (error instanceof AppError) say('problem', `${what}: ${error.message}`, error.next ?? advice);
  else say('problem', `${what}: ${error instanceof Error ? error.message : error}`);
}
