import { describe, expect, it } from 'vitest';
import { run } from '../support/process.ts';

describe('tandem demo', () => {
  it('shows the main job from the price list to the returned GPUs, in less than a minute', {
    timeout: 60_000,
  }, async () => {
    const { exitCode, stdout, stderr, ms } = await run(['demo']);
    expect(stderr).toBe('');
    expect(stdout).not.toContain('FAILED');
    expect(stdout.match(/^ ?\d+\. /gm)).toHaveLength(9);
    expect(stdout).toContain('nothing is left running');
    expect(exitCode).toBe(0);
    console.log(`demo: ${(ms / 1000).toFixed(1)} s`);
  });
});
