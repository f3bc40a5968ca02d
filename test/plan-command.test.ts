import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../src/config/index.ts';
import { printPlan } from '../src/plan-command.ts';
import { apiKey, openCloud } from './lambda/cloud.ts';
import { ManualClock } from './support/clock.ts';
import { temporaryFolder } from './support/folder.ts';

const entry = {
  name: 'analysts',
  model: 'openai/gpt-oss-120b',
  types: ['gpu_1x_gh200', 'gpu_1x_h100_sxm5'],
  count: 2,
  windows: [{ days: 'mon-fri', from: '09:00', to: '18:00' }],
};
const budgets = { timeZone: 'America/New_York', dailyUsd: 200, monthlyUsd: 5000 };

async function plan(file: Record<string, unknown>, environment: Record<string, string> = {}, json = false) {
  const home = temporaryFolder();
  writeFileSync(join(home, 'tandem.yaml'), JSON.stringify(file));
  const lines: string[] = [];
  // A Monday.
  const clock = new ManualClock('2026-11-23T21:00:00Z');
  const failure = await printPlan({ json }, (line) => lines.push(line), {
    env: { TANDEM_HOME: home, ...environment },
    clock,
  }).then(
    () => undefined,
    (error: unknown) => error,
  );
  return { text: lines.join('\n'), failure };
}

