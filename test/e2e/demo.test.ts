import { describe, expect, it } from 'vitest';
import { run } from '../support/process.ts';

describe('tandem demo', () => {
  it('shows the main job and a day of the schedule, from the price list to the bill', {
    timeout: 150_000,
  }, async () => {
    const { exitCode, stdout, stderr, ms } = await run(['demo']);
    expect(stderr).toBe('');
    expect(stdout).not.toContain('FAILED');
    expect(stdout.match(/^ ?\d+\. /gm)).toHaveLength(20);
    expect(stdout).toContain('analysts-1 ready, analysts-2 ready');
    for (const kind of ['ready', 'boot_failed', 'lease_80', 'lease_expired', 'capacity_found'])
      expect(stdout).toMatch(new RegExp(`\\d\\d:\\d\\d  ${kind}: `));
    // Twice: after the window, and at the end; whole minutes may be one apart.
    expect(stdout.match(/Equal to the minute and to the cent\.|They differ: /g)).toHaveLength(2);
    expect(stdout).toContain('nothing is left running');
    expect(exitCode).toBe(0);
    console.log(`demo: ${(ms / 1000).toFixed(1)} s`);
  });
});
