import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Selectable } from 'kysely';
import { describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/usage/database.ts';
import type { Tables } from '../../src/usage/tables.ts';
import { temporaryFolder } from '../support/folder.ts';
import { readEvents } from '../support/gateway.ts';
import { run, ServerProcess, sandboxAndEnvironment, waitFor } from '../support/process.ts';
import { beginStream, chunk, events, role, sendStream, startUpstream, wholeStream } from '../support/upstream.ts';
import { yamlFor } from '../support/yaml.ts';

const callers = 20;
const words = Array.from({ length: 600 }, (_, index) => `word${index}`).join(' ');

async function serve(args: string[], environment: Record<string, string> = {}) {
  const server = new ServerProcess(['serve', '--port', '0', ...args], environment);
  await waitFor(() => server.stderr.includes('listens on'), 'the server');
  const [, origin = ''] = /listens on (\S+):/.exec(server.stderr) ?? [];
  return { server, origin };
}

interface Stream {
  received: string;
  error: unknown;
  ended: Promise<void>;
}

function startStream(origin: string, body: Record<string, unknown>): Stream {
  const stream: Stream = { received: '', error: null, ended: Promise.resolve() };
  stream.ended = (async () => {
    try {
      const answer = await fetch(`${origin}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ stream: true, messages: [{ role: 'user', content: words }], ...body }),
      });
      const text = answer.body?.pipeThrough(new TextDecoderStream());
      for await (const piece of text ?? []) stream.received += piece;
    } catch (error) {
      stream.error = error;
    }
  })();
  return stream;
}

async function ledgerOf(home: string): Promise<{ rows: Selectable<Tables['attempt']>[]; reserved: number }> {
  const database = await openDatabase(join(home, 'tandem.db'));
  try {
    const rows = await database.read.selectFrom('attempt').selectAll().execute();
    const periods = await database.read.selectFrom('budget_period').select('reserved_nano_usd').execute();
    return { rows, reserved: periods.reduce((sum, period) => sum + period.reserved_nano_usd, 0) };
  } finally {
    await database.close();
  }
}

describe('tandem serve, the real process', () => {
  it('answers under --sandbox without any key', async () => {
    const { origin } = await serve(['--sandbox']);
    const stream = startStream(origin, { model: 'auto' });
    await stream.ended;
    expect(readEvents(stream.received)).toMatchObject({ done: true, text: expect.stringContaining('[sandbox]') });
  });

  it('told to stop under load, finishes every stream that has begun, takes no more, and exits with 0', async () => {
    const { server, origin } = await serve(['--sandbox']);
    const streams = Array.from({ length: callers }, () => startStream(origin, { model: 'echo' }));
    await waitFor(() => streams.every(({ received }) => received.includes('word3')), 'all streams');
    expect(streams.some(({ received }) => received.includes('[DONE]'))).toBe(false);
    const toldAt = performance.now();
    server.child.kill('SIGTERM');
    await waitFor(
      () =>
        fetch(`${origin}/v1/models`).then(
          ({ status }) => status === 503,
          () => true,
        ),
      'the door to close',
    );
    expect(server.child.exitCode).toBeNull();
    await Promise.all(streams.map(({ ended }) => ended));
    for (const { received, error } of streams) {
      expect(error).toBeNull();
      expect(readEvents(received)).toMatchObject({ text: words, done: true });
    }
    const { exitCode, stdout } = await server.finished;
    process.stderr.write(`exited ${(performance.now() - toldAt).toFixed(0)} ms after SIGTERM\n`);
    expect([exitCode, stdout]).toEqual([0, '']);
  });

  it('killed under load, leaves a ledger that the next start puts in order', async () => {
    const upstream = await startUpstream(({ response, ordinal }) => {
      if (ordinal > callers) return sendStream(response, wholeStream('Hello'));
      beginStream(response);
      response.write(events(role, chunk({ content: 'word3 ' })));
      return undefined;
    });
    const { home, environment } = await sandboxAndEnvironment((sandbox) =>
      yamlFor(sandbox, [{ id: 'one', models: ['m'], baseUrl: upstream.url }]),
    );
    const first = await serve([], environment);
    const streams = Array.from({ length: callers }, () => startStream(first.origin, { model: 'm' }));
    await waitFor(() => streams.every(({ received }) => received.includes('word3')), 'all streams');
    first.server.child.kill('SIGKILL');
    await Promise.all([first.server.finished, ...streams.map(({ ended }) => ended)]);
    expect(streams.some(({ received }) => received.includes('[DONE]'))).toBe(false);
    const left = await ledgerOf(home);
    expect(left.rows.filter(({ status }) => status === 'open')).toHaveLength(callers);
    expect(left.reserved).toBeGreaterThan(0);

    const second = await serve([], environment);
    const mended = await ledgerOf(home);
    expect(mended.rows.map(({ status }) => status)).toEqual(Array.from({ length: callers }, () => 'interrupted'));
    expect(mended.rows.every(({ cost_nano_usd }) => cost_nano_usd === null)).toBe(true);
    expect(mended.reserved).toBe(0);
    const next = startStream(second.origin, { model: 'm' });
    await next.ended;
    expect(readEvents(next.received)).toMatchObject({ text: 'Hello', done: true });
  });

  it('says in a sentence when its port is taken', async () => {
    const { origin } = await serve(['--sandbox']);
    const finished = await run(['serve', '--sandbox', '--port', new URL(origin).port]);
    expect(finished.exitCode).toBe(1);
    expect(finished.stderr).toMatch(/tandem: Port \d+ of 127\.0\.0\.1 is taken\./);
  });

  it('refuses a broken configuration before it listens', async () => {
    const home = temporaryFolder();
    writeFileSync(join(home, 'tandem.yaml'), 'server: {maxBodyBytes: lots}');
    const { exitCode, stderr } = await run(['serve', '--port', '0'], { TANDEM_HOME: home });
    expect(exitCode).toBe(1);
    expect(stderr).toContain('server.maxBodyBytes');
    expect(stderr).not.toContain('listens on');
  });
});