describe('tandem plan', () => {
  it('shows the week hour by hour, its machines, what it costs, and whose prices these are', async () => {
    const { text, failure } = await plan({ budgets, fleet: [entry] });
    expect(failure).toBeUndefined();
    expect(text).toBe(`What the schedule does in the next seven days, local times of America/New_York.
Prices are of 2026-09, from the list that comes with Tandem (no Lambda key is set).

machines at     0     6     12    18        cost
--------------  ------------------------  ------
Mon 2026-11-23  ········2222222222······  $42.37
Tue 2026-11-24  ········2222222222······  $42.37
Wed 2026-11-25  ········2222222222······  $42.37
Thu 2026-11-26  ········2222222222······  $42.37
Fri 2026-11-27  ········2222222222······  $42.37
Sat 2026-11-28  ························   $0.00
Sun 2026-11-29  ························   $0.00

day             from   to     name      machines  type          per hour    cost
--------------  -----  -----  --------  --------  ------------  --------  ------
Mon 2026-11-23  08:45  18:00  analysts         2  gpu_1x_gh200     $4.58  $42.37
Tue 2026-11-24  08:45  18:00  analysts         2  gpu_1x_gh200     $4.58  $42.37
Wed 2026-11-25  08:45  18:00  analysts         2  gpu_1x_gh200     $4.58  $42.37
Thu 2026-11-26  08:45  18:00  analysts         2  gpu_1x_gh200     $4.58  $42.37
Fri 2026-11-27  08:45  18:00  analysts         2  gpu_1x_gh200     $4.58  $42.37

These seven days: $211.83, up to $396.83 with other types. The whole of November 2026: $889.67, up to $1,666.67 with other types.
Budgets: $200.00 a day, $5,000.00 a month, for everything.
Machines start 15 min before their window, to be ready when it opens; that time is paid for and counted in.`);
  });

  it('asks Lambda Cloud for its prices when there is a key', async () => {
    const { baseUrl, sent } = await openCloud();
    const environment = { LAMBDA_API_KEY: apiKey, LAMBDA_API_BASE: baseUrl };
    const { text } = await plan({ budgets, fleet: [entry] }, environment);
    expect(text).toContain('Prices are those of Lambda Cloud now.');
    expect(sent()).toEqual(['GET /instance-types']);
  });

  it('takes its own list when Lambda Cloud refuses, and says why without the key', async () => {
    const { baseUrl } = await openCloud();
    const { text, failure } = await plan(
      { budgets, fleet: [entry] },
      { LAMBDA_API_KEY: 'secret_that_is_wrong_0123', LAMBDA_API_BASE: baseUrl },
    );
    expect(failure).toBeUndefined();
    expect(text).toMatch(/Prices are of 2026-09, .* \(Lambda Cloud could not be asked: .+\)\./);
    expect(text).not.toContain('secret_that_is_wrong');
  });

  it('prints JSON in which hours add up to days and days to the week', async () => {
    const { text } = await plan({ budgets, fleet: [entry] }, {}, true);
    const found = JSON.parse(text);
    expect(found).toMatchObject({
      time_zone: 'America/New_York',
      prices: { source: 'snapshot', as_of: '2026-09' },
      budgets: { daily_usd: 200, monthly_usd: 5000 },
      problems: [],
      week: { cost_usd: 211.825, worst_case_usd: 396.825 },
      month: { name: '2026-11', cost_usd: 889.665 },
    });
    const sum = (parts: { cost_usd: number }[]) => parts.reduce((total, { cost_usd }) => total + cost_usd, 0);
    expect(sum(found.days)).toBeCloseTo(211.825, 8);
    for (const day of found.days) expect(sum(day.hours)).toBeCloseTo(day.cost_usd, 8);
    expect(found.days[0].hours[8]).toEqual({
      from: '2026-11-23T08:00:00-05:00',
      machines: 2,
      cost_usd: 1.145,
      worst_case_usd: 2.145,
    });
    expect(found.days[0].machines).toEqual([
      {
        name: 'analysts',
        count: 2,
        instance_type: 'gpu_1x_gh200',
        price_usd_per_hour: 2.29,
        from: '2026-11-23T08:45:00-05:00',
        to: '2026-11-23T18:00:00-05:00',
        cost_usd: 42.365,
      },
    ]);
  });

  it('shows a plan that is over budget, and refuses it', async () => {
    const { text, failure } = await plan({ budgets: { ...budgets, dailyUsd: 50 }, fleet: [entry] });
    expect(text).toContain('Mon 2026-11-23');
    expect(failure).toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(
        /analysts would cost up to \$80\.80 for 2 x gpu_1x_h100_sxm5 .* budgets\.dailyUsd/,
      ),
    });
  });

  it('refuses a plan that is over budget at the prices that Lambda Cloud has now', async () => {
    const cloud = await openCloud();
    const environment = { LAMBDA_API_KEY: apiKey, LAMBDA_API_BASE: cloud.baseUrl };
    const tight = { budgets: { ...budgets, dailyUsd: 81 }, fleet: [entry] };
    expect((await plan(tight, environment)).failure).toBeUndefined();
    cloud.applyFaults({ priceCentsPerHour: { gpu_1x_h100_sxm5: 500 } });
    expect((await plan(tight, environment)).failure).toMatchObject({
      message: expect.stringContaining('at $5.00 per hour'),
    });
  });

  it('asks for a limit when a price is not known', async () => {
    const { text, failure } = await plan({ budgets, fleet: [{ ...entry, types: ['gpu_1x_new'] }] });
    expect(text).toBe('');
    expect(failure).toMatchObject({ message: expect.stringContaining('fleet[0].maxHourlyUsd: needed') });
  });

  it('says when nothing would come, and what is counted at its limit', async () => {
    const dear = { ...entry, maxHourlyUsd: 1.5 };
    expect((await plan({ budgets, fleet: [dear] })).text).toContain(
      'analysts: all its types cost more than $1.50 per hour now, so nothing would be launched.',
    );
    const unknown = { ...entry, types: ['gpu_1x_new'], maxHourlyUsd: 1.5 };
    expect((await plan({ budgets, fleet: [unknown] })).text).toContain(
      'analysts: the list does not have gpu_1x_new; counted at maxHourlyUsd ($1.50).',
    );
  });

  it('says which types are passed over, and which the model does not fit', async () => {
    const types = ['gpu_1x_gh200', 'gpu_1x_h100_sxm5', 'gpu_1x_a10'];
    const { text } = await plan({ budgets, fleet: [{ ...entry, types, maxHourlyUsd: 3.5 }] });
    expect(text).toContain('analysts: gpu_1x_h100_sxm5 costs more than $3.50 per hour now, and is passed over.');
    expect(text).toContain(
      'analysts: openai/gpt-oss-120b does not fit on gpu_1x_a10 by our arithmetic: 61 GB weights + 12 GB cache and runtime of 24 GB.',
    );
    expect(text).not.toContain('does not fit on gpu_1x_gh200');
  });

  it('says how to write a schedule where there is none, with an example that is accepted', async () => {
    const { text, failure } = await plan({ budgets });
    expect(failure).toBeUndefined();
    const home = temporaryFolder();
    const example = text.slice(text.indexOf('fleet:\n'), text.indexOf('\n\nWindows are'));
    writeFileSync(join(home, 'tandem.yaml'), example);
    expect(loadConfig({ TANDEM_HOME: home }).fleet).toMatchObject([{ name: 'analysts', count: 2 }]);
  });
});
