import { describe, expect, it } from 'vitest';
import { createLog } from '../../src/log.ts';
import { localPrincipal, shadowPrincipalId } from '../../src/principal.ts';
import { Redactor } from '../../src/redactor.ts';
import { CalibrationInUse } from '../../src/usage/calibration-in-use.ts';
import { asShipped, Calibrations } from '../../src/usage/calibrations.ts';
import { type NewComparison, recordComparison } from '../../src/usage/comparisons.ts';
import type { SqliteDriver } from '../../src/usage/database.ts';
import type { NewAttempt } from '../../src/usage/ledger.ts';
import { observationsSince, recentPredictions } from '../../src/usage/observations.ts';
import { type NewRating, Ratings } from '../../src/usage/ratings.ts';
import { holderOf } from '../support/principal.ts';
import { attempt, attemptRow, type Books, openBooks, outcome } from './books.ts';

const scorer = 'scorer-1';
const predicted = { small: 0.8124, large: 0.98 };
const steeper = { small: { slope: 1.25, offset: -0.5 }, large: { slope: 1, offset: 0 } };
const log = createLog('silent', new Redactor());

async function answered(books: Books, about: Partial<NewAttempt> = {}): Promise<string> {
  const opened = attempt({ predicted, reserveNanoUsd: 0, ...about });
  const usage = { inputTokens: 10, cachedInputTokens: 0, outputTokens: 5, reasoningTokens: 0 };
  await books.ledger.settleAttempt(await books.ledger.openAttempt(opened), outcome({ costNanoUsd: 0, usage }));
  return opened.requestId;
}

function ratingsOn({ database, clock }: Books, using = scorer) {
  const ratings = new Ratings({
    database,
    clock,
    scorer: using,
    tierOf: (_backend, model) => (model === 'gone' ? null : 'small'),
    hide: (text) => text.replaceAll('hush', '[redacted]'),
  });
  return {
    rate: (requestId: string, given: NewRating['given'], about: Partial<NewRating> = {}) =>
      ratings.record({ principal: localPrincipal, requestId, given, comment: undefined, ...about }),
  };
}

function comparison(requestId: string, about: Partial<NewComparison> = {}): NewComparison {
  return {
    request_id: requestId,
    at_ms: Date.parse('2026-11-23T12:00:00Z'),
    cheap_backend: 'groq',
    cheap_model: 'small-8b',
    cheap_tier: 'small',
    strong_backend: 'groq',
    strong_model: 'large-70b',
    strong_tier: 'large',
    agreement: 0.625,
    judged_by: 'words',
    cost_nano_usd: null,
    scorer,
    score: 0.25,
    predicted,
    ...about,
  };
}

