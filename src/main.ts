#!/usr/bin/env node
import { Command, InvalidArgumentError } from 'commander';
import { AppError } from './errors.ts';
import { version } from './version.ts';

// A reader that has seen enough (`tandem demo | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
});

const program = new Command('tandem')
  .description(
    'MCP server on stdio: runs prompts on the cheapest backend that is good enough, rents and returns Lambda Cloud GPUs, and says what all of it costs.',
  )
  .version(version)
  .helpCommand(true)
  .showHelpAfterError('`tandem --help` shows the commands and options.')
  .option('--sandbox', 'live in an embedded imitation of Lambda Cloud and of model providers; needs no key')
  .option('--read-only', 'offer only the tools that change nothing')
  .option('--tools <names>', 'offer only these tools (comma-separated)', (names) =>
    names.split(',').map((name) => name.trim()),
  )
  .action(async (options: { sandbox?: boolean; readOnly?: boolean; tools?: string[] }) => {
    const { start } = await import('./start.ts');
    await start({ sandbox: options.sandbox === true, readOnly: options.readOnly === true, onlyTools: options.tools });
  });

program
  .command('serve')
  .description('serve HTTP: an OpenAI-compatible API at /v1 and MCP at /mcp, over all backends')
  .option('--host <address>', 'address to listen on; anything but loopback needs tokens', '127.0.0.1')
  .option('--port <number>', 'port to listen on', parsePort, 8484)
  .action(async (own: { host: string; port: number }, command: Command) => {
    const options = command.optsWithGlobals<{ sandbox?: boolean; readOnly?: boolean; tools?: string[] }>();
    const { startServer } = await import('./start.ts');
    await startServer({
      ...own,
      sandbox: options.sandbox === true,
      readOnly: options.readOnly === true,
      onlyTools: options.tools,
    });
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

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new InvalidArgumentError('It must be a number from 0 (any free port) to 65535.');
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(
    error instanceof AppError ? `tandem: ${error.text}\n` : `tandem: ${error instanceof Error ? error.stack : error}\n`,
  );
  process.exit(1);
}
