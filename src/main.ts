#!/usr/bin/env node
import { Command, InvalidArgumentError, Option } from 'commander';
import type { CalibrateOptions } from './calibrate-command.ts';
import { AppError } from './errors.ts';
import type { TokenOptions } from './token-command.ts';
import { version } from './version.ts';

// A reader that has seen enough (`tandem demo | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
});

const program = new Command('tandem')
  .description(
    'Runs prompts on the cheapest backend that is good enough, rents and returns Lambda Cloud GPUs, and says what all of it costs: an MCP server on stdio, and with `serve` over HTTP beside an OpenAI-compatible API.',
  )
  .version(version)
  .helpCommand(true)
  .showHelpAfterError('`tandem --help` shows the commands and options.')
  .option('--sandbox', 'live in an embedded imitation of Lambda Cloud and of model providers; needs no key')
  .addOption(
    new Option('--scenario <name>', 'what the sandbox is like; weekday: a schedule, on a Monday morning')
      .choices(['usual', 'weekday'] as const)
      .implies({ sandbox: true }),
  )
  .option('--read-only', 'offer only the tools that change nothing')
  .option('--tools <names>', 'offer only these tools (comma-separated)', (names) =>
    names.split(',').map((name) => name.trim()),
  )
  .action(async (options: WorldOptions) => {
    const { start } = await import('./start.ts');
    await start(startOptions(options));
  });

program
  .command('serve')
  .description('serve HTTP: an OpenAI-compatible API at /v1 and MCP at /mcp, over all backends')
  .option('--host <address>', 'address to listen on; anything but loopback needs tokens', '127.0.0.1')
  .option('--port <number>', 'port to listen on', parsePort, 8484)
  .action(async (own: { host: string; port: number }, command: Command) => {
    const { startServer } = await import('./start.ts');
    await startServer({ ...own, ...startOptions(command.optsWithGlobals<WorldOptions>()) });
  });

program
  .command('watch')
  .description(
    'keep the fleet: leases, deployments, hunts, schedules, notices; it starts by itself with the first lease',
  )
  .option('--linger <seconds>', 'leave after so long with nothing to keep', parseCount, 60)
  .addOption(new Option('--detached').hideHelp())
  .action(async ({ linger, detached }: { linger: number; detached?: true }, command: Command) => {
    if (command.optsWithGlobals<{ sandbox?: boolean }>().sandbox) {
      throw new AppError('invalid_input', 'tandem watch keeps the fleet of the real world; the sandbox keeps itself.', {
        next: 'Run: tandem watch',
      });
    }
    const { startWatch } = await import('./start.ts');
    await startWatch({ lingerMs: linger * 1_000, detached: detached === true });
  });

program
  .command('demo')
  .description('show the whole product at work against the sandbox; no key, no network')
  .action(async () => {
    const { runDemo } = await import('./demo/index.ts');
    process.exitCode = await runDemo();
  });

program
  .command('doctor')
  .description('check configuration, keys, reachability and database, and say what to fix')
  .action(async () => {
    const { runDoctor } = await import('./doctor.ts');
    process.exit(await runDoctor((line) => process.stdout.write(`${line}\n`)));
  });

program
  .command('reap')
  .description('end machines of Tandem that have outlived their cap, by their tags alone: needs only the API key')
  .option('--dry-run', 'only say which; exits with 1 when there are any')
  .option('--all-managed', 'end every machine that bears the tag of Tandem, whatever its cap')
  .action(async ({ dryRun = false, allManaged = false }: { dryRun?: boolean; allManaged?: boolean }) => {
    const { runReap } = await import('./reap-command.ts');
    process.exitCode = await runReap({ dryRun, allManaged }, output.print);
  });

interface WorldOptions {
  sandbox?: boolean;
  scenario?: 'usual' | 'weekday';
  readOnly?: boolean;
  tools?: string[];
}

