import { describe, expect, it } from 'vitest';
import {
  capOf,
  isOurs,
  type LeaseRules,
  leaseAsked,
  leaseFromNow,
  leaseOfOrphan,
  tagsOf,
  warnAtMs,
} from '../../src/lambda/lease.ts';

const hourMs = 3_600_000;
const rules: LeaseRules = { defaultMs: 4 * hourMs, capMs: 24 * hourMs, orphans: 'adopt' };
const nowMs = Date.parse('2026-11-23T12:00:00Z');

const capTag = (value: string) => [{ key: 'tandem-lease-cap', value }];

describe('the lease of a launch', () => {
  it('is the usual one when nobody asks', () => {
    expect(leaseAsked(undefined, rules)).toEqual({ leaseMs: 4 * hourMs, capMs: 24 * hourMs });
  });

  it('is what is asked for, up to the cap', () => {
    expect(leaseAsked(0.5, rules).leaseMs).toBe(hourMs / 2);
    expect(leaseAsked(24, rules).leaseMs).toBe(24 * hourMs);
  });

  it('is never longer than the cap, and the error says what the cap is', () => {
    expect(() => leaseAsked(24.1, rules)).toThrow('No lease is longer than 24 h; you asked for 24.1 h.');
    expect(leaseAsked(undefined, { ...rules, capMs: hourMs }).leaseMs).toBe(hourMs);
  });
});

describe('a renewed lease', () => {
  const old = { expiresAtMs: nowMs + hourMs, capAtMs: nowMs + 2.25 * hourMs };

  it('ends so many hours from now, and keeps its cap', () => {
    expect(leaseFromNow(2, old, rules, nowMs)).toEqual({ ...old, expiresAtMs: nowMs + 2 * hourMs });
  });

  it('cannot go beyond the cap; the error says how far it can, and what else to do', () => {
    const beyond = () => leaseFromNow(3, old, rules, nowMs);
    expect(beyond).toThrow('It may live until 2026-11-23 14:15 UTC at most, in 2.25 h');
    expect(beyond).toThrow(
      expect.objectContaining({
        code: 'invalid_input',
        next: expect.stringMatching(/^Give hours: 2.2 or less\. .*another instance/),
      }),
    );
  });

  it('of a machine without one has a cap from now on', () => {
    expect(leaseFromNow(3, null, rules, nowMs)).toEqual({
      expiresAtMs: nowMs + 3 * hourMs,
      capAtMs: nowMs + 24 * hourMs,
    });
  });
});

describe('the tags of a machine', () => {
  it('say whose it is, for which intent and deployment, and when it has to end', () => {
    expect(tagsOf({ intentId: 'ab12', deploymentId: 'd1', capAtMs: nowMs })).toEqual([
      { key: 'managed-by', value: 'tandem' },
      { key: 'tandem-intent', value: 'ab12' },
      { key: 'tandem-lease-cap', value: '2026-11-23T12:00:00Z' },
      { key: 'tandem-deployment', value: 'd1' },
    ]);
    expect(tagsOf({ intentId: 'ab12', deploymentId: null, capAtMs: nowMs })).toHaveLength(3);
  });

  it('are within what the API takes', () => {
    for (const { key, value } of tagsOf({ intentId: 'ab12', deploymentId: 'd1', capAtMs: nowMs })) {
      expect(key).toMatch(/^[a-z][a-z0-9-:]{1,54}$/);
      expect(value.length).toBeLessThanOrEqual(128);
    }
  });

  it.each([
    ['2026-11-23T12:00:00Z', nowMs],
    [' 2026-11-23T12:00:00.000Z ', nowMs],
    ['2026-11-23T13:00:00+01:00', nowMs],
    ['2026-11-23T12:00:00', nowMs],
    ['2026-11-23', Date.parse('2026-11-23T00:00:00Z')],
    ['tomorrow', null],
    ['', null],
    ['1764000000', null],
    ['2026-13-45T00:00:00Z', null],
  ])('are read with tolerance: a cap of "%s"', (value, expected) => {
    expect(capOf(capTag(value))).toBe(expected);
  });

  it('without a cap name none', () => {
    expect(capOf([])).toBeNull();
  });

  it('are ours by the one that says so', () => {
    expect(isOurs([{ key: 'managed-by', value: 'tandem' }])).toBe(true);
    expect(isOurs([{ key: 'managed-by', value: 'somebody' }])).toBe(false);
    expect(isOurs([{ key: 'tandem-intent', value: 'ab12' }])).toBe(false);
  });
});

describe('the lease of a machine that nobody knew', () => {
  it('goes up to the cap in its tags, since another Tandem may have renewed it', () => {
    expect(leaseOfOrphan(capTag('2026-11-24T12:00:00Z'), rules, nowMs)).toEqual({
      expiresAtMs: nowMs + 24 * hourMs,
      capAtMs: nowMs + 24 * hourMs,
    });
    expect(leaseOfOrphan(capTag('2026-11-23T13:00:00Z'), rules, nowMs).expiresAtMs).toBe(nowMs + hourMs);
  });

  it('is the usual one without such a tag', () => {
    expect(leaseOfOrphan([], rules, nowMs).expiresAtMs).toBe(nowMs + 4 * hourMs);
  });

  it('is the usual one when the cap in its tags is further away than any Tandem sets it', () => {
    expect(leaseOfOrphan(capTag('9999-12-31T00:00:00Z'), rules, nowMs)).toEqual({
      expiresAtMs: nowMs + 4 * hourMs,
      capAtMs: nowMs + 24 * hourMs,
    });
    expect(leaseOfOrphan(capTag('2026-12-23T12:00:00Z'), rules, nowMs).capAtMs).toBe(nowMs + 720 * hourMs);
  });

  it('has ended already when its cap has passed, or when orphans are to be terminated', () => {
    expect(leaseOfOrphan(capTag('2026-11-23T11:00:00Z'), rules, nowMs).expiresAtMs).toBe(nowMs - hourMs);
    expect(leaseOfOrphan([], { ...rules, orphans: 'terminate' }, nowMs).expiresAtMs).toBe(nowMs);
  });
});

it('is said to end when four fifths of it have passed', () => {
  expect(warnAtMs(0, 100)).toBe(80);
});
