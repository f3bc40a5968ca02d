import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CalibrateOptions, calibrate } from '../src/calibrate-command.ts';
import { localPrincipal } from '../src/principal.ts';
import { chance, logOdds } from '../src/router/complexity/prior.ts';
import { scorerId } from '../src/router/complexity/scorer-id.ts';
import { hashShare } from '../src/router/hash-share.ts';
import { Calibrations } from '../src/usage/calibrations.ts';
import { Ratings } from '../src/usage/ratings.ts';
import { temporaryFolder } from './support/folder.ts';
import { attempt, openBooks, outcome } from './usage/books.ts';

/** Two models on one server: a cheap small one and a large one that is worth its price for complex prompts. */
const yaml = JSON.stringify({
  serverless: [
    {
      id: 'groq',
      baseUrl: 'http://127.0.0.1:9/v1',
      models: [
        { id: 'small-8b', tier: 'small', price: { inputUsdPerMTok: 0.05, outputUsdPerMTok: 0.08 } },
        { id: 'large-70b', tier: 'large', price: { inputUsdPerMTok: 10, outputUsdPerMTok: 20 } },
      ],
    },
  ],
  budgets: { timeZone: 'UTC' },
});

interface Said {
  small: number;
  isGood: boolean;
}

/** Predictions that are too high by two on the log odds. */
function tooHigh(index: number): Said {
  const small = 0.3 + (0.65 * (index % 14)) / 13;
  return { small, isGood: hashShare(`said ${index}`) < chance(logOdds(small) - 2) };
}

/** Predictions that are right. */
function even(index: number): Said {
  return { small: 0.5, isGood: index % 2 === 0 };
}

/** A home whose small model's answers were rated so many times. */
async function home(count: number, saidOf: (index: number) => Said = tooHigh) {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'tandem.yaml'), yaml);
  const books = await openBooks({ path: join(folder, 'tandem.db') });
  const { database, clock, ledger } = books;
  const ratings = new Ratings({ database, clock, scorer: scorerId, tierOf: () => 'small', hide: (text) => text });
  for (let index = 0; index < count; index += 1) {
    const { small, isGood } = saidOf(index);
    const opened = attempt({ requestId: `r-${index}`, reserveNanoUsd: 0, predicted: { small, large: 0.97 } });
    await ledger.settleAttempt(await ledger.openAttempt(opened), outcome({ costNanoUsd: 0 }));
    const given = isGood ? 'up' : 'down';
    await ratings.record({ principal: localPrincipal, requestId: opened.requestId, given, comment: undefined });
  }
  const run = async (options: Partial<CalibrateOptions> = {}) => {
    const lines: string[] = [];
    const print = (line: string) => lines.push(line);
    await calibrate({ days: 30, ...options }, print, { env: { TANDEM_HOME: folder }, clock });
    return lines.join('\n');
  };
  return { ...books, run, calibrations: new Calibrations(database, clock) };
}

describe('tandem calibrate', () => {
  it('shows what it found and what would change, and changes nothing', async () => {
    const { run, calibrations } = await home(120);
    const text = await run();
    expect(text).toContain(
      '120 ratings and 0 comparisons of 30 days, against version 0 (as shipped).\nRated by local 120.\n',
    );
    expect(text).toMatch(/small +120 +120 +0\.\d{3} ± 0\.\d{3} +0\.\d{3} ± 0\.\d{3}/);
    expect(text).toContain('Predictions for large models stay: 0 of 30 needed.');
    expect(text).toMatch(/Over all answers the log loss falls by 0\.\d{3} ± 0\.\d{3}\.\n/);
    expect(text).toContain('The last 120 chats, at present prices and priority balanced:');
    expect(text).toMatch(/large models +\d+(?:\.\d)? % +\d+(?:\.\d)? %/);
    expect(text).toMatch(/Nothing was changed\. `tandem calibrate --apply` puts it into use\.$/);
    expect((await calibrations.newest()).version).toBe(0);
  });

  it('sends more to large models where small ones were found wanting, and says what that costs', async () => {
    const { run } = await home(120);
    const { shares, calibration } = JSON.parse(await run({ json: true }));
    expect(calibration.small.offset).toBeLessThan(-0.5);
    expect(shares.after.tiers.large).toBeGreaterThan(shares.before.tiers.large);
    expect(shares.after.cost_per_request_usd).toBeGreaterThan(shares.before.cost_per_request_usd);
    expect(shares.before).toMatchObject({ requests: 120, serverless: 1 });
  });

  it('puts a version into use with --apply, and says how to go back', async () => {
    const { run, calibrations } = await home(120);
    expect(await run({ apply: true })).toMatch(
      /Version 1 is in use; running servers take it up within a minute\. Back: tandem calibrate --use 0$/,
    );
    expect(await calibrations.newest()).toMatchObject({
      version: 1,
      scorer: scorerId,
      source: '120 ratings and 0 comparisons of 30 days',
      calibration: { large: { slope: 1, offset: 0 } },
    });
    expect(await run({ use: 0 })).toBe(
      'Version 2 is in use; it is the routing as shipped. Running servers take it up within a minute.',
    );
    expect((await calibrations.newest()).calibration.small).toEqual({ slope: 1, offset: 0 });
    expect(await run({ use: 1 })).toContain('it is version 1 again');
  });

  it('fits from the predictions as they were made, so that a second run finds the same', async () => {
    const { run, calibrations } = await home(120);
    await run({ apply: true });
    const first = (await calibrations.newest()).calibration;
    const again = JSON.parse(await run({ json: true }));
    expect(again.calibration).toEqual(first);
    expect(again.current_version).toBe(1);
    expect(again.log_loss_gain.mean).toBeLessThan(0.01);
  });

  it('does not apply what predicts no better', async () => {
    const { run, calibrations } = await home(40, even);
    const gain = JSON.parse(await run({ json: true })).log_loss_gain.mean;
    expect(gain).toBeLessThanOrEqual(0);
    await expect(run({ apply: true })).rejects.toThrow('Nothing was changed');
    expect((await calibrations.newest()).version).toBe(0);
  });

  it('refuses with too little, and says how much is there and how much is needed', async () => {
    const { run, calibrations } = await home(12);
    const error = await run({ apply: true }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'invalid_input',
      message: expect.stringMatching(
        /^There is too little to learn from: 12 ratings and 0 comparisons in 30 days\. .*small models 12 of 30, large models 0 of 30 needed\. Nothing was changed\.$/,
      ),
      next: expect.stringContaining('rate_response'),
    });
    expect((await calibrations.newest()).version).toBe(0);
  });

  it('reads no further back than it was told', async () => {
    const { run, clock } = await home(40);
    clock.advance(8 * 86_400_000);
    await expect(run({ days: 7 })).rejects.toThrow('0 ratings and 0 comparisons in 7 days');
    await run({ days: 9 });
  });

  it('says how many ratings are of another scorer', async () => {
    const { run, database } = await home(40);
    await database.write((queries) => queries.updateTable('rating').set({ scorer: 'older' }).execute());
    await expect(run()).rejects.toThrow(
      `0 ratings and 0 comparisons in 30 days (40 more say nothing about this scorer, ${scorerId}, or about a known model)`,
    );
  });

  it('knows no version that was never made', async () => {
    const { run } = await home(0);
    await expect(run({ use: 3 })).rejects.toMatchObject({ code: 'not_found', next: 'Valid: 0 (as shipped).' });
  });
});