function startOptions({ sandbox = false, scenario, readOnly = false, tools }: WorldOptions) {
  return { sandbox, scenario, readOnly, onlyTools: tools };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new InvalidArgumentError('It must be a number from 0 (any free port) to 65535.');
}

const output = {
  print: (line: string) => process.stdout.write(`${line}\n`),
  explain: (line: string) => process.stderr.write(`${line}\n`),
};

const token = program.command('token').description('make, list and revoke the tokens with which others come in');

token
  .command('create')
  .description('make a token; its secret is printed to stdout, once')
  .requiredOption('--name <name>', 'who or what uses it')
  .requiredOption('--scope <scopes>', 'what it may do: infer, read, operate (comma-separated)')
  .option('--budget <dollars/period>', 'the most it may spend on tokens, such as 5/day or 100/month')
  .option('--rate <requests/min>', 'how often it may ask, such as 60/min')
  .option('--expires <time>', 'how long it is good: hours (12h), days (90d) or never', '90d')
  .action(async (options: TokenOptions) => {
    const { createToken } = await import('./token-command.ts');
    await createToken(options, output);
  });

token
  .command('list')
  .description('list all tokens; no secret is shown')
  .action(async () => {
    const { listTokens } = await import('./token-command.ts');
    await listTokens(output);
  });

token
  .command('revoke')
  .description('end a token; running servers refuse it within five seconds')
  .argument('<name|id>')
  .action(async (nameOrId: string) => {
    const { revokeToken } = await import('./token-command.ts');
    await revokeToken(nameOrId, output);
  });

program
  .command('audit')
  .description('show who launched, terminated or ran what, on whose yes, and what came of it')
  .option('--last <count>', 'so many of the latest', parseCount, 20)
  .action(async ({ last }: { last: number }) => {
    const { printAudit } = await import('./audit-command.ts');
    await printAudit(last, output.print);
  });

program
  .command('plan')
  .description('show what the schedule (fleet in tandem.yaml) does this week and what it costs; changes nothing')
  .option('--json', 'print JSON')
  .action(async (options: { json?: boolean }) => {
    const { printPlan } = await import('./plan-command.ts');
    await printPlan(options, output.print);
  });

program
  .command('calibrate')
  .description('fit the predictions of the routing to what was said of answers; changes nothing without --apply')
  .option('--days <count>', 'from ratings and comparisons of so many days', parseCount, 30)
  .option('--apply', 'put the new version into use')
  .addOption(
    new Option('--use <version>', 'put an earlier version into use again; 0: as shipped')
      .argParser(parseVersion)
      .conflicts('apply'),
  )
  .option('--json', 'print JSON')
  .action(async (options: CalibrateOptions) => {
    const { calibrate } = await import('./calibrate-command.ts');
    await calibrate(options, output.print);
  });

function parseVersion(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Give the number of a version; 0 is as shipped.');
}

program
  .command('score')
  .description('rate prompts: JSONL {id, prompt} in, `id<TAB>score` out; higher needs the strong model')
  .argument('[file]', 'JSONL file; stdin when it is - or left out')
  .option('--per-dollar', 'rank by gain per extra dollar: saves most, closes the gap later')
  .addOption(
    new Option(
      '--cascade',
      'check the answer of the small model that a row may have (weak_answer) and rate that',
    ).conflicts('perDollar'),
  )
  .action(async (file: string | undefined, options: { perDollar?: boolean; cascade?: boolean }) => {
    const { scoreFile } = await import('./score-command.ts');
    try {
      await scoreFile(file, (text) => process.stdout.write(text), options);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      output.explain(`tandem: ${error.text}`);
      process.exitCode = 2;
    }
  });

function parseCount(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Give a number from 1 to 999999.');
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(
    error instanceof AppError ? `tandem: ${error.text}\n` : `tandem: ${error instanceof Error ? error.stack : error}\n`,
  );
  process.exit(1);
}
