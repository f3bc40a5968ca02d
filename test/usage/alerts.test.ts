import { describe, expect, it } from 'vitest';
import { usdToNano } from '../../src/money.ts';
import { Alerts } from '../../src/usage/alerts.ts';
import { Calendar } from '../../src/usage/calendar.ts';
import { type NoticeBooks, openNoticeBooks } from '../support/notices.ts';
import { attempt, outcome } from './books.ts';

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

async function open(limits: { dailyUsd?: number; monthlyUsd?: number } = {}) {
  const books = await openNoticeBooks(limits);
  const { database, budget, notices, clock } = books;
  return { ...books, alerts: new Alerts({ database, budget, calendar: new Calendar('UTC'), notices, clock }) };
}

async function spend({ ledger }: NoticeBooks, usd: number): Promise<void> {
  const open = await ledger.openAttempt(attempt({ reserveNanoUsd: 0 }));
  await ledger.settleAttempt(open, outcome({ costNanoUsd: usdToNano(usd) }));
}

/** Attempts on a backend that ended like that. */
async function make({ ledger }: NoticeBooks, count: number, about: Parameters<typeof outcome>[0], backend = 'groq') {
  for (let index = 0; index < count; index += 1) {
    const open = await ledger.openAttempt(attempt({ backend, reserveNanoUsd: 0 }));
    await ledger.settleAttempt(open, outcome({ costNanoUsd: 0, ...about }));
  }
}

const failed = { status: 'error', errorCode: 'upstream_unavailable' } as const;
const kinds = async ({ rows }: NoticeBooks) => (await rows()).map(({ kind }) => kind);

describe('budgets', () => {
  it('say nothing below 80 %', async () => {
    const books = await open({ dailyUsd: 10, monthlyUsd: 100 });
    await spend(books, 7.99);
    await books.alerts.check();
    expect(await books.rows()).toEqual([]);
  });

  it('are told at 80 %, once a day, with what it went on and what to do', async () => {
    const books = await open({ dailyUsd: 10, monthlyUsd: 1_000 });
    await spend(books, 8.5);
    await books.alerts.check();
    await spend(books, 0.5);
    await books.alerts.check();
    const [notice] = await books.rows();
    expect(notice?.text).toBe(
      '85 % of the daily budget of $10.00 is spent: $8.50 on tokens, $0.00 on machines. It resets at 2026-11-24 00:00 UTC. cost_report says what it went on; when it is used up, calls and launches are refused.',
    );
    expect(await kinds(books)).toEqual(['budget_80']);
    books.clock.advance(dayMs);
    await spend(books, 9);
    await books.alerts.check();
    expect(await kinds(books)).toEqual(['budget_80', 'budget_80']);
  });

  it('are told at 100 % too, also when the last cents are too few for any call', async () => {
    const books = await open({ dailyUsd: 10, monthlyUsd: 1_000 });
    await spend(books, 8);
    await books.alerts.check();
    await spend(books, 1.95);
    await books.alerts.check();
    await books.alerts.check();
    expect(await kinds(books)).toEqual(['budget_80', 'budget_100']);
    expect((await books.rows())[1]?.text).toContain('The daily budget of $10.00 is used up: $9.95 is spent. New calls');
  });

  it('are told at 100 % alone when they are used up at once', async () => {
    const books = await open({ dailyUsd: 10, monthlyUsd: 10 });
    await spend(books, 12);
    await books.alerts.check();
    expect((await books.rows()).map(({ key }) => key)).toEqual([
      `budget_100:2026-11-23:${usdToNano(10)}`,
      `budget_100:2026-11:${usdToNano(10)}`,
    ]);
  });

  it('are used up also when the rest is promised to machines', async () => {
    const books = await open({ dailyUsd: 10, monthlyUsd: 1_000 });
    await books.instances.openIntent({
      intentId: 'one',
      name: 'trainer',
      instanceType: 'gpu_8x_a100',
      region: 'us-east-1',
      priceCentsPerHour: 995,
      leaseMs: 60 * 60_000,
      capMs: 60 * 60_000,
    });
    await books.alerts.check();
    const [notice] = await books.rows();
    expect(notice).toMatchObject({ kind: 'budget_100' });
    expect(notice?.text).toContain('$0.00 is spent and $9.95 is promised to machines');
  });

  it('are not used up by calls that are under way', async () => {
    const books = await open({ dailyUsd: 10, monthlyUsd: 1_000 });
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usdToNano(10) }));
    await books.alerts.check();
    expect(await books.rows()).toEqual([]);
  });

  it('of 0 never run out', async () => {
    const books = await open({ dailyUsd: 0, monthlyUsd: 0 });
    await books.alerts.check();
    expect(await books.rows()).toEqual([]);
  });
});

describe('error rates', () => {
  it('are told over 5 %, for the backend alone that fails, with the commonest reason', async () => {
    const books = await open();
    await make(books, 27, {});
    await make(books, 2, failed);
    await make(books, 1, { status: 'error', errorCode: 'rate_limited' });
    await make(books, 40, {}, 'fine');
    await books.alerts.check();
    expect(await books.rows()).toMatchObject([{ kind: 'error_rate', key: 'error_rate:groq:2026-11-23T12' }]);
    expect((await books.rows())[0]?.text).toContain(
      'Backend groq failed in 3 of 30 attempts (10 %) of the last 15 minutes, most often with upstream_unavailable.',
    );
  });

  it('say nothing at 5 % exactly', async () => {
    const books = await open();
    await make(books, 19, {});
    await make(books, 1, failed);
    await books.alerts.check();
    expect(await books.rows()).toEqual([]);
  });

  it('say nothing of fewer than 20 attempts', async () => {
    const books = await open();
    await make(books, 19, failed);
    await books.alerts.check();
    expect(await books.rows()).toEqual([]);
  });

  it.each([
    { status: 'cancelled', errorCode: 'cancelled' },
    { status: 'interrupted' },
    { status: 'error', errorCode: 'context_too_long' },
    { status: 'error', errorCode: 'upstream_rejected' },
  ] as const)('do not count what is not the backend: $status $errorCode', async (about) => {
    const books = await open();
    await make(books, 20, {});
    await make(books, 20, about);
    await books.alerts.check();
    expect(await books.rows()).toEqual([]);
  });

  it('forget what is older than 15 minutes', async () => {
    const books = await open();
    await make(books, 30, failed);
    books.clock.advance(15 * minuteMs);
    await make(books, 20, {});
    await books.alerts.check();
    expect(await books.rows()).toEqual([]);
  });

  it('are told once an hour as long as they stay', async () => {
    const books = await open();
    for (let minute = 0; minute <= 60; minute += 10) {
      await make(books, 20, failed);
      await books.alerts.check();
      books.clock.advance(10 * minuteMs);
    }
    expect((await books.rows()).map(({ key }) => key)).toEqual([
      'error_rate:groq:2026-11-23T12',
      'error_rate:groq:2026-11-23T13',
    ]);
  });

  it('are looked at once a minute', async () => {
    const books = await open();
    await books.alerts.check();
    await make(books, 30, failed);
    await books.alerts.check();
    expect(await books.rows()).toEqual([]);
    books.clock.advance(minuteMs);
    await books.alerts.check();
    expect(await books.rows()).toHaveLength(1);
  });
});
