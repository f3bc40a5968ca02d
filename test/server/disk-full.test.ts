import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startGateway } from '../support/gateway.ts';
import { sendJson, startUpstream, wholeAnswer } from '../support/upstream.ts';

/** A file system of 1 MB; null where this process may not mount one. */
function smallDisk(): string | null {
  const folder = mkdtempSync(join(tmpdir(), 'tandem-disk-'));
  try {
    execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], { stdio: 'ignore' });
  } catch {
    rmSync(folder, { recursive: true });
    return null;
  }
  onTestFinished(() => {
    // Lazily: the ledger may close after this.
    execFileSync('/bin/umount', ['-l', folder]);
    rmSync(folder, { recursive: true });
  });
  return folder;
}

function fill(disk: string): () => void {
  const names: string[] = [];
  for (const bytes of [65_536, 4_096, 1]) {
    for (let number = 0; ; number += 1) {
      const name = join(disk, `filler-${bytes}-${number}`);
      try {
        names.push(name);
        writeFileSync(name, Buffer.alloc(bytes));
      } catch {
        break;
      }
    }
  }
  return () => {
    for (const name of names) rmSync(name, { force: true });
  };
}

describe('a full disk', () => {
  it('refuses calls before anything is sent, loses nothing, and is forgotten when there is room', async ({ skip }) => {
    const disk = smallDisk();
    if (!disk) return skip('this process may not mount a file system');
    const upstream = await startUpstream(({ response }) => sendJson(response, 200, wholeAnswer));
    const backends = [{ id: 'one', models: ['m'], baseUrl: upstream.url }];
    const gateway = await startGateway({ backends, home: disk });
    expect((await gateway.chat({ model: 'm' })).status).toBe(200);
    await gateway.settled(1);

    const empty = fill(disk);
    let refused: Response | undefined;
    // The ledger may have a few pages to spare.
    for (let tried = 0; tried < 50 && refused === undefined; tried += 1) {
      const answer = await gateway.chat({ model: 'm' });
      if (answer.status !== 200) refused = answer;
    }
    const asked = upstream.requests.length;
    expect(refused?.status).toBe(503);
    expect(await refused?.json()).toMatchObject({
      error: { code: 'database_unavailable', message: expect.stringMatching(/full|space/i) },
    });
    expect((await gateway.chat({ model: 'm', stream: true })).status).toBe(503);
    expect(upstream.requests).toHaveLength(asked);
    expect((await fetch(`${gateway.origin}/v1/models`)).status).toBe(200);

    empty();
    expect((await gateway.chat({ model: 'm' })).status).toBe(200);
    const rows = await gateway.attempts();
    expect(rows).toHaveLength(upstream.requests.length);
  });

  it('that fills up during a call keeps nobody from the answer', async ({ skip }) => {
    const disk = smallDisk();
    if (!disk) return skip('this process may not mount a file system');
    const upstream = await startUpstream(({ response }) => {
      fill(disk);
      sendJson(response, 200, wholeAnswer);
    });
    const gateway = await startGateway({ backends: [{ id: 'one', models: ['m'], baseUrl: upstream.url }], home: disk });
    const answer = await gateway.chat({ model: 'm' });
    expect([answer.status, await answer.json()]).toEqual([200, wholeAnswer]);
  });
});
