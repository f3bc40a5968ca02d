import { describe, expect, it } from 'vitest';
import { until } from '../lambda/cloud.ts';
import { JumpClock } from '../support/clock.ts';
import { startWorld } from '../support/world.ts';

const hourMs = 3_600_000;

function inHours(clock: JumpClock, hours: number): string {
  return new Date(clock.nowMs() + hours * hourMs).toISOString();
}

describe('waiting for capacity', () => {
  it('costs at most its price limit for the whole lease, also where today is cheaper', async () => {
    const clock = new JumpClock();
    const { call } = await startWorld({ clock });
    const wait = { types: ['gpu_1x_h100_sxm5'], max_hourly_usd: 5, until: inHours(clock, 4) };
    const { result, text } = await call('launch_instance', { lease_hours: 2, wait_for_capacity: wait });
    expect(result.plan).toMatchObject({ max_price_usd_per_hour: 5, worst_case_usd: 10 });
    expect(text).toContain('for a gpu_1x_h100_sxm5 at up to $5.00 an hour');
    expect(text).toContain('$10.00 at most');
  });

  it('is given up with the name of the deployment that it was for', async () => {
    const clock = new JumpClock();
    const { call, sandbox, readLedger } = await startWorld({ clock });
    sandbox.lambda.applyFaults({ capacity: { gpu_1x_gh200: [] } });
    const input = {
      name: 'analysts',
      serve: { model: 'openai/gpt-oss-120b' },
      wait_for_capacity: { types: ['gpu_1x_gh200'], until: inHours(clock, 1) },
    };
    const { result } = await call('launch_instance', input);
    await call('launch_instance', { ...input, confirm_token: result.confirm_token });
    const problem = async () => (await call('list_gpu_instances')).result.hunts?.[0]?.problem;
    await until(async () => (await problem()) === 'gpu_1x_gh200 has no capacity.');
    expect((await call('fleet_status')).result.hunts).toMatchObject([{ deployment: 'analysts', state: 'hunting' }]);
    clock.jump(hourMs);
    const told = () => readLedger(({ read }) => read.selectFrom('notice').select('text').execute());
    await until(async () => (await told()).length > 0);
    expect(await told()).toMatchObject([
      { text: expect.stringContaining('No machine was found for "analysts" (gpu_1x_gh200)') },
    ]);
  });

  it('is offered where there is none', async () => {
    const { call, sandbox } = await startWorld();
    sandbox.lambda.applyFaults({ capacity: { gpu_1x_a10: [] } });
    const { text } = await call('launch_instance', { instance_type: 'gpu_1x_a10' });
    expect(text).toMatch(/^capacity_unavailable: .* Or give wait_for_capacity/);
  });
});
