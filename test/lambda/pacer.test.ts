import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { Pacer, type Turn } from '../../src/lambda/pacer.ts';
import { ManualClock } from '../support/clock.ts';

/** A pacer, its clock, and the turns as they come: name and milliseconds since the start. */
function openPacer() {
  const clock = new ManualClock();
  const startMs = clock.nowMs();
  const pacer = new Pacer(clock);
  const turns: [string, number][] = [];
  const ask = (kind: Turn, name: string, signal = new AbortController().signal) =>
    pacer.turn(kind, signal).then(() => {
      turns.push([name, clock.nowMs() - startMs]);
    });
  /** Step by step, since whoever wakes up may wait again. */
  const advance = async (ms: number, stepMs = 50) => {
    await new Promise(setImmediate);
    for (let moved = 0; moved < ms; moved += stepMs) {
      clock.advance(stepMs);
      await new Promise(setImmediate);
    }
  };
  return { pacer, clock, ask, advance, turns };
}

describe('Pacer', () => {
  it('lets the first request go at once', async () => {
    const { ask, advance, turns } = openPacer();
    void ask('request', 'first');
    await advance(0);
    expect(turns).toEqual([['first', 0]]);
  });

  it('spaces requests by a little more than a second, in the order in which they were asked for', async () => {
    const { ask, advance, turns } = openPacer();
    for (const name of ['a', 'b', 'c', 'd']) void ask('request', name);
    await advance(10_000);
    expect(turns).toEqual([
      ['a', 0],
      ['b', 1_050],
      ['c', 2_100],
      ['d', 3_150],
    ]);
  });

  it('does not save up turns for a burst after a quiet time', async () => {
    const { ask, advance, turns } = openPacer();
    await advance(60_000, 10_000);
    void ask('request', 'a');
    void ask('request', 'b');
    await advance(2_000);
    expect(turns).toEqual([
      ['a', 60_000],
      ['b', 61_050],
    ]);
  });

  it('holds nobody up for hours when the clock is set back', async () => {
    const { clock, ask, advance, turns } = openPacer();
    await ask('launch', 'a');
    clock.advance(-3_600_000);
    void ask('request', 'b');
    void ask('launch', 'c');
    await advance(0);
    expect(turns.map(([name]) => name)).toEqual(['a', 'b']);
    await advance(2_000);
    expect(turns.map(([name]) => name)).toEqual(['a', 'b', 'c']);
  });

  it('spaces launches by a little more than twelve seconds', async () => {
    const { ask, advance, turns } = openPacer();
    for (const name of ['a', 'b', 'c']) void ask('launch', name);
    await advance(30_000);
    expect(turns).toEqual([
      ['a', 0],
      ['b', 12_500],
      ['c', 25_000],
    ]);
  });

  it('counts a launch as a request, too', async () => {
    const { ask, advance, turns } = openPacer();
    void ask('launch', 'launch');
    void ask('request', 'request');
    await advance(2_000);
    expect(turns).toEqual([
      ['launch', 0],
      ['request', 1_050],
    ]);
  });

  it('lets requests pass a launch that must wait for its turn', async () => {
    const { ask, advance, turns } = openPacer();
    void ask('launch', 'launch');
    void ask('launch', 'next launch');
    void ask('request', 'terminate');
    await advance(15_000);
    expect(turns).toEqual([
      ['launch', 0],
      ['terminate', 1_050],
      ['next launch', 12_500],
    ]);
  });

  it('measures the distance between launches from when they went, not from when they were asked for', async () => {
    const { ask, advance, turns } = openPacer();
    for (const name of ['a', 'b', 'c']) void ask('request', name);
    void ask('launch', 'late launch');
    void ask('launch', 'next launch');
    await advance(20_000);
    expect(turns.slice(3)).toEqual([
      ['late launch', 3_150],
      ['next launch', 15_650],
    ]);
  });

  it('sends nothing while it is held back', async () => {
    const { pacer, ask, advance, turns } = openPacer();
    pacer.holdBack(7_000);
    void ask('request', 'request');
    void ask('launch', 'launch');
    await advance(6_950);
    expect(turns).toEqual([]);
    await advance(5_000);
    expect(turns).toEqual([
      ['request', 7_000],
      ['launch', 8_050],
    ]);
  });

  it('holds back a launch that was waiting for its turn already', async () => {
    const { pacer, ask, advance, turns } = openPacer();
    void ask('launch', 'first');
    void ask('launch', 'waiting');
    await advance(10_000);
    pacer.holdBack(20_000);
    await advance(25_000);
    expect(turns).toEqual([
      ['first', 0],
      ['waiting', 30_000],
    ]);
  });

  it('is not held back for less by a later, shorter call', async () => {
    const { pacer, ask, advance, turns } = openPacer();
    pacer.holdBack(7_000);
    pacer.holdBack(1_000);
    void ask('request', 'request');
    await advance(10_000);
    expect(turns).toEqual([['request', 7_000]]);
  });

  it('wakes a waiting caller at once when it is aborted', async () => {
    const { ask } = openPacer();
    const aborter = new AbortController();
    await ask('request', 'first');
    const waiting = ask('request', 'second', aborter.signal);
    const reason = new AppError('cancelled', 'Enough.');
    aborter.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });

  it('gives the place of an aborted launch to the next one', async () => {
    const { ask, advance, turns } = openPacer();
    const aborter = new AbortController();
    void ask('launch', 'first');
    const aborted = ask('launch', 'aborted', aborter.signal);
    void ask('launch', 'third');
    aborter.abort(new AppError('cancelled', 'Enough.'));
    await expect(aborted).rejects.toThrow('Enough.');
    await advance(20_000);
    expect(turns).toEqual([
      ['first', 0],
      ['third', 12_500],
    ]);
  });

  it('is held up by nobody who gave up waiting', async () => {
    const { ask, advance, turns } = openPacer();
    const giveUp = new AbortController();
    void ask('request', 'first');
    const given = Array.from({ length: 50 }, (_, index) =>
      ask('request', `gave up ${index}`, giveUp.signal).catch(() => undefined),
    );
    void ask('request', 'patient');
    giveUp.abort(new AppError('cancelled', 'Enough.'));
    await Promise.all(given);
    await advance(3_000);
    expect(turns).toEqual([
      ['first', 0],
      ['patient', 1_050],
    ]);
  });

  it('lets terminations go before everything that waits', async () => {
    const { ask, advance, turns } = openPacer();
    for (let index = 0; index < 30; index += 1) void ask('request', `list ${index}`);
    void ask('urgent', 'terminate');
    await advance(2_500);
    expect(turns.slice(0, 2)).toEqual([
      ['list 0', 0],
      ['terminate', 1_050],
    ]);
  });
});