/** What ratings, comparisons and calibrations need of a database, whichever driver opens it. */
export function describeFeedback(driver: SqliteDriver): void {
  const open = () => openBooks({ driver });

  describe('an attempt', () => {
    it('keeps what was predicted in whole thousandths, and nothing where nothing was', async () => {
      const books = await open();
      const withPrediction = await answered(books);
      const without = await answered(books, { predicted: undefined });
      expect(await attemptRow(books, `${withPrediction}.1`)).toMatchObject({
        suffices_small: 812,
        suffices_large: 980,
      });
      expect(await attemptRow(books, `${without}.1`)).toMatchObject({ suffices_small: null, suffices_large: null });
    });
  });

  describe('a rating', () => {
    it.each([
      ['up', 1],
      ['down', 0],
      [1, 0],
      [2, 0.25],
      [4, 0.75],
      [5, 1],
    ] as const)('%s is %d', async (given, rating) => {
      const books = await open();
      expect(await ratingsOn(books).rate(await answered(books), given)).toMatchObject({ rating });
    });

    it('keeps who answered and what was predicted', async () => {
      const books = await open();
      const requestId = await answered(books);
      await ratingsOn(books).rate(requestId, 4, { comment: 'almost' });
      expect(await books.database.read.selectFrom('rating').selectAll().execute()).toMatchObject([
        {
          request_id: requestId,
          principal_id: 'local',
          at_ms: books.clock.nowMs(),
          given: '4',
          rating: 0.75,
          comment: 'almost',
          scorer,
          backend: 'groq',
          model: 'small-8b',
          tier: 'small',
          score: 0.25,
          suffices_small: 812,
          suffices_large: 980,
        },
      ]);
    });

    it('is of the last attempt that answered', async () => {
      const books = await open();
      const requestId = await answered(books);
      await answered(books, { requestId, ordinal: 2, model: 'large-70b' });
      await answered(books, { requestId, ordinal: 3, model: 'other', principal: shadow });
      expect(await ratingsOn(books).rate(requestId, 'up')).toMatchObject({ model: 'large-70b' });
    });

    it('takes the place of an earlier one by the same principal, and of no other', async () => {
      const books = await open();
      const { rate } = ratingsOn(books);
      const principal = holderOf('infer');
      const requestId = await answered(books, { principal });
      expect(await rate(requestId, 'up', { principal })).toMatchObject({ isReplacement: false });
      expect(await rate(requestId, 'up')).toMatchObject({ isReplacement: false, sinceCalibration: 2 });
      expect(await rate(requestId, 'down', { principal })).toMatchObject({ isReplacement: true, sinceCalibration: 2 });
      const { usable } = await observationsSince(books.database.read, 0, scorer);
      expect(usable.map(({ value }) => value)).toEqual([1, 0]);
    });

    it('is written once when it is given twice', async () => {
      const books = await open();
      const { rate } = ratingsOn(books);
      const requestId = await answered(books);
      await rate(requestId, 'up', { comment: 'good' });
      await rate(requestId, 'up', { comment: 'good' });
      expect(await books.database.read.selectFrom('rating').select('id').execute()).toHaveLength(1);
      await rate(requestId, 'up', { comment: 'better' });
      expect(await books.database.read.selectFrom('rating').select('id').execute()).toHaveLength(2);
    });

    it('keeps no secret of its comment', async () => {
      const books = await open();
      await ratingsOn(books).rate(await answered(books), 'up', { comment: 'the key is hush' });
      expect((await books.database.read.selectFrom('rating').select('comment').executeTakeFirst())?.comment).toBe(
        'the key is [redacted]',
      );
    });

    it('is refused for a request that is not there, and for another one whose id begins alike', async () => {
      const books = await open();
      const { rate } = ratingsOn(books);
      const requestId = await answered(books, { requestId: 'abc.1' });
      for (const unknown of ['', 'abc', 'abc.', 'abc.1.1', '%', requestId.toUpperCase()])
        await expect(rate(unknown, 'up')).rejects.toMatchObject({ code: 'not_found' });
      await rate(requestId, 'up');
    });

    it("is refused for somebody else's request as if there were none, unless the owner rates", async () => {
      const books = await open();
      const { rate } = ratingsOn(books);
      const requestId = await answered(books, { principal: holderOf('infer') });
      const own = await answered(books);
      const principal = holderOf('infer', 'read');
      const refusal = await rate(requestId, 'up', { principal }).catch((error: Error) => error.message);
      const unknown = await rate('nothing', 'up', { principal }).catch((error: Error) => error.message);
      expect(refusal).toBe((unknown as string).replace('nothing', requestId));
      await expect(rate(own, 'up', { principal })).rejects.toMatchObject({ code: 'not_found' });
      await rate(requestId, 'up');
    });

    it('is refused while the answer is under way, and where there is none', async () => {
      const books = await open();
      const { rate } = ratingsOn(books);
      const opened = attempt();
      const id = await books.ledger.openAttempt(opened);
      await expect(rate(opened.requestId, 'up')).rejects.toMatchObject({ code: 'conflict' });
      await books.ledger.settleAttempt(id, outcome({ status: 'error' }));
      await expect(rate(opened.requestId, 'up')).rejects.toThrow('has no answer to rate: it was refused or failed.');
      const vector = await answered(books, { operation: 'embeddings' });
      await expect(rate(vector, 'up')).rejects.toThrow('embeddings');
      expect(await books.database.read.selectFrom('rating').select('id').execute()).toEqual([]);
    });
  });

  describe('observations', () => {
    it('are the ratings that stand and the comparisons, since a moment', async () => {
      const books = await open();
      const old = await answered(books);
      await ratingsOn(books).rate(old, 'up');
      books.clock.advance(1_000);
      const requestId = await answered(books);
      await ratingsOn(books).rate(requestId, 2);
      await recordComparison(books.database, comparison('compared', { at_ms: books.clock.nowMs() }));
      const { usable, leftOut } = await observationsSince(books.database.read, books.clock.nowMs(), scorer);
      const same = { tier: 'small', predicted: { small: 0.812, large: 0.98 } };
      expect(usable).toEqual([
        { requestId, ...same, by: 'rating', value: 0.25, principalId: 'local' },
        { requestId: 'compared', ...same, by: 'words', value: 0.625, principalId: null },
      ]);
      expect(leftOut).toBe(0);
    });

    it('leave out what another scorer predicted, what nothing was predicted for, and models that nobody knows', async () => {
      const books = await open();
      await ratingsOn(books, 'scorer-0').rate(await answered(books), 'up');
      await ratingsOn(books).rate(await answered(books, { predicted: undefined }), 'up');
      await ratingsOn(books).rate(await answered(books, { model: 'gone' }), 'up');
      await recordComparison(books.database, comparison('r', { scorer: 'scorer-0' }));
      expect(await observationsSince(books.database.read, 0, scorer)).toEqual({ usable: [], leftOut: 4 });
    });

    it('have one comparison of a request', async () => {
      const books = await open();
      await recordComparison(books.database, comparison('r'));
      await recordComparison(books.database, comparison('r', { agreement: 0 }));
      const { usable } = await observationsSince(books.database.read, 0, scorer);
      expect(usable.map(({ value }) => value)).toEqual([0.625]);
    });
  });

  describe('recent predictions', () => {
    it('are of the latest answered chats, newest first, each by the attempt that answered', async () => {
      const books = await open();
      await answered(books, { operation: 'embeddings' });
      await answered(books, { predicted: undefined });
      await answered(books, { score: null });
      await books.ledger.openAttempt(attempt({ predicted, reserveNanoUsd: 0 }));
      const first = await answered(books);
      const second = await answered(books, { model: 'small-8b' });
      await answered(books, { requestId: second, ordinal: 2, model: 'large-70b', kind: 'dedicated' });
      await answered(books, { requestId: second, ordinal: 3, principal: shadow });
      const recent = await recentPredictions(books.database.read);
      expect(recent).toEqual([
        expect.objectContaining({ requestId: second, model: 'large-70b', kind: 'dedicated' }),
        {
          requestId: first,
          score: 0.25,
          suffices: { small: 0.812, large: 0.98 },
          inputTokens: 10,
          outputTokens: 5,
          backend: 'groq',
          kind: 'serverless',
          model: 'small-8b',
        },
      ]);
      expect(await recentPredictions(books.database.read, 1)).toHaveLength(1);
    });
  });

  describe('calibrations', () => {
    const made = { source: 'a test', scorer, calibration: steeper, figures: [{ n: 1 }] };

    it('are as shipped until there is one, and then the highest version', async () => {
      const { database, clock } = await open();
      const calibrations = new Calibrations(database, clock);
      expect(await calibrations.newest()).toMatchObject({ version: 0, calibration: asShipped });
      expect(await calibrations.add(made)).toBe(1);
      expect(await calibrations.add({ ...made, calibration: asShipped })).toBe(2);
      expect(await calibrations.newest()).toMatchObject({ version: 2, atMs: clock.nowMs(), calibration: asShipped });
    });

    it('go back by adding the earlier one again', async () => {
      const { database, clock } = await open();
      const calibrations = new Calibrations(database, clock);
      await calibrations.add(made);
      expect(await calibrations.goBackTo(0, scorer)).toBe(2);
      expect((await calibrations.newest()).calibration).toEqual(asShipped);
      expect(await calibrations.goBackTo(1, scorer)).toBe(3);
      expect(await calibrations.newest()).toMatchObject({ source: 'version 1 again', calibration: steeper });
      await expect(calibrations.goBackTo(9, scorer)).rejects.toThrow('There is no calibration 9. Nothing was changed.');
    });

    it('begin the count of ratings anew, and going back does not', async () => {
      const books = await open();
      const { rate } = ratingsOn(books);
      const calibrations = new Calibrations(books.database, books.clock);
      await rate(await answered(books), 'up');
      await calibrations.add(made);
      expect(await rate(await answered(books), 'up')).toMatchObject({ sinceCalibration: 1 });
      await calibrations.goBackTo(0, scorer);
      expect(await rate(await answered(books), 'up')).toMatchObject({ sinceCalibration: 2 });
    });

    it('say what to do where one cannot be read', async () => {
      const { database, clock } = await open();
      const calibrations = new Calibrations(database, clock);
      for (const correction of ['{', '{}', '{"small":{"slope":-1,"offset":0},"large":{"slope":1,"offset":0}}']) {
        await calibrations.add(made);
        await database.write((queries) => queries.updateTable('calibration').set({ correction }).execute());
        await expect(calibrations.newest()).rejects.toMatchObject({
          code: 'database_corrupt',
          next: expect.stringContaining('tandem calibrate --use 0'),
        });
      }
    });
  });

  describe('a running server', () => {
    const made = { source: 'a test', scorer, calibration: steeper, figures: null };
    /** Lets what waits for the database go on. */
    const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

    it('takes up within half a minute what another process wrote', async () => {
      const books = await open();
      const inUse = new CalibrationInUse(new Calibrations(books.database, books.clock), scorer, books.clock, log);
      await inUse.watch();
      expect(inUse.calibration).toBe(asShipped);
      const other = await openBooks({ path: books.path, driver });
      await new Calibrations(other.database, other.clock).add(made);
      books.clock.advance(29_000);
      await settle();
      expect(inUse.calibration).toBe(asShipped);
      books.clock.advance(1_000);
      await settle();
      expect(inUse).toMatchObject({ calibration: steeper, version: 1 });
      await inUse.close();
    });

    it('does not use the corrections of another scorer', async () => {
      const { database, clock } = await open();
      const calibrations = new Calibrations(database, clock);
      await calibrations.add(made);
      const inUse = new CalibrationInUse(calibrations, 'scorer-2', clock, log);
      await inUse.refresh();
      expect(inUse).toMatchObject({ calibration: asShipped, version: 1 });
    });

    it('goes on with what it has when the new one cannot be read', async () => {
      const { database, clock } = await open();
      const calibrations = new Calibrations(database, clock);
      await calibrations.add(made);
      const inUse = new CalibrationInUse(calibrations, scorer, clock, log);
      await inUse.refresh();
      await calibrations.add(made);
      await database.write((queries) =>
        queries.updateTable('calibration').set({ correction: '?' }).where('version', '=', 2).execute(),
      );
      await inUse.refresh();
      expect(inUse).toMatchObject({ calibration: steeper, version: 1 });
    });
  });
}

const shadow = { ...localPrincipal, id: shadowPrincipalId };
