import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CallDeadline } from '../../src/tools/deadline.ts';

const limitMs = 45_000;

describe('the deadline of a call', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('ends every call within 45 s, with an error that says where things stand', () => {
    const { signal } = new CallDeadline(new AbortController().signal);
    vi.advanceTimersByTime(limitMs - 1_000);
    expect(signal.aborted).toBe(false);
    vi.advanceTimersByTime(1_000);
    expect(signal.reason).toMatchObject({ code: 'deadline_exceeded', next: expect.stringContaining('cost_report') });
  });

  it('stands still while a person is asked', async () => {
    const deadline = new CallDeadline(new AbortController().signal);
    const asked = deadline.paused(() => new Promise((resolve) => setTimeout(resolve, 10 * limitMs)));
    await vi.advanceTimersByTimeAsync(10 * limitMs);
    await asked;
    expect(deadline.signal.aborted).toBe(false);
    vi.advanceTimersByTime(limitMs);
    expect(deadline.signal.aborted).toBe(true);
  });

  it('ends at once when the client cancels', () => {
    const client = new AbortController();
    const { signal } = new CallDeadline(client.signal);
    client.abort();
    expect(signal.reason).toMatchObject({ code: 'cancelled' });
  });

  it('leaves no timer behind when the call has ended', () => {
    new CallDeadline(new AbortController().signal).end();
    expect(vi.getTimerCount()).toBe(0);
  });
});
