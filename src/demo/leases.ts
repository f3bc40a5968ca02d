import { compareBills } from './bill.ts';
import { newNotices, nowOf, skip, timeOf } from './day.ts';
import { confirmed, expect, type Result, type Stage, type Step, until } from './stage.ts';

const everyMs = 250;
const scratch = 'scratch';
const wanted = 'gpu_1x_h100_sxm5';
const hourMs = 3_600_000;

/** What ends by itself, and what begins by itself. */
export const leases: readonly Step[] = [
  {
    title: 'A machine for an hour that nobody has to remember',
    async play(stage) {
      const { say } = stage;
      say.person('Get me an A10 for an hour, to try something out.');
      const input = { instance_type: 'gpu_1x_a10', name: scratch, lease_hours: 1 };
      const launch = await confirmed(stage, 'launch_instance', input);
      expect(launch.status === 'launching', 'a launch');
      await skip(stage, 5);
      await until('it to be active', async () => (await statusOf(stage, scratch)) === 'active', everyMs);
      say.answer(`${timeOf(await nowOf(stage))}  ${scratch} is active.`);
      // Four fifths of an hour are over when twelve minutes are left.
      await skip(stage, (await leaseLeftMinutes(stage)) - 11.5);
      await untilTold(stage, 'lease_80');
      await skip(stage, (await leaseLeftMinutes(stage)) - 1);
      await untilTold(stage, 'lease_expired');
      await until('it to be gone', async () => (await statusOf(stage, scratch)) === 'terminated', everyMs);
      say.answer(`${timeOf(await nowOf(stage))}  ${scratch} is terminated. Nobody asked for it.`);
    },
  },
  {
    title: 'A GPU that is sold out: Tandem waits for it',
    async play(stage) {
      const { call, control, say, look } = stage;
      await control('/lambda', { capacity: { [wanted]: [] } });
      say.remark(`No region has a ${wanted} left.`);
      say.person('Get me an H100 as soon as there is one, for two hours.');
      const lastsUntil = new Date((await nowOf(stage)) + 4 * hourMs).toISOString();
      const hunt = await confirmed(stage, 'launch_instance', {
        name: 'h100',
        lease_hours: 2,
        wait_for_capacity: { types: [wanted], max_hourly_usd: 5, until: lastsUntil },
      });
      expect(hunt.status === 'hunting', 'a hunt');
      await until('a first look', async () => huntOf(await look('fleet_status')).problem !== null, everyMs);
      say.person('Is there one yet?');
      say.answer((await call('list_gpu_instances')).text);
      await control('/lambda', { capacity: {} });
      say.remark('Somebody returns one.');
      await untilTold(stage, 'capacity_found');
      expect(huntOf(await look('fleet_status')).state === 'launched', 'a launch of what was waited for');
    },
  },
  {
    title: 'Good night: everything is returned, and the bill is right',
    async play(stage) {
      const { call, say } = stage;
      say.person('I do not need it any more. Return it.');
      await confirmed(stage, 'terminate_instance', { instances: ['h100'] });
      await until('no machine to be left', async () => {
        const { instances } = (await stage.look('list_gpu_instances')) as { instances: Result[] };
        return instances.every(({ status }) => status === 'terminated');
      });
      const { result } = await call('cost_report', { period: 'today' });
      await compareBills(stage, result);
    },
  },
];

async function find({ look }: Stage, name: string): Promise<Result | undefined> {
  const { instances } = (await look('list_gpu_instances')) as { instances: Result[] };
  return instances.find((instance) => instance.name === name);
}

async function statusOf(stage: Stage, name: string): Promise<unknown> {
  return (await find(stage, name))?.status;
}

async function leaseLeftMinutes(stage: Stage): Promise<number> {
  return Number((await find(stage, scratch))?.lease_left_seconds) / 60;
}

function huntOf(status: Result): Result {
  const hunts = (status.hunts as Result[]).filter(({ deployment }) => deployment === null);
  expect(hunts.length === 1, 'one hunt');
  return hunts[0] ?? {};
}

/** Shows what arrives at the webhook until it is what is waited for. */
async function untilTold(stage: Stage, kind: string): Promise<void> {
  await until(
    `the notice ${kind}`,
    async () => {
      const notices = await newNotices(stage);
      for (const { line } of notices) stage.say.answer(`Notice ${line}`);
      return notices.some((notice) => notice.kind === kind);
    },
    everyMs,
  );
}
