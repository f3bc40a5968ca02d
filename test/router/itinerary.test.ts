import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError, type ErrorCode } from '../../src/errors.ts';
import { candidate, itineraryOf, nameOf } from '../support/candidates.ts';

function fail(code: ErrorCode, retryAfterMs?: number): AppError {
  return new AppError(code, 'broken', retryAfterMs === undefined ? {} : { retryAfterMs });
}

const unreached = new AppError('upstream_unavailable', 'Backend a could not be reached: connection refused.');
const [a, b, c] = [candidate('a'), candidate('b'), candidate('c')];

describe('the way of a request', () => {
  it('asks again once after an accident, a moment later, and then the next one', () => {
    const way = itineraryOf([a, b]);
    expect(way.next()).toMatchObject({ candidate: a, waitMs: 0, hasOthers: true });
    way.failed(a, fail('upstream_unavailable'));
    const again = way.next();
    expect(nameOf(again)).toBe('a/m');
    expect(again?.waitMs).toBeGreaterThanOrEqual(50);
    expect(again?.waitMs).toBeLessThanOrEqual(100);
    way.failed(a, fail('upstream_cut'));
    expect(way.next()).toMatchObject({ candidate: b, hasOthers: false });
    way.failed(b, fail('upstream_timeout'));
    expect(way.next()).toBeNull();
  });

  it.each(['upstream_timeout', 'upstream_invalid', 'upstream_rejected', 'forbidden', 'answer_differs'] as const)(
    'does not ask again after %s',
    (code) => {
      const way = itineraryOf([a, b]);
      way.next();
      way.failed(a, fail(code));
      expect(nameOf(way.next())).toBe('b/m');
    },
  );

  it('asks again as often as is configured, and waits longer each time', () => {
    const way = itineraryOf([a], { maxRetries: 3 });
    const waits: number[] = [];
    for (let leg = way.next(); leg; leg = way.next()) {
      waits.push(leg.waitMs);
      way.failed(a, fail('upstream_unavailable'));
    }
    expect(waits).toHaveLength(4);
    expect(waits[3]).toBeGreaterThanOrEqual(200);
  });

  it('waits as long as it is told before it asks again, but not for long', () => {
    const way = itineraryOf([a, b]);
    way.next();
    way.failed(a, fail('upstream_unavailable', 1_500));
    expect(way.next()?.waitMs).toBeGreaterThanOrEqual(1_500);
    const other = itineraryOf([a, b]);
    other.next();
    other.failed(a, fail('upstream_unavailable', 5_000));
    expect(nameOf(other.next())).toBe('b/m');
  });

  it('does not ask again where nobody listens, if there is somebody else', () => {
    const way = itineraryOf([a, b]);
    way.next();
    way.failed(a, unreached);
    expect(nameOf(way.next())).toBe('b/m');
    const alone = itineraryOf([a]);
    alone.next();
    alone.failed(a, unreached);
    expect(nameOf(alone.next())).toBe('a/m');
  });

  it('puts the other models of a backend that failed behind those of others', () => {
    const way = itineraryOf([a, candidate('a', 'n'), b], { maxRetries: 0 });
    way.next();
    way.failed(a, fail('upstream_unavailable'));
    expect([nameOf(way.next()), nameOf(way.next()), way.next()]).toEqual(['b/m', 'a/n', null]);
  });

  it.each(['unauthorized', 'quota_exceeded'] as const)('leaves a backend out after %s', (code) => {
    const way = itineraryOf([a, candidate('a', 'n'), b]);
    way.next();
    way.failed(a, fail(code));
    expect([nameOf(way.next()), way.next()]).toEqual(['b/m', null]);
  });

  it('goes to larger windows only, when the prompt was too long', () => {
    const windows = { 'a/m': 8_000, 'b/m': 8_000, 'c/m': 16_000 };
    const way = itineraryOf([a, b, c], { windows });
    way.next();
    way.failed(a, fail('context_too_long'));
    expect([nameOf(way.next()), way.next()]).toEqual(['c/m', null]);
  });

  it('waits for a rate limit once, and only when nobody else is left', () => {
    const way = itineraryOf([a, b]);
    way.next();
    way.failed(a, fail('rate_limited', 1_000));
    expect(nameOf(way.next())).toBe('b/m');
    way.failed(b, fail('rate_limited', 3_000));
    const waited = way.next();
    expect(nameOf(waited)).toBe('a/m');
    expect(waited?.waitMs).toBeGreaterThanOrEqual(1_000);
    way.failed(a, fail('rate_limited', 1_000));
    expect(nameOf(way.next())).toBe('b/m');
    way.failed(b, fail('rate_limited', 1_000));
    expect(way.next()).toBeNull();
  });

  it('does not wait for a rate limit of a minute', () => {
    const way = itineraryOf([a]);
    way.next();
    way.failed(a, fail('rate_limited', 60_000));
    expect(way.next()).toBeNull();
  });

  it('waits once for one that rests, where there is nobody else', () => {
    const way = itineraryOf([a], { maxRetries: 0 });
    way.next();
    way.failed(a, fail('upstream_unavailable', 1_000), false);
    expect(way.next()?.waitMs).toBeGreaterThanOrEqual(1_000);
    way.failed(a, fail('upstream_unavailable', 1_000), false);
    expect(way.next()).toBeNull();
    const pair = itineraryOf([a, b]);
    pair.next();
    pair.failed(a, fail('upstream_unavailable', 1_000), false);
    expect(pair.next()).toMatchObject({ candidate: b, waitMs: 0 });
  });

  it('puts those first that are preferred, and keeps the order besides', () => {
    const way = itineraryOf([a, b, c, candidate('d')]);
    way.prefer(({ backend }) => backend === 'c' || backend === 'd');
    expect([1, 2, 3, 4].map(() => nameOf(way.next()))).toEqual(['c/m', 'd/m', 'a/m', 'b/m']);
  });

  it('prefers one that can continue to asking again one that cannot', () => {
    const way = itineraryOf([a, b, c]);
    way.next();
    way.failed(a, fail('upstream_cut'));
    way.prefer(({ backend }) => backend === 'c');
    expect([1, 2, 3].map(() => nameOf(way.next()))).toEqual(['c/m', 'b/m', 'a/m']);
    const nobody = itineraryOf([a, b]);
    nobody.next();
    nobody.failed(a, fail('upstream_cut'));
    nobody.prefer(() => false);
    expect(nameOf(nobody.next())).toBe('a/m');
  });

  it('ends after eight calls, whatever fails and however', () => {
    const code = fc.constantFrom<ErrorCode>(
      'upstream_unavailable',
      'upstream_cut',
      'upstream_timeout',
      'rate_limited',
      'context_too_long',
      'unauthorized',
      'upstream_rejected',
    );
    const one = fc.tuple(code, fc.option(fc.integer({ min: 0, max: 20_000 }), { nil: undefined }), fc.boolean());
    fc.assert(
      fc.property(
        fc.nat(12),
        fc.nat(5),
        fc.array(one, { minLength: 20, maxLength: 20 }),
        (count, maxRetries, errors) => {
          const candidates = Array.from({ length: count }, (_, index) => candidate(`b${index % 4}`, `m${index}`));
          const way = itineraryOf(candidates, { maxRetries });
          let legs = 0;
          let last = '';
          for (let leg = way.next(); leg; leg = way.next()) {
            const [error, retryAfterMs, sent] = errors[legs] ?? ['upstream_cut', undefined, true];
            legs += 1;
            // Nobody is asked twice in a row without a moment in between.
            if (nameOf(leg) === last) expect(leg.waitMs).toBeGreaterThan(0);
            last = nameOf(leg) ?? '';
            way.failed(leg.candidate, fail(error, retryAfterMs), sent);
          }
          expect(legs).toBeLessThanOrEqual(8);
        },
      ),
    );
  });
});
