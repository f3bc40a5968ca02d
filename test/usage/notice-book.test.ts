import { describe, expect, it } from 'vitest';
import type { NoticeRow } from '../../src/usage/notice-book.ts';
import { openNoticeBooks } from '../support/notices.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

async function openWithOne() {
  const books = await openNoticeBooks();
  await books.notices.tell('ready', 'ready:1', 'It is ready.');
  const claim = async (): Promise<NoticeRow> => {
    const [row] = await books.notices.due(books.clock.nowMs());
    return (await books.notices.claim(row!))!;
  };
  return { ...books, claim };
}

describe('telling', () => {
  it('keeps each key once, with the first text', async () => {
    const { notices, rows } = await openNoticeBooks();
    expect(await notices.tell('ready', 'ready:1', 'first')).toBe(true);
    expect(await notices.tell('ready', 'ready:1', 'second')).toBe(false);
    expect(await notices.tell('ready', 'ready:2', 'other')).toBe(true);
    expect((await rows()).map(({ key, text }) => [key, text])).toEqual([
      ['ready:1', 'first'],
      ['ready:2', 'other'],
    ]);
  });

  it('tells once when two see the same thing at once', async () => {
    const { notices, rows } = await openNoticeBooks();
    const told = await Promise.all([1, 2, 3].map((seen) => notices.tell('ready', 'ready:1', `seen ${seen}`)));
    expect(told).toEqual([true, false, false]);
    expect(await rows()).toHaveLength(1);
  });

  it('writes no secret down, and no novel', async () => {
    const { notices, redactor, rows } = await openNoticeBooks();
    redactor.add('my-own-secret-key');
    await notices.tell('ready', 'a', 'With my-own-secret-key and sk-0123456789abcdef!');
    await notices.tell('ready', 'b', 'x'.repeat(10_000));
    const [first, second] = await rows();
    expect(first?.text).toBe('With [redacted] and [redacted]!');
    expect(second?.text).toHaveLength(1_801);
  });

  it('remembers a key after it was sent', async () => {
    const { notices, claim } = await openWithOne();
    await notices.sent(await claim());
    expect(await notices.tell('ready', 'ready:1', 'again')).toBe(false);
  });
});

describe('sending', () => {
  it('hands out what is due in the order in which it was told', async () => {
    const { notices, clock } = await openNoticeBooks();
    for (const key of ['c', 'a', 'b']) {
      await notices.tell('ready', key, key);
      clock.advance(key === 'c' ? 1 : 0);
    }
    expect((await notices.due(clock.nowMs())).map(({ key }) => key)).toEqual(['c', 'a', 'b']);
  });

  it('gives a notice to one of two senders', async () => {
    const { notices, openAgain, clock } = await openWithOne();
    const other = await openAgain();
    const [row] = await notices.due(clock.nowMs());
    const [same] = await other.due(clock.nowMs());
    expect(await other.claim(same!)).toMatchObject({ key: 'ready:1', tries: 1 });
    expect(await notices.claim(row!)).toBeNull();
    expect(await other.due(clock.nowMs())).toEqual([]);
  });

  it('hands out again what its sender never finished', async () => {
    const { notices, clock, claim } = await openWithOne();
    await claim();
    clock.advance(minuteMs - 1);
    expect(await notices.due(clock.nowMs())).toEqual([]);
    clock.advance(1);
    expect(await claim()).toMatchObject({ key: 'ready:1', tries: 2 });
  });

  it('lets a sender whose claim ran out say that it arrived, and not that it failed', async () => {
    const { notices, clock, claim, rows } = await openWithOne();
    const slow = await claim();
    clock.advance(minuteMs);
    await claim();
    await notices.failed(slow, 'too late');
    expect(await rows()).toMatchObject([{ problem: null, sent_at_ms: null }]);
    await notices.sent(slow);
    expect(await rows()).toMatchObject([{ sent_at_ms: clock.nowMs() }]);
  });

  it('waits longer after each failure, up to an hour, and never all senders equally long', async () => {
    const { notices, clock, claim } = await openWithOne();
    const waits: number[] = [];
    for (let tried = 0; tried < 12; tried += 1) {
      const nextMs = await notices.failed(await claim(), 'It answered 500.');
      waits.push(nextMs! - clock.nowMs());
      clock.advance(waits.at(-1)!);
    }
    for (const [index, wait] of waits.entries()) {
      const wholeMs = Math.min(hourMs, 10_000 * 2 ** index);
      expect(wait).toBeGreaterThanOrEqual(wholeMs / 2);
      expect(wait).toBeLessThanOrEqual(wholeMs);
    }
    expect(waits.every((wait, index) => wait === Math.min(hourMs, 10_000 * 2 ** index))).toBe(false);
  });

  it('waits at least as long as the receiver asked for', async () => {
    const { notices, clock, claim } = await openWithOne();
    expect(await notices.failed(await claim(), 'It answered 429.', 20 * minuteMs)).toBe(clock.nowMs() + 20 * minuteMs);
  });

  it('gives up after a day, and keeps the notice with its problem', async () => {
    const { notices, clock, claim, rows } = await openWithOne();
    let nextMs: number | null = clock.nowMs();
    const toldAtMs = clock.nowMs();
    for (let tried = 0; tried < 100 && nextMs !== null; tried += 1) {
      clock.advance(nextMs - clock.nowMs());
      nextMs = await notices.failed(await claim(), `It answered 500, time ${tried}.`);
    }
    expect(nextMs).toBeNull();
    expect(clock.nowMs() - toldAtMs).toBeGreaterThan(dayMs - 2 * hourMs);
    expect(await notices.hasUnsent()).toBe(false);
    clock.advance(10 * dayMs);
    expect(await notices.due(clock.nowMs())).toEqual([]);
    expect(await rows()).toMatchObject([{ key: 'ready:1', sent_at_ms: null, problem: expect.stringContaining('500') }]);
  });

  it('is tried once also when the computer slept for two days', async () => {
    const { notices, clock, claim } = await openWithOne();
    clock.advance(2 * dayMs);
    expect(await notices.failed(await claim(), 'It answered 500.')).toBeNull();
  });
});

describe('keeping', () => {
  it('removes what was sent a month ago, and what was given up then', async () => {
    const { notices, clock, claim, rows } = await openWithOne();
    await notices.sent(await claim());
    await notices.tell('ready', 'ready:2', 'never sent');
    clock.advance(dayMs + 1);
    await notices.giveUpOld('It was not sent.');
    clock.advance(29 * dayMs - 2);
    await notices.removeOld();
    expect(await rows()).toHaveLength(2);
    clock.advance(2);
    await notices.tell('ready', 'ready:3', 'new');
    await notices.removeOld();
    expect((await rows()).map(({ key }) => key)).toEqual(['ready:3']);
  });

  it('gives up only what is older than a day when nothing can be sent', async () => {
    const { notices, clock } = await openWithOne();
    clock.advance(dayMs + 1);
    await notices.tell('ready', 'ready:2', 'of today');
    await notices.giveUpOld('It was not sent.');
    expect((await notices.due(clock.nowMs())).map(({ key }) => key)).toEqual(['ready:2']);
  });
});
