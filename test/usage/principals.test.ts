import { describe, expect, it } from 'vitest';
import type { AppError } from '../../src/errors.ts';
import { usdToNano } from '../../src/money.ts';
import { localPrincipal, type Principal } from '../../src/principal.ts';
import { attempt, attemptRow, type Books, openBooks, outcome } from './books.ts';

const usd = usdToNano;
const dayMs = 24 * 60 * 60_000;

function token(limitUsd: number | null, per: 'day' | 'month' = 'day', id = 'tok_1'): Principal {
  const budget = limitUsd === null ? null : { limitNanoUsd: usd(limitUsd), per };
  return { ...localPrincipal, id, name: 'website', budget };
}

const refusal = (work: Promise<unknown>) =>
  work.then(
    () => expect.unreachable('it was let pass'),
    (error: AppError) => error,
  );

async function counters({ database }: Books, id: string) {
  const rows = await database.read.selectFrom('principal_period').selectAll().where('principal_id', '=', id).execute();
  return Object.fromEntries(rows.map((row) => [row.period, [row.settled_nano_usd, row.reserved_nano_usd]]));
}

describe('a budget of its own', () => {
  it('is kept to by 200 calls at once, whatever everybody together may spend', async () => {
    const books = await openBooks({ dailyUsd: 100 });
    const principal = token(1);
    const calls = Array.from({ length: 200 }, () => attempt({ reserveNanoUsd: usd(0.03), principal }));
    const results = await Promise.allSettled(calls.map((call) => books.ledger.openAttempt(call)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(33);
    expect(await counters(books, 'tok_1')).toEqual({ '2026-11-23': [0, usd(0.99)], '2026-11': [0, usd(0.99)] });
  });

  it('names the token, what is left, and when it resets', async () => {
    const { ledger } = await openBooks({ timeZone: 'America/New_York' });
    await ledger.openAttempt(attempt({ reserveNanoUsd: usd(0.75), principal: token(1) }));
    const error = await refusal(ledger.openAttempt(attempt({ reserveNanoUsd: usd(0.5), principal: token(1) })));
    expect(error.code).toBe('budget_exhausted');
    expect(error.message).toBe(
      'The daily budget of token website of $1.00 has $0.25 left; groq/small-8b may cost up to $0.50. Nothing was sent.',
    );
    expect(error.next).toContain('resets at 2026-11-24 00:00 America/New_York');
    expect(error.next).toContain('give the token a larger budget');
  });

  it('lasts a day or a month', async () => {
    const { ledger, clock } = await openBooks({ dailyUsd: 100, monthlyUsd: 1_000 });
    const [daily, monthly] = [token(1), token(1, 'month', 'tok_2')];
    for (const principal of [daily, monthly]) {
      const id = await ledger.openAttempt(attempt({ reserveNanoUsd: usd(1), principal }));
      await ledger.settleAttempt(id, outcome({ costNanoUsd: usd(1) }));
    }
    clock.advance(dayMs);
    await ledger.openAttempt(attempt({ reserveNanoUsd: usd(1), principal: daily }));
    const error = await refusal(ledger.openAttempt(attempt({ reserveNanoUsd: 1, principal: monthly })));
    expect(error.message).toContain('The monthly budget of token website');
    clock.advance(8 * dayMs);
    await ledger.openAttempt(attempt({ reserveNanoUsd: usd(1), principal: monthly }));
  });

  it('is no more than the budget that holds for all', async () => {
    const { ledger } = await openBooks({ dailyUsd: 1 });
    const error = await refusal(ledger.openAttempt(attempt({ reserveNanoUsd: usd(2), principal: token(5) })));
    expect(error.message).toContain('The daily budget of $1.00 has $1.00 left');
  });

  it('is not touched by others, nor do those without one need one', async () => {
    const { ledger } = await openBooks({ dailyUsd: 100 });
    await ledger.openAttempt(attempt({ reserveNanoUsd: usd(5), principal: token(null, 'day', 'tok_2') }));
    await ledger.openAttempt(attempt({ reserveNanoUsd: usd(5) }));
    await ledger.openAttempt(attempt({ reserveNanoUsd: usd(1), principal: token(1) }));
    await refusal(ledger.openAttempt(attempt({ reserveNanoUsd: 1, principal: token(1) })));
    await ledger.openAttempt(attempt({ reserveNanoUsd: usd(5) }));
  });

  it('is not touched by what others ask for in the same moment', async () => {
    const { ledger } = await openBooks({ dailyUsd: 100 });
    const callers = [token(null, 'day', 'tok_2'), token(1), token(1, 'day', 'tok_3'), token(1)];
    const results = await Promise.allSettled(
      callers.map((principal) => ledger.openAttempt(attempt({ reserveNanoUsd: usd(0.75), principal }))),
    );
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected']);
  });

  it('lets an unknown cost pass while something is left, and what costs nothing always', async () => {
    const { ledger } = await openBooks();
    const principal = token(1);
    await ledger.openAttempt(attempt({ reserveNanoUsd: null, principal }));
    await ledger.openAttempt(attempt({ reserveNanoUsd: usd(1), principal }));
    expect((await refusal(ledger.openAttempt(attempt({ reserveNanoUsd: null, principal })))).message).toContain(
      'unknown',
    );
    await ledger.openAttempt(attempt({ reserveNanoUsd: 0, principal }));
  });

  it('gets back what a call did not cost', async () => {
    const books = await openBooks();
    const principal = token(1);
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1), principal }));
    await books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(0.25) }));
    expect(await counters(books, 'tok_1')).toMatchObject({ '2026-11': [usd(0.25), 0] });
    await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(0.75), principal }));
  });

  it('gets back what an abandoned call held, and pays once it turns up late', async () => {
    const books = await openBooks();
    const principal = token(1);
    const id = await books.ledger.openAttempt(attempt({ reserveNanoUsd: usd(1), principal }));
    const other = await openBooks({ path: books.path, clock: books.clock });
    await other.ledger.recover(true);
    expect(await counters(books, 'tok_1')).toMatchObject({ '2026-11': [0, 0] });
    await books.ledger.settleAttempt(id, outcome({ costNanoUsd: usd(0.5) }));
    expect(await counters(books, 'tok_1')).toMatchObject({ '2026-11': [usd(0.5), 0] });
  });
});

describe('a row', () => {
  it('says who asked for what', async () => {
    const books = await openBooks();
    const own = await books.ledger.openAttempt(attempt());
    expect(await attemptRow(books, own)).toMatchObject({ principal_id: 'local', operation: 'chat' });
    const id = await books.ledger.openAttempt(attempt({ principal: token(null), operation: 'embeddings' }));
    expect(await attemptRow(books, id)).toMatchObject({ principal_id: 'tok_1', operation: 'embeddings' });
  });
});
