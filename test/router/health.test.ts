import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { HealthBook } from '../../src/router/health.ts';
import { ManualClock } from '../support/clock.ts';

const broken = new AppError('upstream_unavailable', 'HTTP 500');

function openBreaker(): { clock: ManualClock; book: HealthBook } {
  const clock = new ManualClock();
  const book = new HealthBook(clock);
  for (let failure = 0; failure < 3; failure += 1) book.failed('a', broken);
  return { clock, book };
}

describe('health of backends', () => {
  it('stays usable after one or two failures, and forgets them with a success', () => {
    const book = new HealthBook(new ManualClock());
    book.failed('a', broken);
    book.failed('a', broken);
    book.succeeded('a', 'a/m', null);
    book.failed('a', broken);
    book.failed('a', broken);
    expect(book.of('a').usable).toBe(true);
  });

  it('opens after three failures in a row and says why and until when', () => {
    const { book } = openBreaker();
    expect(book.of('a')).toEqual({
      usable: false,
      reason: '3 failures in a row (upstream_unavailable); next probe in 5 s',
    });
    expect(book.of('b').usable).toBe(true);
  });

  it('lets one probe through after the cooldown, and no second one beside it', () => {
    const { clock, book } = openBreaker();
    clock.advance(5_001);
    expect(book.of('a').usable).toBe(true);
    book.admit('a', null);
    expect(book.of('a')).toMatchObject({ usable: false });
  });

  it('closes when the probe succeeds', () => {
    const { clock, book } = openBreaker();
    clock.advance(5_001);
    book.admit('a', null);
    book.succeeded('a', 'a/m', null);
    expect(book.of('a')).toEqual({ usable: true, reason: null });
  });

  it('stays open longer after a failed probe, but never longer than 20 s, so that a recovered backend is used within 30 s', () => {
    const { clock, book } = openBreaker();
    for (let probe = 0; probe < 6; probe += 1) {
      clock.advance(20_001);
      expect(book.of('a').usable).toBe(true);
      book.admit('a', null);
      book.failed('a', broken);
      expect(book.of('a').usable).toBe(false);
    }
  });

  it('lets the next probe through when a probe was cancelled', () => {
    const { clock, book } = openBreaker();
    clock.advance(5_001);
    book.admit('a', null);
    book.ended('a');
    expect(book.of('a').usable).toBe(true);
  });

  it('obeys Retry-After', () => {
    const clock = new ManualClock();
    const book = new HealthBook(clock);
    book.failed('a', new AppError('rate_limited', 'HTTP 429', { retryAfterMs: 7_000 }));
    expect(book.of('a')).toEqual({ usable: false, reason: 'rate limited; next probe in 7 s' });
    clock.advance(7_000);
    expect(book.of('a').usable).toBe(true);
  });

  it('sends nothing while a backend asked to wait, also after a 503, and whatever else was under way', () => {
    const clock = new ManualClock();
    const book = new HealthBook(clock);
    book.failed('a', new AppError('upstream_unavailable', 'HTTP 503', { retryAfterMs: 7_000 }));
    book.succeeded('a', 'a/m', null);
    book.failed('a', broken);
    expect(book.of('a').usable).toBe(false);
    clock.advance(6_000);
    expect(book.admit('a', null)).toMatchObject({ code: 'rate_limited', retryAfterMs: 1_000 });
    clock.advance(1_000);
    expect(book.admit('a', null)).toBeNull();
  });

  it('takes a Retry-After of years for a slip', () => {
    const clock = new ManualClock();
    const book = new HealthBook(clock);
    book.failed('a', new AppError('rate_limited', 'HTTP 429', { retryAfterMs: 1.7e12 }));
    clock.advance(24 * 3_600_000);
    expect(book.of('a').usable).toBe(true);
  });

  it('lets one call a second through while a backend is down', () => {
    const { clock, book } = openBreaker();
    expect(book.admit('a', null)).toMatchObject({ code: 'upstream_unavailable', retryAfterMs: 1_000 });
    clock.advance(1_000);
    expect(book.admit('a', null)).toBeNull();
    expect(book.admit('a', null)).not.toBeNull();
    book.failed('a', broken);
    expect(book.admit('a', null)).not.toBeNull();
  });

  it('rests a backend whose key was refused', () => {
    const book = new HealthBook(new ManualClock());
    book.failed('a', new AppError('unauthorized', 'HTTP 401'));
    expect(book.of('a').reason).toContain('key rejected');
  });

  it('blends measured speeds, newest first', () => {
    const book = new HealthBook(new ManualClock());
    book.succeeded('a', 'a/m', { firstTokenMs: 100, tokensPerSecond: 50 });
    book.succeeded('a', 'a/m', { firstTokenMs: 200, tokensPerSecond: 100 });
    expect(book.speeds().get('a/m')).toEqual({ firstTokenMs: 130, tokensPerSecond: 65 });
  });
});

describe('places at backends', () => {
  it('are counted while calls are under way, whatever becomes of them, and never above the limit', () => {
    const outcomes = ['succeeded', 'failed', 'ended', 'nothing'] as const;
    const step = fc.record({
      backend: fc.constantFrom('a', 'b'),
      enters: fc.boolean(),
      outcome: fc.constantFrom(...outcomes),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 60 }), (limit, steps) => {
        const clock = new ManualClock();
        const book = new HealthBook(clock);
        const inside = { a: 0, b: 0 };
        for (const { backend, enters, outcome } of steps as {
          backend: 'a' | 'b';
          enters: boolean;
          outcome: string;
        }[]) {
          clock.advance(500);
          if (enters) {
            const refusal = book.admit(backend, limit);
            if (refusal === null) inside[backend] += 1;
            else if (refusal.code === 'overloaded') expect(inside[backend]).toBe(limit);
          } else if (inside[backend] > 0) {
            if (outcome === 'succeeded') book.succeeded(backend, `${backend}/m`, null);
            if (outcome === 'failed') book.failed(backend, broken);
            if (outcome === 'ended') book.ended(backend);
            book.leave(backend);
            inside[backend] -= 1;
          }
          expect([book.underWay('a'), book.underWay('b')]).toEqual([inside.a, inside.b]);
          expect(Math.max(inside.a, inside.b)).toBeLessThanOrEqual(limit);
        }
      }),
    );
  });

  it('that are all taken do not use up the one probe of a backend that was down', () => {
    const { clock, book } = openBreaker();
    clock.advance(5_001);
    expect(book.admit('a', null)).toBeNull();
    book.ended('a');
    expect(book.admit('a', 1)).toMatchObject({ code: 'overloaded', retryAfterMs: 1_000 });
    book.leave('a');
    expect(book.admit('a', 1)).toBeNull();
  });
});
