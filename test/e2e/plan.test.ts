import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/folder.ts';
import { run } from '../support/process.ts';

function homeWith(dailyUsd: number): Record<string, string> {
  const home = temporaryFolder();
  const fleet = [
    { name: 'analysts', model: 'm', types: ['gpu_1x_gh200'], windows: [{ days: 'daily', from: '09:00', to: '18:00' }] },
  ];
  writeFileSync(join(home, 'tandem.yaml'), JSON.stringify({ budgets: { dailyUsd }, fleet }));
  return { TANDEM_HOME: home };
}

describe('a schedule over budget', () => {
  it.each([[[]], [['serve', '--port', '0']], [['plan']], [['doctor']]])('is refused by tandem %j', async (args) => {
    const { exitCode, stdout, stderr } = await run(args, homeWith(20));
    expect(exitCode).toBe(1);
    expect(stdout + stderr).toMatch(
      /fleet: analysts would cost up to \$21\.56 for 1 x gpu_1x_gh200 at \$2\.29 per hour on \w+day \d{4}-\d\d-\d\d, more than budgets\.dailyUsd allows \(\$20\.00\)/,
    );
    expect(stderr).not.toMatch(/ {4}at /);
  });
});

describe('a schedule within the budget', () => {
  it('is shown by tandem plan', async () => {
    const { exitCode, stdout, stderr } = await run(['plan'], homeWith(25));
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toContain('········1111111111······');
  });

  it('is fine with tandem doctor', async () => {
    const { stdout } = await run(['doctor'], homeWith(25));
    expect(stdout).toContain('Fleet: analysts; fits into the budgets');
  });

  it('lets tandem start', async () => {
    expect(await run([], homeWith(25))).toMatchObject({ exitCode: 0 });
  });
});
