import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { openDatabase } from '../../src/usage/database.ts';
import { KeeperLock } from '../../src/usage/keeper-lock.ts';
import { waitFor } from '../support/process.ts';
import { openBooks } from './books.ts';
import { itWithProcesses, startChild } from './child.ts';

/** Two processes, as far as the lock can see: two connections, two owners. */
async function openTwo() {
  const { database, clock, path } = await openBooks();
  const second = await openDatabase(path);
  onTestFinished(() => second.close());
  return { clock, one: new KeeperLock(database, clock, 'host:1'), two: new KeeperLock(second, clock, 'host:2') };
}

describe('the place of the keeper', () => {
  it('is free at first', async () => {
    const { one } = await openTwo();
    expect(await one.state()).toBeNull();
    expect(await one.isKept()).toBe(false);
  });

  it('goes to the first who takes it, and not to the second', async () => {
    const { one, two, clock } = await openTwo();
    expect(await one.take('watch')).toBe(true);
    expect(await two.take('serve')).toBe(false);
    expect(await two.state()).toEqual({
      id: 1,
      owner: 'host:1',
      command: 'watch',
      since_ms: clock.nowMs(),
      beat_at_ms: clock.nowMs(),
      listed_at_ms: null,
    });
  });

  it('is kept by beats', async () => {
    const { one, two, clock } = await openTwo();
    await one.take('watch');
    const sinceMs = clock.nowMs();
    for (let beats = 0; beats < 3; beats += 1) {
      clock.advance(25_000);
      expect(await one.take('watch')).toBe(true);
    }
    expect(await two.take('serve')).toBe(false);
    expect(await one.state()).toMatchObject({ since_ms: sinceMs, beat_at_ms: clock.nowMs() });
  });

  it('is free again when no beat came for 30 s', async () => {
    const { one, two, clock } = await openTwo();
    await one.take('watch');
    clock.advance(30_000);
    expect(await two.take('serve')).toBe(false);
    clock.advance(1);
    expect(await two.isKept()).toBe(false);
    expect(await two.take('serve')).toBe(true);
    expect(await two.state()).toMatchObject({ owner: 'host:2', command: 'serve', since_ms: clock.nowMs() });
    expect(await one.take('watch')).toBe(false);
  });

  it('is free when the last beat is from the future: the clock was set back', async () => {
    const { one, two, clock } = await openTwo();
    await one.take('watch');
    clock.advance(-30_000);
    expect(await two.take('serve')).toBe(false);
    clock.advance(-1);
    expect(await two.take('serve')).toBe(true);
  });

  it('is given back by its keeper, and by nobody else', async () => {
    const { one, two } = await openTwo();
    await one.take('watch');
    await two.release();
    expect(await two.take('serve')).toBe(false);
    await one.release();
    expect(await one.state()).toBeNull();
    expect(await two.take('serve')).toBe(true);
  });

  it('says when the account was last listed, also after another one took over', async () => {
    const { one, two, clock } = await openTwo();
    await one.take('watch');
    await one.listed();
    const listedAtMs = clock.nowMs();
    clock.advance(60_000);
    await one.take('watch');
    await two.listed();
    clock.advance(60_000);
    await two.take('serve');
    expect(await two.state()).toMatchObject({ owner: 'host:2', listed_at_ms: listedAtMs });
  });
});

describe('beating', () => {
  /** On one connection: two in one process would wait for each other's transactions. */
  async function openBeating() {
    const { database, clock } = await openBooks();
    const one = new KeeperLock(database, clock, 'host:1');
    await one.take('watch');
    return { clock, one, two: new KeeperLock(database, clock, 'host:2') };
  }

  it('keeps the place until it is told to stop', async () => {
    const { one, two, clock } = await openBeating();
    const stop = new AbortController();
    const beating = one.beat('watch', stop.signal);
    await waitFor(async () => {
      clock.advance(5_000);
      return ((await one.state())?.beat_at_ms ?? 0) > Date.parse('2026-11-23T12:02:00Z');
    }, 'two minutes of beats');
    expect(await two.take('serve')).toBe(false);
    stop.abort();
    expect(await beating).toBe(true);
  });

  it('ends when somebody else has the place, as after a long sleep', async () => {
    const { one, two, clock } = await openBeating();
    clock.advance(60_000);
    await two.take('serve');
    let kept: boolean | undefined;
    one.beat('watch', new AbortController().signal).then((still) => {
      kept = still;
    });
    await waitFor(() => {
      clock.advance(1_000);
      return kept !== undefined;
    }, 'the loss to be noticed');
    expect(kept).toBe(false);
    expect(await two.state()).toMatchObject({ owner: 'host:2' });
  });
});

describe('real processes', () => {
  itWithProcesses('let exactly one of several keep', async () => {
    const { path, database } = await openBooks();
    const children = [1, 2, 3, 4].map(() => startChild('keep', { path }));
    const answers = await Promise.all(children.map((child) => child.answer()));
    const keepers = answers.filter(({ took }) => took);
    expect(keepers).toHaveLength(1);
    const lock = new KeeperLock(database, systemClock);
    expect(await lock.state()).toMatchObject({ owner: keepers[0].owner, command: 'watch' });

    const losers = children.filter((_child, index) => !answers[index].took);
    for (const loser of losers) loser.process.stdin?.end();
    await Promise.all(losers.map((loser) => loser.answer()));
    expect(await lock.take('serve')).toBe(false);
    const keeper = children.find((_child, index) => answers[index].took);
    keeper?.process.stdin?.end();
    expect(await keeper?.answer()).toEqual({ released: true });
    expect(await lock.take('serve')).toBe(true);
  });

  itWithProcesses('leave a place that is taken over when they are killed', async () => {
    const { path, database, clock } = await openBooks();
    const child = startChild('keep', { path });
    await child.answer();
    child.process.kill('SIGKILL');
    await new Promise((resolve) => child.process.once('exit', resolve));
    expect(await new KeeperLock(database, systemClock).take('serve')).toBe(false);
    clock.advance(Date.now() - clock.nowMs() + 31_000);
    expect(await new KeeperLock(database, clock).take('serve')).toBe(true);
  });
});
